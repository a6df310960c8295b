//! The event on its way, and which subjects a subscription matches.

use bytes::Bytes;
use uuid::Uuid;

use crate::BusError;

/// One event on its way: what the outbox stores and the bus carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// UUIDv7; the same through every delivery. Consumers are idempotent by it.
    pub id: Uuid,
    /// What happened, as in `revision.committed`: lower-case words with dots between.
    pub subject: String,
    /// The entity it happened to; events of one entity keep their order.
    pub entity_id: String,
    /// W3C trace context of the call that caused it; empty when it was not traced.
    pub traceparent: String,
    /// An encoded `slipway.events.v1.Event`.
    pub payload: Bytes,
}

/// Whether `subject` is one that `pattern` asks for. `*` stands for one word, a final `>` for one or more.
pub fn subject_matches(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for word in pattern.split('.') {
        match (word, subject.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (word, Some(found)) if word == found => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

/// Refuses subjects that a server would refuse, so that both transports answer alike.
pub(crate) fn check_subject(subject: &str, wildcards: bool) -> Result<(), BusError> {
    let words: Vec<&str> = subject.split('.').collect();
    for (at, word) in words.iter().enumerate() {
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let wild = wildcards && (*word == "*" || (*word == ">" && at + 1 == words.len()));
        if !plain && !wild {
            return Err(BusError::Invalid(format!("{subject:?} is no subject")));
        }
    }
    Ok(())
}

/// Durable names are file names on the server.
pub(crate) fn check_consumer(consumer: &str) -> Result<(), BusError> {
    if consumer.is_empty() || !consumer.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err(BusError::Invalid(format!("{consumer:?} is no consumer name: letters, digits, - and _ only")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_word_by_word() {
        assert!(subject_matches("revision.committed", "revision.committed"));
        assert!(subject_matches("revision.*", "revision.committed"));
        assert!(subject_matches("revision.>", "revision.a.b"));
        assert!(subject_matches(">", "revision.committed"));
        assert!(!subject_matches("revision.>", "revision"));
        assert!(!subject_matches("revision.*", "revision.a.b"));
        assert!(!subject_matches("revision", "revision.committed"));
        assert!(!subject_matches("revision.committed", "workspace.deleted"));
    }

    #[test]
    fn malformed_subjects_and_names_are_refused() {
        for bad in ["", ".", "a..b", "a b", "a.>", "a.*"] {
            assert!(check_subject(bad, false).is_err(), "{bad:?}");
        }
        assert!(check_subject("a.>", true).is_ok());
        assert!(check_subject("a.>.b", true).is_err());
        assert!(check_consumer("embedding-revisions").is_ok());
        assert!(check_consumer("a.b").is_err());
    }
}
