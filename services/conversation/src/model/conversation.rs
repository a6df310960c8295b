//! A conversation and its messages.

use serde::{Deserialize, Serialize};
use slipway_rpc::ProjectId;
use uuid::Uuid;

use super::Usage;

/// A conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) id: Uuid,
    pub(crate) project: ProjectId,
    pub(crate) title: String,
    /// True once a person has set the title: it is never made from a message again.
    pub(crate) title_is_set: bool,
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) pinned: bool,
    /// The number of its last message, too: numbers are dense from 1.
    pub(crate) message_count: u64,
    pub(crate) active_run_id: Option<Uuid>,
    /// The plan that was made last and, as far as we know, still waits for review.
    pub(crate) plan_id: Option<Uuid>,
    /// Counts the changes of title, pin and model.
    pub(crate) version: i64,
    pub(crate) create_time: i64,
    pub(crate) update_time: i64,
}

impl Conversation {
    /// Opaque to clients; changes with each change of title, pin or model.
    pub(crate) fn etag(&self) -> String {
        format!("{:x}-{:x}", self.id.as_u128() as u32, self.version)
    }

    /// Makes the change. True when anything is different now.
    pub(crate) fn apply(&mut self, change: ConversationChange, now: i64) -> bool {
        let before = (self.title.clone(), self.title_is_set, self.model.clone(), self.pinned);
        if let Some(title) = change.title {
            self.title_is_set = !title.is_empty();
            self.title = title;
        }
        if let Some(model) = change.model {
            self.model = model;
        }
        if let Some(pinned) = change.pinned {
            self.pinned = pinned;
        }
        let changed = before != (self.title.clone(), self.title_is_set, self.model.clone(), self.pinned);
        if changed {
            self.version += 1;
            self.update_time = now;
        }
        changed
    }
}

/// What to change about a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConversationChange {
    /// Empty: made from the first message again.
    pub(crate) title: Option<String>,
    pub(crate) pinned: Option<bool>,
    pub(crate) model: Option<String>,
}

/// Where a page of conversations ended: pinned ones come first, then the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) pinned: bool,
    pub(crate) id: Uuid,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    User,
    Assistant,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) conversation_id: Uuid,
    pub(crate) number: u64,
    pub(crate) author: Author,
    pub(crate) text: String,
    pub(crate) run_id: Uuid,
    pub(crate) partial: bool,
    pub(crate) citations: Vec<Citation>,
    pub(crate) plan_id: Option<Uuid>,
    pub(crate) usage: Option<Usage>,
    pub(crate) create_time: i64,
}

impl Message {
    /// About how many bytes it takes in a response.
    pub(crate) fn size(&self) -> usize {
        300 + self.text.len() + self.citations.iter().map(|c| 100 + c.path.len()).sum::<usize>()
    }
}

/// Where something in an answer comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Citation {
    pub(crate) index: u32,
    pub(crate) revision_id: String,
    pub(crate) path: String,
    pub(crate) start_line: u32,
    pub(crate) end_line: u32,
    pub(crate) score: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Conversation {
        Conversation {
            id: Uuid::now_v7(),
            project: ProjectId(Uuid::nil()),
            title: "made".into(),
            title_is_set: false,
            workspace_id: None,
            model: String::new(),
            pinned: false,
            message_count: 0,
            active_run_id: None,
            plan_id: None,
            version: 1,
            create_time: 1,
            update_time: 1,
        }
    }

    #[test]
    fn a_change_gives_a_new_etag_and_no_change_gives_none() {
        let mut c = conversation();
        let first = c.etag();
        assert!(!c.apply(ConversationChange { pinned: Some(false), ..Default::default() }, 2));
        assert_eq!(c.etag(), first);
        assert!(c.apply(ConversationChange { pinned: Some(true), ..Default::default() }, 3));
        assert_ne!(c.etag(), first);
        assert_eq!(c.update_time, 3);
    }

    #[test]
    fn setting_a_title_keeps_it_and_an_empty_one_gives_it_back() {
        let mut c = conversation();
        c.apply(ConversationChange { title: Some("made".into()), ..Default::default() }, 2);
        assert!(c.title_is_set, "the same words, but now a person's");
        c.apply(ConversationChange { title: Some(String::new()), ..Default::default() }, 3);
        assert!(!c.title_is_set);
    }
}
