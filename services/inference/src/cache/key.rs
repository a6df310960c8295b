//! What an answer depends on.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use slipway_rpc::ProjectId;

use crate::canonical::canonical;
use crate::model::{Fallback, Request};

// Goes up when the encoding changes, so that nothing is found by a key that means something else.
const VERSION: u8 = 1;

/// Everything that can change an answer, but for the project.
pub(super) struct Question<'a> {
    /// The ids of the models that may answer, in order.
    pub(super) models: Vec<&'a str>,
    /// The request as it would leave: what privacy takes out of it is not in it.
    pub(super) request: &'a Request,
    /// When the next one is tried.
    pub(super) fallback: &'a Fallback,
}

/// The name of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Whose it is.
    pub(crate) project: ProjectId,
    digest: [u8; 32],
}

impl Key {
    pub(super) fn new(project: ProjectId, question: &Question<'_>) -> Self {
        Self::of(project, &whole(project, question))
    }

    /// The name of all questions that differ from this one in the words of the last message only.
    pub(super) fn but_for_the_last(project: ProjectId, question: &Question<'_>) -> Self {
        let mut whole = whole(project, question);
        if let Some(last) = whole["request"]["messages"].as_array_mut().and_then(|m| m.last_mut()) {
            // No text is null.
            last["text"] = serde_json::Value::Null;
        }
        Self::of(project, &whole)
    }

    fn of(project: ProjectId, whole: &serde_json::Value) -> Self {
        let digest = Sha256::new().chain_update([VERSION]).chain_update(whole.to_string()).finalize();
        Self { project, digest: digest.into() }
    }
}

fn whole(project: ProjectId, question: &Question<'_>) -> serde_json::Value {
    let Question { models, request, fallback } = question;
    // Whom the caller named for a failure is among the models.
    let Fallback { models: _, goes_on, when_refused } = fallback;
    json!({
        "project": project,
        "models": models,
        "request": canonical(request),
        "fallback": {"goes_on": goes_on, "when_refused": when_refused},
    })
}

#[cfg(test)]
mod tests {
    use slipway_rpc::ProjectId;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Message, Role};

    #[test]
    fn whatever_changes_an_answer_changes_the_key() {
        let request = Request { messages: vec![Message::new(Role::User, "hi")], ..Request::default() };
        let other = Request { messages: vec![Message::new(Role::User, "ho")], ..Request::default() };
        let (one, two) = (ProjectId(Uuid::now_v7()), ProjectId(Uuid::now_v7()));
        let (fallback, goes_on) = (Fallback::default(), Fallback { goes_on: true, ..Fallback::default() });
        let question = || Question { models: vec!["p/m"], request: &request, fallback: &fallback };
        let key = Key::new(one, &question());
        assert_eq!(key, Key::new(one, &question()));
        let others = [
            Key::new(two, &question()),
            Key::new(one, &Question { models: vec!["q/m"], ..question() }),
            Key::new(one, &Question { request: &other, ..question() }),
            Key::new(one, &Question { models: vec!["p/m", "p/n"], ..question() }),
            Key::new(one, &Question { fallback: &goes_on, ..question() }),
        ];
        for (n, other) in others.iter().enumerate() {
            assert_ne!(&key, other, "{n}");
            assert_ne!(key.digest, other.digest, "{n}");
        }
    }
}
