//! The use case of links: one file, straight from the object store.

use std::time::Duration;

use slipway_rpc::{Ctx, now_micros};
use uuid::Uuid;

use super::FileStore;
use crate::error::Error;
use crate::model::FileEntry;

/// A link to one file.
#[derive(Debug)]
pub(crate) struct Link {
    /// Whoever has it can read the file: never to be logged.
    pub(crate) url: String,
    pub(crate) expire_time: i64,
    pub(crate) file: FileEntry,
}

impl FileStore {
    /// Makes a link by which a file can be downloaded without a token.
    pub(crate) async fn create_download_link(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        revision: Option<Uuid>,
        path: String,
        ttl: Duration,
    ) -> Result<Link, Error> {
        let revision = self.resolve_some(ctx, workspace, revision).await?;
        let manifest = self.manifest(revision.hash).await?;
        let Some(file) = manifest.find(&path).cloned() else { return Err(Error::FileNotFound { path }) };
        // Before the signing, so that the link is good for as long as it says.
        let expire_time = now_micros() + i64::try_from(ttl.as_micros()).unwrap_or(0);
        let name = path.rsplit('/').next().unwrap_or(&path);
        let url = self.blobs.link(file.hash, name, ttl).await?.ok_or(Error::LinkUnsupported)?;
        Ok(Link { url, expire_time, file })
    }
}
