//! The vector ledger: vectors by model and text hash, kept for as long as the workspace is.

use std::collections::HashMap;

use slipway_storage::sea_orm::{self, FromQueryResult, Value};
use slipway_storage::{StorageError, Tx};

use super::{Records, execute, rows_of};
use crate::index::Tenant;

const ROWS: usize = 200;

/// The hash of a text that was, or is to be, embedded.
pub(crate) type TextHash = [u8; 32];

#[derive(FromQueryResult)]
struct Row {
    text_hash: Vec<u8>,
    vector: Vec<u8>,
}

impl Records {
    /// Those of the texts' vectors that are known.
    pub(crate) async fn find_vectors(
        &self,
        tenant: Tenant,
        model: &str,
        hashes: &[TextHash],
    ) -> Result<HashMap<TextHash, Vec<f32>>, StorageError> {
        let mut known = HashMap::new();
        for batch in hashes.chunks(ROWS) {
            let places: Vec<_> = (0..batch.len()).map(|n| format!("${}", n + 4)).collect();
            let sql = format!(
                "SELECT text_hash, vector FROM vector WHERE project_id = $1 AND workspace_id = $2 AND model = $3 AND text_hash IN ({})",
                places.join(", ")
            );
            let mut values: Vec<Value> = vec![tenant.project.0.into(), tenant.workspace.into(), model.into()];
            values.extend(batch.iter().map(|hash| Value::from(hash.to_vec())));
            for row in self.list::<Row>(&sql, values).await? {
                let hash = TextHash::try_from(row.text_hash.as_slice());
                let hash = hash.map_err(|_| StorageError::Corrupt("vector.text_hash has not 32 bytes".to_owned()))?;
                known.insert(hash, decode(&row.vector));
            }
        }
        Ok(known)
    }

    /// Keeps vectors; those that are there already stay.
    pub(crate) async fn add_to_ledger(
        &self,
        tx: &Tx,
        tenant: Tenant,
        model: &str,
        vectors: &[(TextHash, Vec<f32>)],
    ) -> Result<(), StorageError> {
        for batch in vectors.chunks(ROWS) {
            let sql = format!(
                "INSERT INTO vector (project_id, workspace_id, model, text_hash, vector) VALUES {} ON CONFLICT DO NOTHING",
                rows_of(batch.len(), 5)
            );
            let values = batch.iter().flat_map(|(hash, vector)| -> [Value; 5] {
                [tenant.project.0.into(), tenant.workspace.into(), model.into(), hash.to_vec().into(), encode(vector).into()]
            });
            execute(tx, &sql, values).await?;
        }
        Ok(())
    }
}

fn encode(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
