//! The rows of providers' keys. The project comes first in every statement that a project's caller reaches: another one's key
//! is not there. Only what encrypts all keys anew looks at all of them, and gives none away.

use sea_orm::{ConnectionTrait, QueryResult, Value};
use slipway_storage::StorageError;
use uuid::Uuid;

use super::LedgerStore;
use crate::error::Error;
use crate::model::{Face, ProviderKey, Sealed};

const COLUMNS: &str =
    "id, project_id, provider, title, fingerprint, last_four, kek_id, wrapped_key, sealed_key, create_time, rotate_time";

impl LedgerStore {
    /// Stores a key, unless the project has `most` of them.
    pub(crate) async fn insert_provider_key(&self, key: &ProviderKey, most: u64) -> Result<(), Error> {
        let tx = self.begin().await?;
        let sql = format!(
            "INSERT INTO provider_key ({COLUMNS}) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 \
             WHERE (SELECT COUNT(*) FROM provider_key WHERE project_id = $2) < {most}"
        );
        let values: [Value; 11] = [
            key.id.into(),
            key.project.into(),
            key.provider.as_str().into(),
            key.title.as_str().into(),
            key.face.fingerprint.as_str().into(),
            key.face.last_four.as_str().into(),
            key.sealed.kek_id.as_str().into(),
            key.sealed.wrapped.clone().into(),
            key.sealed.bytes.clone().into(),
            key.create_time.into(),
            key.rotate_time.into(),
        ];
        let done = tx.conn().execute_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        if done.rows_affected() == 0 {
            return Err(Error::ProviderKeysFull { most });
        }
        Ok(tx.commit().await?)
    }

    /// The keys of a project after the id `after`, the oldest first.
    pub(crate) async fn list_provider_keys(
        &self,
        project: Uuid,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<ProviderKey>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM provider_key WHERE project_id = $1 AND id > $2 ORDER BY id LIMIT {limit}");
        let values: [Value; 2] = [project.into(), after.unwrap_or_default().into()];
        let rows = self.database().read().query_all_raw(self.statement(sql, values)).await?;
        rows.iter().map(read).collect()
    }

    /// All keys of a project.
    pub(crate) async fn provider_keys(&self, project: Uuid) -> Result<Vec<ProviderKey>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM provider_key WHERE project_id = $1 ORDER BY id");
        let rows = self.database().read().query_all_raw(self.statement(sql, [project.into()])).await?;
        rows.iter().map(read).collect()
    }

    /// One key.
    pub(crate) async fn find_provider_key(&self, project: Uuid, id: Uuid) -> Result<Option<ProviderKey>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM provider_key WHERE project_id = $1 AND id = $2");
        let row = self.database().read().query_one_raw(self.statement(sql, [project.into(), id.into()])).await?;
        row.as_ref().map(read).transpose()
    }

    /// Writes another key over one; false when there is none.
    pub(crate) async fn replace_provider_key(&self, key: &ProviderKey) -> Result<bool, StorageError> {
        let tx = self.begin().await?;
        let sql = "UPDATE provider_key SET fingerprint = $3, last_four = $4, kek_id = $5, wrapped_key = $6, sealed_key = $7, \
             rotate_time = $8 WHERE project_id = $1 AND id = $2";
        let values: [Value; 8] = [
            key.project.into(),
            key.id.into(),
            key.face.fingerprint.as_str().into(),
            key.face.last_four.as_str().into(),
            key.sealed.kek_id.as_str().into(),
            key.sealed.wrapped.clone().into(),
            key.sealed.bytes.clone().into(),
            key.rotate_time.into(),
        ];
        let done = tx.conn().execute_raw(self.statement(sql, values)).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Keys of any project that are not under a key-encryption key, after the id `after`: for encrypting them anew.
    pub(crate) async fn keys_of_other_keks(
        &self,
        kek_id: &str,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<ProviderKey>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM provider_key WHERE kek_id <> $1 AND id > $2 ORDER BY id LIMIT {limit}");
        let values: [Value; 2] = [kek_id.into(), after.unwrap_or_default().into()];
        let rows = self.database().read().query_all_raw(self.statement(sql, values)).await?;
        rows.iter().map(read).collect()
    }

    /// Puts another wrapping around a key, if it is still as it was read; false when it is not.
    pub(crate) async fn rewrap_provider_key(&self, key: &ProviderKey, sealed: &Sealed) -> Result<bool, StorageError> {
        let tx = self.begin().await?;
        let sql = "UPDATE provider_key SET kek_id = $1, wrapped_key = $2 WHERE project_id = $3 AND id = $4 AND kek_id = $5 \
             AND rotate_time = $6";
        let values: [Value; 6] = [
            sealed.kek_id.as_str().into(),
            sealed.wrapped.clone().into(),
            key.project.into(),
            key.id.into(),
            key.sealed.kek_id.as_str().into(),
            key.rotate_time.into(),
        ];
        let done = tx.conn().execute_raw(self.statement(sql, values)).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// The key-encryption keys that any key is under.
    pub(crate) async fn keks_in_use(&self) -> Result<Vec<String>, StorageError> {
        let sql = "SELECT DISTINCT kek_id FROM provider_key ORDER BY kek_id";
        let rows = self.database().read().query_all_raw(self.statement(sql, [])).await?;
        Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
    }

    /// Deletes a key; false when there is none.
    pub(crate) async fn delete_provider_key(&self, project: Uuid, id: Uuid) -> Result<bool, StorageError> {
        let tx = self.begin().await?;
        let sql = "DELETE FROM provider_key WHERE project_id = $1 AND id = $2";
        let done = tx.conn().execute_raw(self.statement(sql, [project.into(), id.into()])).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// True when any project has a key.
    pub(crate) async fn has_provider_keys(&self) -> Result<bool, StorageError> {
        let row = self.database().read().query_one_raw(self.statement("SELECT id FROM provider_key LIMIT 1", [])).await?;
        Ok(row.is_some())
    }
}

/// Reads [`COLUMNS`].
fn read(row: &QueryResult) -> Result<ProviderKey, StorageError> {
    Ok(ProviderKey {
        id: row.try_get_by_index(0)?,
        project: row.try_get_by_index(1)?,
        provider: row.try_get_by_index(2)?,
        title: row.try_get_by_index(3)?,
        face: Face { fingerprint: row.try_get_by_index(4)?, last_four: row.try_get_by_index(5)? },
        sealed: Sealed { kek_id: row.try_get_by_index(6)?, wrapped: row.try_get_by_index(7)?, bytes: row.try_get_by_index(8)? },
        create_time: row.try_get_by_index(9)?,
        rotate_time: row.try_get_by_index(10)?,
    })
}
