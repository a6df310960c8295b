//! The use cases of archives: import and export.

use std::fs::File;
use std::io;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use slipway_rpc::Ctx;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::FileStore;
use super::revisions::{Base, Draft, WRITES};
use super::writing::Writing;
use crate::archive::{ArchiveError, Content, Extracted, Format, Limits, MAX_ARCHIVE_BYTES, Packer, extract, inspect};
use crate::blobs::{BlobError, Blobs, PIECE, Reader};
use crate::error::Error;
use crate::model::{At, ChangeError, FileEntry, MAX_FILE_BYTES, Manifest, Revision, RevisionKind};
use crate::store::RequestKey;

/// The size of an exported message.
const EXPORT_CHUNK: usize = 256 << 10;

/// What to do with an uploaded archive.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) workspace_id: Uuid,
    pub(crate) format: Format,
    pub(crate) base: Option<Uuid>,
    pub(crate) message: String,
    /// The archive, if it was uploaded before.
    pub(crate) content: Option<Hash>,
    pub(crate) key: RequestKey,
}

/// An archive on its way in: in a file without a name, which goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    file: tokio::fs::File,
    hasher: Hasher,
    size: u64,
    limit: u64,
}

impl Upload {
    /// More of the archive.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.size += chunk.len() as u64;
        if self.size > self.limit {
            return Err(Error::UploadTooLarge);
        }
        self.hasher.update(&chunk);
        Ok(self.file.write_all(&chunk).await?)
    }

    /// The same, with another content.
    pub(super) fn with(self, file: File, hasher: Hasher, size: u64) -> Self {
        Self { file: file.into(), hasher, size, ..self }
    }

    async fn finish(mut self) -> Result<(File, Hash), Error> {
        self.file.flush().await?;
        Ok((self.file.into_std().await, self.hasher.finalize()))
    }
}

impl FileStore {
    /// A place for an archive that is about to come.
    pub(crate) async fn start_upload(&self, ctx: &Ctx, workspace: Uuid) -> Result<Upload, Error> {
        self.get_workspace(ctx, workspace).await?;
        let dir = self.spool.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(dir)).await??;
        Ok(Upload { file: file.into(), hasher: Hasher::new(), size: 0, limit: MAX_ARCHIVE_BYTES })
    }

    /// Fetches an archive that was uploaded before.
    pub(crate) async fn fetch_upload(&self, ctx: &Ctx, upload: &mut Upload, hash: Hash) -> Result<(), Error> {
        let size = self.uploaded(ctx, hash).await?;
        let mut pieces = std::pin::pin!(self.blobs.read(hash, size, 0..size));
        upload.limit = MAX_FILE_BYTES;
        while let Some(piece) = pieces.try_next().await? {
            upload.write(piece).await?;
        }
        Ok(())
    }

    /// Replaces the files of a workspace by those of an archive, as one revision.
    pub(crate) async fn import(&self, ctx: &Ctx, import: Import, upload: Upload) -> Result<Revision, Error> {
        let Import { workspace_id, format, base, message, content: _, mut key } = import;
        let (file, hash) = upload.finish().await?;
        // The archive is part of the request, though it came after the header.
        key.payload_hash = *Hasher::new().update(&key.payload_hash).update(hash.as_bytes()).finalize().as_bytes();
        if let Some(first) = self.find_first(ctx, workspace_id, &key).await? {
            return Ok(first);
        }
        let writing = self.start_writing().await?;
        let manifest = self.unpack(&writing, file, format).await?;
        let draft = self.draft(ctx, &writing, workspace_id, Base::Exactly(base), message, manifest).await?;
        self.land(ctx, Draft { kind: RevisionKind::Import, ..draft }, Some(writing), &key).await
    }

    /// Reads the archive to its end, then writes its files to the blob store.
    async fn unpack(&self, writing: &Writing, file: File, format: Format) -> Result<Manifest, Error> {
        let permit = self.heavy_call().await?;
        let limits = Limits::default();
        let (file, permit, inventory) =
            tokio::task::spawn_blocking(move || inspect(&file, format, &limits).map(|inventory| (file, permit, inventory)))
                .await??;
        let (sender, receiver) = mpsc::channel::<Extracted>(WRITES);
        let spool = self.spool.clone();
        let reader = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            // Nobody listens when the writing failed or the caller went away.
            let gone = |_| ArchiveError::Io(io::ErrorKind::BrokenPipe.into());
            extract(&file, format, &limits, inventory, &spool, &mut |file| sender.blocking_send(file).map_err(gone))
        });
        let written =
            ReceiverStream::new(receiver).map(|file| self.write_file(writing, file)).buffer_unordered(WRITES).try_collect().await;
        let read = reader.await?;
        let entries: Vec<FileEntry> = written?;
        read?;
        // The archive was inspected for everything that this could refuse.
        Manifest::new(entries).map_err(|e| Error::Change(ChangeError::Result(e)))
    }

    async fn write_file(&self, writing: &Writing, file: Extracted) -> Result<FileEntry, Error> {
        match file.content {
            Content::Memory(bytes) => self.put(writing, file.hash, bytes).await?,
            Content::Spilled(spilled) => self.put_file(writing, file.hash, spilled).await?,
        }
        Ok(FileEntry { path: file.path, size: file.size, hash: file.hash, executable: file.executable })
    }

    /// A revision or overlay as an archive, chunk by chunk, no faster than they are taken.
    pub(crate) async fn export(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        at: At,
        format: Format,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let tree = self.tree_some(ctx, workspace, at).await?;
        let manifest = self.manifest(&tree.manifest).await?;
        let packer = Packer::new(format, &manifest)?;
        let blobs = self.blobs.clone();
        let export = Export { packer, manifest, blobs, reader: None, next: 0, offset: 0, hasher: Hasher::new() };
        let packed = stream::try_unfold(Some(export), |state| async move {
            match state {
                Some(export) => export.advance().await.map(Some),
                None => Ok(None),
            }
        });
        let chunks = packed.map_ok(|bytes| {
            let bytes = Bytes::from(bytes);
            let starts = (0..bytes.len()).step_by(EXPORT_CHUNK);
            let cut: Vec<_> = starts.map(|at| Ok(bytes.slice(at..bytes.len().min(at + EXPORT_CHUNK)))).collect();
            stream::iter(cut)
        });
        Ok(chunks.try_flatten())
    }
}

/// An archive on its way out.
struct Export {
    packer: Packer,
    manifest: Arc<Manifest>,
    blobs: Blobs,
    /// The content of the file that is being packed.
    reader: Option<Reader>,
    /// The file that is being packed, and how much of it is.
    next: usize,
    offset: u64,
    hasher: Hasher,
}

/// What is to be done with the packer.
enum Step {
    Start(usize),
    Content(Bytes),
    End,
}

impl Export {
    /// Packs about one piece. Gives what came of it, and itself while there is more.
    async fn advance(mut self) -> Result<(Vec<u8>, Option<Self>), Error> {
        let steps = self.gather().await?;
        let last = self.next == self.manifest.entries().len();
        let pack = move || {
            for step in steps {
                match step {
                    Step::Start(index) => self.packer.file(&self.manifest.entries()[index])?,
                    Step::Content(bytes) => self.packer.write(&bytes)?,
                    Step::End => self.packer.end_file()?,
                }
            }
            if last { Ok((self.packer.finish()?, None)) } else { Ok((self.packer.take(), Some(self))) }
        };
        tokio::task::spawn_blocking(pack).await?
    }

    /// Reads contents until there is enough to pack.
    async fn gather(&mut self) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        let mut gathered = 0;
        while gathered < PIECE {
            let Some(entry) = self.manifest.entries().get(self.next) else { break };
            if self.offset == 0 {
                steps.push(Step::Start(self.next));
                self.hasher.reset();
            }
            let end = entry.size.min(self.offset + PIECE);
            if end > self.offset {
                let reader = match self.reader.take() {
                    Some(reader) => reader,
                    None => self.blobs.open(entry.hash, entry.size).await?,
                };
                let bytes = reader.range(self.offset..end).await?;
                self.reader = Some(reader);
                self.hasher.update(&bytes);
                steps.push(Step::Content(bytes));
            }
            // Small files count for something too.
            gathered += end - self.offset + 512;
            self.offset = end;
            if end == entry.size {
                if self.hasher.finalize() != entry.hash {
                    return Err(BlobError::Damaged(entry.hash).into());
                }
                steps.push(Step::End);
                self.reader = None;
                (self.next, self.offset) = (self.next + 1, 0);
            }
        }
        Ok(steps)
    }
}
