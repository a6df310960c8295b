//! The use case of documents: the text of one, taken out by a worker process the first time and kept.

use slipway_documents::{Format, MAX_DOCUMENT, MAX_TEXT, Refusal, Text};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use crate::error::Error;
use crate::model::{At, FileEntry};
use crate::store::DocumentText;

impl FileStore {
    /// The text of a document, or the text that a file is.
    pub(crate) async fn document_text(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        at: At,
        path: String,
    ) -> Result<(FileEntry, Text), Error> {
        let tree = self.tree_some(ctx, workspace, at).await?;
        let manifest = self.manifest(&tree.manifest).await?;
        let Some(entry) = manifest.find(&path).cloned() else { return Err(Error::FileNotFound { path }) };
        let text = match Format::of_path(&path) {
            Some(format) => self.text_once(&entry, format).await?.map_err(|why| Error::DocumentUnreadable { path, why })?,
            None => self.text_itself(&entry).await?,
        };
        Ok((entry, text))
    }

    /// Two that ask at the same time may both have it made: it comes to the same.
    async fn text_once(&self, entry: &FileEntry, format: Format) -> Result<DocumentText, Error> {
        if entry.size > MAX_DOCUMENT {
            return Ok(Err(Refusal::TooLarge.to_string()));
        }
        if let Some(known) = self.store.find_text(entry.hash, format).await? {
            return Ok(known);
        }
        let document = self.blobs.get(entry.hash).await?;
        let made = match self.documents.text_of(format, &document).await {
            Err(Refusal::Worker(error)) => return Err(Error::Io(error)),
            // The machine may be busy: whoever asks again has another try.
            Err(Refusal::Exhausting) => return Ok(Err(Refusal::Exhausting.to_string())),
            made => made.map_err(|refusal| refusal.to_string()),
        };
        let write = self.store.begin().await?;
        write.save_text(entry.hash, format, &made).await?;
        write.commit().await?;
        Ok(made)
    }

    async fn text_itself(&self, entry: &FileEntry) -> Result<Text, Error> {
        let not_text = || Error::NotText { path: entry.path.clone() };
        if entry.size > MAX_TEXT as u64 {
            return Err(not_text());
        }
        let content = self.blobs.get(entry.hash).await?;
        let text = std::str::from_utf8(&content).ok().filter(|text| !text.contains('\0')).ok_or_else(not_text)?;
        Ok(Text { text: text.to_owned(), truncated: false })
    }
}
