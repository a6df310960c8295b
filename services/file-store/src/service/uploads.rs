//! The use cases of uploads: contents that come in as many calls as it takes.
//!
//! Bytes are kept in pieces, each an object of its own that a row names only once it is safe, so that nothing but the rows
//! says where an upload goes on: on any replica, after any restart. Two who send the same bytes at once cannot mix them up,
//! since a piece counts only where the upload ended when it came.
//!
//! Finishing is writing in the sense of [`crate::garbage`]: the content is written before the row says what it is, under an
//! epoch that the row's transaction holds. From then on the row refers to the content until it expires.

use blake3::Hash;
use bytes::{Bytes, BytesMut};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use super::writing::Writing;
use crate::blobs::{PIECE_BYTES, Sums};
use crate::error::Error;
use crate::model::{Change, Manifest, Piece, Upload, are_whole};
use crate::store::RequestKey;

/// How often finishing makes sure of its content while garbage is collected.
const RENEWALS: usize = 5;

/// What is to come.
#[derive(Debug)]
pub(crate) struct BeginUpload {
    pub(crate) size: u64,
    pub(crate) blake3: Option<Hash>,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) key: RequestKey,
}

/// Bytes on their way into an upload.
#[derive(Debug)]
pub(crate) struct Part {
    upload: Upload,
    buffer: BytesMut,
}

impl FileStore {
    /// Begins an upload.
    pub(crate) async fn begin_upload(&self, ctx: &Ctx, begin: BeginUpload) -> Result<Upload, Error> {
        let BeginUpload { size, blake3, sha256, key } = begin;
        let now = self.clock.now();
        let write = self.store.begin().await?;
        if let Some(first) = write.claim(ctx.project, &key).await? {
            return write.find_upload(ctx.project, first, now).await?.ok_or(Error::UploadNotFound);
        }
        if write.count_uploads(ctx.project, now).await? >= self.uploads.max_open {
            return Err(Error::UploadsFull { limit: self.uploads.max_open });
        }
        let expire_time = self.expire_upload(now);
        let upload =
            Upload { id: Uuid::now_v7(), size, committed: 0, blake3, sha256, content: None, create_time: now, expire_time };
        write.create_upload(ctx.project, &upload).await?;
        write.record(ctx.project, &key, upload.id).await?;
        write.commit().await?;
        Ok(upload)
    }

    /// One upload.
    pub(crate) async fn get_upload(&self, ctx: &Ctx, id: Uuid) -> Result<Upload, Error> {
        self.store.find_upload(ctx.project, id, self.clock.now()).await?.ok_or(Error::UploadNotFound)
    }

    /// Takes bytes that begin at `offset`.
    pub(crate) async fn start_part(&self, ctx: &Ctx, id: Uuid, offset: u64) -> Result<Part, Error> {
        let upload = self.get_upload(ctx, id).await?;
        if offset != upload.committed || upload.content.is_some() {
            return Err(Error::UploadOffset { committed: upload.committed });
        }
        Ok(Part { upload, buffer: BytesMut::new() })
    }

    /// More of the bytes.
    pub(crate) async fn write_part(&self, ctx: &Ctx, part: &mut Part, chunk: Bytes) -> Result<(), Error> {
        let end = part.upload.committed + (part.buffer.len() + chunk.len()) as u64;
        if end > part.upload.size {
            return Err(Error::UploadTooLong { size: part.upload.size });
        }
        part.buffer.extend_from_slice(&chunk);
        while part.buffer.len() >= PIECE_BYTES {
            let piece = part.buffer.split_to(PIECE_BYTES).freeze();
            self.keep_piece(ctx, &mut part.upload, piece).await?;
        }
        Ok(())
    }

    /// The bytes have ended; what has come is safe.
    pub(crate) async fn end_part(&self, ctx: &Ctx, mut part: Part) -> Result<Upload, Error> {
        if !part.buffer.is_empty() {
            self.keep_piece(ctx, &mut part.upload, part.buffer.freeze()).await?;
        }
        Ok(part.upload)
    }

    async fn keep_piece(&self, ctx: &Ctx, upload: &mut Upload, content: Bytes) -> Result<(), Error> {
        let piece = Piece { start: upload.committed, size: content.len() as u64, name: Uuid::now_v7() };
        self.blobs.put_piece(upload.id, piece.name, content).await?;
        let now = self.clock.now();
        let expire = self.expire_upload(now);
        let write = self.store.begin().await?;
        if write.add_piece(ctx.project, upload.id, &piece, now, expire).await? {
            write.commit().await?;
            (upload.committed, upload.expire_time) = (piece.start + piece.size, expire);
            return Ok(());
        }
        drop(write);
        self.blobs.remove_piece(upload.id, piece.name).await?;
        // Somebody else sent these bytes, or the upload is over.
        Err(Error::UploadOffset { committed: self.get_upload(ctx, upload.id).await?.committed })
    }

    /// Makes a content of an upload, if it is what it must be.
    pub(crate) async fn finish_upload(&self, ctx: &Ctx, id: Uuid) -> Result<Upload, Error> {
        let upload = self.get_upload(ctx, id).await?;
        if upload.content.is_some() {
            return Ok(upload);
        }
        let pieces = self.store.list_pieces(id).await?;
        if upload.committed < upload.size || !are_whole(&pieces, upload.size) {
            // Another call may just have finished it.
            let now = self.get_upload(ctx, id).await?;
            let incomplete = Error::UploadIncomplete { committed: now.committed, size: now.size };
            return if now.content.is_some() { Ok(now) } else { Err(incomplete) };
        }
        let permit = self.heavy_call().await?;
        let names: Vec<Uuid> = pieces.iter().map(|piece| piece.name).collect();
        let mut writing = self.start_writing().await?;
        let content = self.join(&writing, &upload, &names).await?;
        drop(permit);
        let upload = self.land_upload(ctx, upload, content, &mut writing).await?;
        // What stays goes when the upload expires.
        if let Err(error) = self.blobs.remove_pieces(id).await {
            tracing::warn!(upload = %id, error = &error as &dyn std::error::Error, "the pieces of an upload stay for now");
        }
        Ok(upload)
    }

    /// Writes the content. Whoever said what it will be spares reading it twice.
    async fn join(&self, writing: &Writing, upload: &Upload, names: &[Uuid]) -> Result<Hash, Error> {
        let hash = match upload.blake3 {
            Some(hash) => hash,
            None => {
                let sums = self.blobs.sum_pieces(upload.id, names).await?;
                check_sums(upload, &sums)?;
                sums.blake3
            }
        };
        self.await_write(writing, hash).await?;
        if names.is_empty() {
            let sums = self.blobs.sum_pieces(upload.id, names).await?;
            check_sums(upload, &sums)?;
            self.blobs.put(hash, Bytes::new(), writing.epoch()).await?;
            return Ok(hash);
        }
        let good = |sums: &Sums| sums.blake3 == hash && check_sums(upload, sums).is_ok();
        let sums = self.blobs.join_pieces(upload.id, names, hash, good, writing.epoch()).await?;
        check_sums(upload, &sums)?;
        Ok(hash)
    }

    async fn land_upload(&self, ctx: &Ctx, upload: Upload, content: Hash, writing: &mut Writing) -> Result<Upload, Error> {
        for _ in 0..RENEWALS {
            let now = self.clock.now();
            let expire_time = self.expire_upload(now);
            let write = self.store.begin().await?;
            if write.hold_epoch().await? != writing.epoch() {
                drop(write);
                self.renew(writing).await?;
                continue;
            }
            if !write.finish_upload(ctx.project, upload.id, content, now, expire_time).await? {
                return Err(Error::UploadNotFound);
            }
            write.commit().await?;
            return Ok(Upload { content: Some(content), expire_time, ..upload });
        }
        Err(Error::Swept)
    }

    /// Deletes an upload.
    pub(crate) async fn delete_upload(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let write = self.store.begin().await?;
        if !write.delete_upload(ctx.project, id, self.clock.now()).await? {
            return Err(Error::UploadNotFound);
        }
        write.commit().await?;
        Ok(self.blobs.remove_pieces(id).await?)
    }

    /// Finds the contents that changes name by their hashes, and sees to it that they stay. Whoever names one must have brought
    /// it, or have it in the files that are changed: a hash alone gives nobody another's content.
    pub(super) async fn place_contents(
        &self,
        ctx: &Ctx,
        writing: &Writing,
        base: &Manifest,
        mut changes: Vec<Change>,
    ) -> Result<Vec<Change>, Error> {
        for change in &mut changes {
            let Change::Place { hash, size, .. } = change else { continue };
            let known = base.entries().iter().find(|entry| entry.hash == *hash).map(|entry| entry.size);
            *size = match known {
                Some(size) => size,
                None => self.uploaded(ctx, *hash).await?,
            };
            self.hold(writing, *hash).await?;
        }
        Ok(changes)
    }

    /// The size of a content that the project has uploaded.
    pub(super) async fn uploaded(&self, ctx: &Ctx, hash: Hash) -> Result<u64, Error> {
        let found = self.store.find_uploaded(ctx.project, hash, self.clock.now()).await?;
        found.ok_or(Error::ContentNotFound { hash })
    }

    fn expire_upload(&self, now: i64) -> i64 {
        now + i64::try_from(self.uploads.expire().as_micros()).unwrap_or_default()
    }
}

fn check_sums(upload: &Upload, sums: &Sums) -> Result<(), Error> {
    if upload.blake3.is_some_and(|hash| hash != sums.blake3) {
        return Err(Error::UploadCorrupt { checksum: "blake3" });
    }
    if upload.sha256.is_some_and(|hash| hash != sums.sha256) {
        return Err(Error::UploadCorrupt { checksum: "sha256" });
    }
    Ok(())
}
