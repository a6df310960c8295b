//! Rows of indexed files: what searches answer from.

use slipway_storage::sea_orm::{self, FromQueryResult, Value};
use slipway_storage::{StorageError, Tx};

use super::{Records, execute, rows_of, to_i64, to_u64};
use crate::index::Tenant;

const ROWS: usize = 500;

/// A file that is in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexedFile {
    /// Its path.
    pub(crate) path: String,
    /// Its content's hash.
    pub(crate) blob: String,
    /// How many chunks it has; 0 for one that was passed over.
    pub(crate) chunk_count: u64,
}

#[derive(FromQueryResult)]
struct Row {
    path: String,
    blob: String,
    chunk_count: i64,
}

impl Records {
    /// The files of a workspace's index, by path.
    pub(crate) async fn list_files(&self, tenant: Tenant) -> Result<Vec<IndexedFile>, StorageError> {
        let sql = "SELECT path, blob, chunk_count FROM index_file WHERE project_id = $1 AND workspace_id = $2 ORDER BY path";
        let rows = self.list::<Row>(sql, [tenant.project.0.into(), tenant.workspace.into()]).await?;
        Ok(rows.into_iter().map(|r| IndexedFile { path: r.path, blob: r.blob, chunk_count: to_u64(r.chunk_count) }).collect())
    }

    /// Makes changes to the files of a workspace's index.
    pub(crate) async fn change_files(
        &self,
        tx: &Tx,
        tenant: Tenant,
        set: &[IndexedFile],
        removed: &[String],
    ) -> Result<(), StorageError> {
        for batch in removed.chunks(ROWS) {
            let places: Vec<_> = (0..batch.len()).map(|n| format!("${}", n + 3)).collect();
            let sql =
                format!("DELETE FROM index_file WHERE project_id = $1 AND workspace_id = $2 AND path IN ({})", places.join(", "));
            let mut values: Vec<Value> = vec![tenant.project.0.into(), tenant.workspace.into()];
            values.extend(batch.iter().map(|path| Value::from(path.as_str())));
            execute(tx, &sql, values).await?;
        }
        for batch in set.chunks(ROWS) {
            let sql = format!(
                "INSERT INTO index_file (project_id, workspace_id, path, blob, chunk_count) VALUES {} \
                 ON CONFLICT (workspace_id, path) DO UPDATE SET blob = excluded.blob, chunk_count = excluded.chunk_count",
                rows_of(batch.len(), 5)
            );
            let values = batch.iter().flat_map(|file| -> [Value; 5] {
                [
                    tenant.project.0.into(),
                    tenant.workspace.into(),
                    file.path.as_str().into(),
                    file.blob.as_str().into(),
                    to_i64(file.chunk_count).into(),
                ]
            });
            execute(tx, &sql, values).await?;
        }
        Ok(())
    }
}
