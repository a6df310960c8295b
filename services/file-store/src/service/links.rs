//! The use cases of links: one file or one upload, without a token, until a time.

use std::time::Duration;

use slipway_rpc::{Ctx, Link, LinkKey, Linked, now_micros};
use uuid::Uuid;

use super::FileStore;
use crate::error::Error;
use crate::model::{FileEntry, Upload};
use crate::settings::{LinkSettings, LinkWay};

/// A link to one file.
#[derive(Debug)]
pub(crate) struct DownloadLink {
    /// Whoever has it can read the file: never to be logged.
    pub(crate) url: String,
    pub(crate) expire_time: i64,
    pub(crate) file: FileEntry,
}

/// A link for the bytes of one upload.
#[derive(Debug)]
pub(crate) struct UploadLink {
    /// Whoever has it can send them: never to be logged.
    pub(crate) url: String,
    pub(crate) expire_time: i64,
    pub(crate) upload: Upload,
}

/// How links are made.
#[derive(Debug)]
pub(crate) struct Links {
    gateway: Option<String>,
    key: LinkKey,
    way: LinkWay,
}

impl Links {
    /// What the settings say counts for more than where the gateway of this process listens.
    pub(crate) fn new(settings: &LinkSettings, gateway: Option<String>, key: LinkKey) -> Self {
        let gateway = Some(settings.url.clone()).filter(|url| !url.is_empty()).or(gateway);
        Self { gateway, key, way: settings.via }
    }

    fn url(&self, ctx: &Ctx, object: Linked, content_type: String, expire_time: i64) -> Result<String, Error> {
        let gateway = self.gateway.as_deref().ok_or(Error::LinkUnsupported)?;
        // Whole seconds, of which the last one counts.
        let expires = u64::try_from(expire_time / 1_000_000).unwrap_or_default() + 1;
        let link = Link { project: ctx.project, user: ctx.caller.user, object, expires, content_type };
        Ok(link.url(gateway, &self.key))
    }
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
    ) -> Result<DownloadLink, Error> {
        let revision = self.resolve_some(ctx, workspace, revision).await?;
        let manifest = self.manifest(&revision.manifest).await?;
        let Some(file) = manifest.find(&path).cloned() else { return Err(Error::FileNotFound { path }) };
        // Before the signing, so that the link is good for as long as it says.
        let expire_time = after(ttl);
        let name = path.rsplit('/').next().unwrap_or(&path);
        let direct = match self.links.way {
            LinkWay::Auto => self.blobs.link(file.hash, name, ttl).await?,
            LinkWay::Gateway => None,
        };
        let url = match direct {
            Some(url) => url,
            None => {
                let object = Linked::File { workspace, revision: revision.id, path };
                self.links.url(ctx, object, String::new(), expire_time)?
            }
        };
        Ok(DownloadLink { url, expire_time, file })
    }

    /// Makes a link by which the bytes of an upload can be sent without a token.
    pub(crate) async fn create_upload_link(
        &self,
        ctx: &Ctx,
        id: Uuid,
        content_type: String,
        ttl: Duration,
    ) -> Result<UploadLink, Error> {
        let upload = self.get_upload(ctx, id).await?;
        let expire_time = after(ttl);
        let url = self.links.url(ctx, Linked::Upload { id }, content_type, expire_time)?;
        Ok(UploadLink { url, expire_time, upload })
    }
}

fn after(ttl: Duration) -> i64 {
    now_micros() + i64::try_from(ttl.as_micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use slipway_rpc::{Caller, IdentityKey, ProjectId, Scope, UserId};

    use super::*;

    #[test]
    fn without_a_gateway_there_are_no_links() {
        let key = || IdentityKey::new(&IdentityKey::generate()).unwrap().links();
        let caller = Caller::new(UserId(Uuid::now_v7()), Scope::Write);
        let ctx = Ctx::new(caller, ProjectId(Uuid::now_v7()), String::new(), None, String::new());
        let url = |url: &str, gateway: Option<&str>| {
            let settings = LinkSettings { url: url.to_owned(), ..Default::default() };
            let links = Links::new(&settings, gateway.map(str::to_owned), key());
            links.url(&ctx, Linked::Upload { id: Uuid::now_v7() }, String::new(), after(Duration::from_secs(1)))
        };
        assert!(matches!(url("", None), Err(Error::LinkUnsupported)));
        assert!(url("", Some("http://here")).unwrap().starts_with("http://here/files/"));
        assert!(url("https://there", Some("http://here")).unwrap().starts_with("https://there/files/"));
    }
}
