//! Deleting old rows of the ledger, a few at a time.

use sea_orm::{ConnectionTrait as _, Value};
use slipway_storage::StorageError;
use uuid::{NoContext, Timestamp, Uuid};

use super::{LedgerStore, placeholders};
use crate::model::{SubjectKind, WindowKind};

const MILLION: i64 = 1_000_000;

/// What a round of deleting came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// So many rows.
    pub(crate) rows: u64,
    /// Where the next round begins; `None`: nothing is left to delete.
    pub(crate) after: Option<Uuid>,
}

impl LedgerStore {
    /// Deletes at most `limit` rows of calls that began before `time`, those after the id `after`. Rows stay that a window
    /// without an end counts, or would count once it begins.
    pub(crate) async fn delete_calls(&self, time: i64, after: Uuid, limit: u64) -> Result<Deleted, StorageError> {
        let (total, organisation) = (WindowKind::Total as i16, SubjectKind::Organisation as i16);
        // The ids grow with time, and the first of them are found without a look at the rest.
        let sql = format!(
            "SELECT c.id FROM call c WHERE c.id > $1 AND c.id < $2 AND c.create_time < $3 AND NOT EXISTS (SELECT 1 FROM budget b \
             WHERE b.window_kind = {total} AND ((b.subject_kind = {organisation} AND b.organisation_id = c.organisation_id) \
             OR (b.subject_kind <> {organisation} AND b.project_id = c.project_id))) ORDER BY c.id LIMIT {limit}"
        );
        let values: [Value; 3] = [after.into(), first_id_of(time).into(), time.into()];
        let rows = self.store.read().query_all_raw(self.statement(sql, values)).await?;
        let ids = rows.iter().map(|row| row.try_get_by_index::<Uuid>(0)).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = ids.last().copied() else { return Ok(Deleted::default()) };
        let tx = self.begin().await?;
        // The rows of their tries go with them.
        let sql = format!("DELETE FROM call WHERE id IN ({})", placeholders(1, ids.len()));
        let done = tx.conn().execute_raw(self.statement(sql, ids.iter().copied().map(Value::from))).await?;
        tx.commit().await?;
        let more = ids.len() as u64 == limit;
        Ok(Deleted { rows: done.rows_affected(), after: more.then_some(last) })
    }
}

/// An id that is after those of every call that began before a time, but for what the clock cannot tell apart.
fn first_id_of(time: i64) -> Uuid {
    let (seconds, micros) = (time.div_euclid(MILLION), time.rem_euclid(MILLION));
    let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(micros * 1_000).unwrap_or(0));
    // The id is given a moment after the time: a second later is soon enough for everything.
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds + 1, nanos))
}
