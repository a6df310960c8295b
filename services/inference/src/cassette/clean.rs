//! Takes secrets out of what is written to a recording.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::recording::{Event, Timed};

const MASK: &str = "[key]";

/// Knows the keys of the providers: some providers repeat a key that they refuse.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaner {
    keys: Arc<[SecretString]>,
}

impl Cleaner {
    pub(super) fn new(keys: Vec<SecretString>) -> Self {
        Self { keys: keys.into_iter().filter(|k| !k.expose_secret().is_empty()).collect() }
    }

    /// A text without keys and whatever else looks like a secret.
    pub(super) fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for key in self.keys.iter() {
            if clean.contains(key.expose_secret()) {
                clean = clean.replace(key.expose_secret(), MASK);
            }
        }
        slipway_secrets::redact(&clean).into_owned()
    }

    /// The same for every text of a document.
    pub(super) fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|v| self.value(v)).collect(),
            Value::Object(map) => map.into_iter().map(|(k, v)| (k, self.value(v))).collect(),
            other => other,
        }
    }

    /// The same for what came back. A secret that came in several pieces is found too: then the text is one piece, where
    /// its first was.
    pub(super) fn events(&self, mut events: Vec<Timed>) -> Vec<Timed> {
        let mut whole: BTreeMap<Channel, String> = BTreeMap::new();
        for piece in events.iter_mut().filter_map(|t| piece(&mut t.event)) {
            whole.entry(piece.0).or_default().push_str(piece.1);
        }
        let mut changed: BTreeMap<Channel, String> = BTreeMap::new();
        for (channel, text) in whole {
            let clean = self.text(&text);
            if clean != text {
                changed.insert(channel, clean);
            }
        }
        for timed in &mut events {
            if let Some((channel, text)) = piece(&mut timed.event)
                && let Some(clean) = changed.get_mut(&channel)
            {
                *text = std::mem::take(clean);
            }
            match &mut timed.event {
                Event::Failed { message, .. } => *message = self.text(message),
                Event::Completed { reasoning_state: Some(state), .. } => {
                    for item in &mut state.items {
                        item.value = self.value(item.value.take());
                    }
                }
                _ => {}
            }
        }
        events.retain(|t| !matches!(&t.event, Event::Text(text) | Event::Reasoning(text) if text.is_empty()));
        events
    }
}

/// What pieces of text add up to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Text,
    Reasoning,
    Arguments(u32),
}

fn piece(event: &mut Event) -> Option<(Channel, &mut String)> {
    match event {
        Event::Text(text) => Some((Channel::Text, text)),
        Event::Reasoning(text) => Some((Channel::Reasoning, text)),
        Event::ToolCall { index, arguments, .. } => Some((Channel::Arguments(*index), arguments)),
        Event::Started | Event::Usage(_) | Event::Completed { .. } | Event::Failed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaner() -> Cleaner {
        Cleaner::new(vec!["sk-planted".into(), "".into()])
    }

    fn timed(event: Event) -> Timed {
        Timed { at_ms: 1, event }
    }

    #[test]
    fn a_key_goes_wherever_it_stands() {
        let clean = cleaner().value(serde_json::json!({"a": ["x sk-planted y"], "n": 1}));
        assert_eq!(clean, serde_json::json!({"a": ["x [key] y"], "n": 1}));
    }

    #[test]
    fn what_looks_like_a_secret_goes_too() {
        let token = ["ghp", "_x7Kq2mN9pRs4Tv6Wy8Zb1Cd3Ef5Gh7Jk9LmQ"].concat();
        let clean = cleaner().text(&format!("token: {token}"));
        assert!(clean.starts_with("token: ") && !clean.contains(&token), "{clean}");
        let pieces = [&token[..9], &token[9..]].map(|t| timed(Event::Text(t.into()))).to_vec();
        assert!(!format!("{:?}", cleaner().events(pieces)).contains(&token[9..]));
    }

    #[test]
    fn a_key_in_pieces_is_found() {
        let pieces = ["it is sk-", "plan", "ted!"].map(|t| timed(Event::Text(t.into())));
        let clean = cleaner().events(pieces.to_vec());
        assert_eq!(clean, [timed(Event::Text("it is [key]!".into()))]);
        let whole = ["one", "two"].map(|t| timed(Event::Text(t.into()))).to_vec();
        assert_eq!(cleaner().events(whole.clone()), whole);
    }

    #[test]
    fn a_failure_that_repeats_the_key_does_not_keep_it() {
        let failed = Event::Failed { kind: crate::error::Kind::Auth, message: "bad key sk-planted".into(), retry_after_ms: None };
        assert!(!format!("{:?}", cleaner().events(vec![timed(failed)])).contains("planted"));
    }
}
