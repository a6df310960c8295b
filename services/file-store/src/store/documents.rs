//! The table of what the text of documents is. A row says what a content comes to in a format: it is the same for everybody
//! who has that content, and goes when the content goes.

use blake3::Hash;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait as _};
use slipway_documents::{Format, Text, VERSION};
use slipway_storage::StorageError;

use super::entity::document_text::{ActiveModel, Column, Entity};
use super::{WorkspaceStore, Write};
use crate::error::Error;

/// The text of a document, or why it has none, for people.
pub(crate) type DocumentText = Result<Text, String>;

impl WorkspaceStore {
    /// What the content came to, if it was read by today's readers.
    pub(crate) async fn find_text(&self, content: Hash, format: Format) -> Result<Option<DocumentText>, Error> {
        let query = Entity::find_by_id((content.to_hex().to_string(), format.name().to_owned()));
        let row = query.one(self.store.read()).await.map_err(StorageError::from)?;
        let row = row.filter(|row| row.version == VERSION);
        Ok(row.map(|row| match row.failure {
            None => Ok(Text { text: row.text, truncated: row.truncated }),
            Some(failure) => Err(failure),
        }))
    }
}

impl Write {
    /// Keeps what a content comes to.
    pub(crate) async fn save_text(&self, content: Hash, format: Format, made: &DocumentText) -> Result<(), Error> {
        let none = Text { text: String::new(), truncated: false };
        let text = made.as_ref().unwrap_or(&none);
        let row = ActiveModel {
            hash: Set(content.to_hex().to_string()),
            format: Set(format.name().to_owned()),
            version: Set(VERSION),
            text: Set(text.text.clone()),
            truncated: Set(text.truncated),
            failure: Set(made.as_ref().err().cloned()),
        };
        let known = OnConflict::columns([Column::Hash, Column::Format])
            .update_columns([Column::Version, Column::Text, Column::Truncated, Column::Failure])
            .to_owned();
        let insert = Entity::insert(row).on_conflict(known);
        insert.exec_without_returning(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }
}
