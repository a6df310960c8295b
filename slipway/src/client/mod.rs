//! The client commands: they call a server over its public API, as any other client does.

mod api;
mod archive;
mod audit;
mod batch;
mod budget;
mod cache;
mod chat;
mod files;
mod follow;
mod health;
mod index;
mod keys;
mod letters;
mod models;
mod plan;
mod providers;
mod resolve;
mod search;
mod usage;
mod workspace;

pub(crate) use api::Api;
pub(crate) use archive::{pack, send as send_archive, unpack};
pub(crate) use batch::batch;
pub(crate) use budget::budget;
pub(crate) use cache::cache;
pub(crate) use chat::chat;
pub(crate) use files::files;
pub(crate) use follow::{Follow, Plans, Runs};
pub(crate) use health::health;
pub(crate) use index::{index, mode as index_mode, wait as wait_for_index, wait_for_vectors};
pub(crate) use keys::keys;
pub(crate) use letters::letters;
pub(crate) use models::models;
pub(crate) use plan::{plan, print_json as print_plan_json};
pub(crate) use providers::providers;
pub(crate) use resolve::{Rev, diff_all};
pub(crate) use search::search;
pub(crate) use usage::usage;
pub(crate) use workspace::workspace;

/// A response field that the API promises.
pub(crate) fn required<T>(field: Option<T>, what: &str) -> anyhow::Result<T> {
    field.ok_or_else(|| anyhow::anyhow!("the server's answer has no {what}; is it another version?"))
}
