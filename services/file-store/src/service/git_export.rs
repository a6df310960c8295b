//! The use case of exporting a workspace as a Git repository whose commits are its revisions.
//!
//! The pack is put together in a spool file, blobs first, piece by piece, so that memory is bounded by the lists of names
//! and not by contents. It goes out behind the header of a bundle, which `git clone` and `git fetch` take as it is.

use std::collections::{HashMap, HashSet};

use blake3::Hash;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use crate::blobs::PIECE;
use crate::error::Error;
use crate::git::{Kind, ObjectId, PackWriter, commit, trees};
use crate::model::{FileEntry, Manifest, Revision};

/// The size of an exported message.
const CHUNK: usize = 256 << 10;
/// How many revisions are listed at once.
const REVISIONS: u64 = 500;

/// A pack and what is known of its objects.
struct Packing {
    pack: PackWriter,
    blobs: HashMap<Hash, ObjectId>,
    trees: HashSet<ObjectId>,
}

impl FileStore {
    /// A workspace's history, up to a revision or the head, as a Git bundle with one branch.
    pub(crate) async fn export_git(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        revision: Option<Uuid>,
        branch: String,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let tip = self.resolve_some(ctx, workspace, revision).await?;
        let revisions = self.history(ctx, workspace, tip).await?;
        let permit = self.heavy_call().await?;
        let dir = self.spool.clone();
        let pack = tokio::task::spawn_blocking(move || PackWriter::new(&dir)).await??;
        let mut packing = Packing { pack, blobs: HashMap::new(), trees: HashSet::new() };
        let mut parent = None;
        for revision in revisions {
            let manifest = self.manifest(&revision.manifest).await?;
            for entry in manifest.entries() {
                if entry.path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
                    return Err(Error::NotForGit { path: entry.path.clone() });
                }
                if !packing.blobs.contains_key(&entry.hash) {
                    packing = self.pack_blob(packing, entry).await?;
                }
            }
            let pack = move || pack_revision(packing, &manifest, &revision, parent);
            let id;
            (packing, id) = tokio::task::spawn_blocking(pack).await??;
            parent = Some(id);
        }
        let tip = parent.ok_or(Error::WorkspaceEmpty)?;
        let pack = tokio::task::spawn_blocking(move || packing.pack.finish()).await??;
        let header = format!("# v2 git bundle\n{tip} refs/heads/{branch}\n{tip} HEAD\n\n");
        let rest = stream::try_unfold((pack, permit), |(mut pack, permit)| async move {
            let read = move || pack.read(CHUNK).map(|bytes| (bytes, pack));
            let (bytes, pack) = tokio::task::spawn_blocking(read).await??;
            Ok(if bytes.is_empty() { None } else { Some((Bytes::from(bytes), (pack, permit))) })
        });
        Ok(stream::once(async move { Ok(Bytes::from(header)) }).chain(rest))
    }

    /// The revisions up to `tip`, the oldest first.
    async fn history(&self, ctx: &Ctx, workspace: Uuid, tip: Revision) -> Result<Vec<Revision>, Error> {
        let mut revisions = vec![tip];
        while let Some(last) = revisions.last()
            && last.number > 1
        {
            let older = self.store.list_revisions(ctx.project, workspace, Some(last.number), REVISIONS).await?;
            if older.is_empty() {
                // The workspace was deleted meanwhile.
                return Err(Error::WorkspaceNotFound);
            }
            revisions.extend(older);
        }
        revisions.reverse();
        Ok(revisions)
    }

    async fn pack_blob(&self, mut packing: Packing, entry: &FileEntry) -> Result<Packing, Error> {
        packing.pack.start(Kind::Blob, entry.size)?;
        let mut pieces = std::pin::pin!(self.blobs.read(entry.hash, entry.size, 0..entry.size));
        while let Some(piece) = pieces.try_next().await? {
            if (piece.len() as u64) < PIECE / 8 {
                // Not worth a thread.
                packing.pack.write(&piece)?;
                continue;
            }
            let write = move || packing.pack.write(&piece).map(|()| packing);
            packing = tokio::task::spawn_blocking(write).await??;
        }
        let id = packing.pack.end()?;
        packing.blobs.insert(entry.hash, id);
        Ok(packing)
    }
}

fn pack_revision(
    mut packing: Packing,
    manifest: &Manifest,
    revision: &Revision,
    parent: Option<ObjectId>,
) -> Result<(Packing, ObjectId), Error> {
    let trees = trees(manifest, &packing.blobs).ok_or(Error::Corrupt("a file has no name for git"))?;
    let mut root = None;
    for (id, content) in trees {
        root = Some(id);
        if packing.trees.insert(id) {
            packing.pack.object(Kind::Tree, &content)?;
        }
    }
    let root = root.ok_or(Error::Corrupt("a revision has no root"))?;
    let (id, content) = commit(revision, root, parent);
    packing.pack.object(Kind::Commit, &content)?;
    Ok((packing, id))
}
