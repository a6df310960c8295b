//! The domain's types and rules: conversations, messages, runs. No async, no I/O.

mod citation;
mod conversation;
mod run;
mod title;

pub(crate) use citation::cited;
pub(crate) use conversation::{Author, Citation, Conversation, ConversationChange, Message, Position};
pub(crate) use run::{Assignment, Failure, Intent, IntentKind, PlanRef, Run, RunState, Usage};
pub(crate) use title::title_from;
