//! The rows of budgets. What a caller does not own is not there.

use sea_orm::{ConnectionTrait, QueryResult, Value};
use slipway_storage::{StorageError, Tx, requests};
use uuid::Uuid;

use super::{LedgerStore, RequestKey, claim};
use crate::error::Error;
use crate::model::{Budget, SubjectKind, WindowKind};

pub(super) const COLUMNS: &str = "b.id, b.organisation_id, b.project_id, b.name, b.subject_kind, b.subject, b.window_kind, \
     b.limit_micros, b.limit_tokens, b.thresholds, b.refuse_unpriced, b.version, b.create_time, b.update_time";

impl LedgerStore {
    /// Makes a budget, or finds the one that the same request made.
    pub(crate) async fn create_budget(&self, project: Uuid, budget: &Budget, key: &RequestKey) -> Result<Budget, Error> {
        let tx = self.begin().await?;
        if let Some(first) = claim(&tx, project, key).await? {
            let found = find(&tx, self, first).await?;
            return found.ok_or(Error::BudgetNotFound);
        }
        let sql = "INSERT INTO budget (id, organisation_id, project_id, name, subject_kind, subject, window_kind, limit_micros, \
             limit_tokens, thresholds, refuse_unpriced, version, create_time, update_time) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let values: [Value; 14] = [
            budget.id.into(),
            budget.organisation.into(),
            budget.project.into(),
            budget.name.as_str().into(),
            (budget.kind as i16).into(),
            budget.subject.as_str().into(),
            (budget.window as i16).into(),
            budget.limit_micros.into(),
            budget.limit_tokens.into(),
            thresholds(budget).into(),
            budget.refuse_unpriced.into(),
            budget.version.into(),
            budget.create_time.into(),
            budget.update_time.into(),
        ];
        tx.conn().execute_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        if !key.id.is_empty() {
            requests::record(&tx, project, key.method, &key.id, &key.payload_hash, budget.id).await?;
        }
        tx.commit().await?;
        Ok(budget.clone())
    }

    /// A budget of the project or of its organisation.
    pub(crate) async fn find_budget(&self, project: Uuid, organisation: Uuid, id: Uuid) -> Result<Option<Budget>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM budget b WHERE b.id = $3 AND {OWNED}");
        let values: [Value; 3] = [project.into(), organisation.into(), id.into()];
        let row = self.store.read().query_one_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        Ok(row.map(|row| read(&row, 0)).transpose()?)
    }

    /// The budgets of the project and of its organisation, the oldest first, those after the id `after`.
    pub(crate) async fn list_budgets(
        &self,
        project: Uuid,
        organisation: Uuid,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Budget>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM budget b WHERE b.id > $3 AND {OWNED} ORDER BY b.id LIMIT {limit}");
        let values: [Value; 3] = [project.into(), organisation.into(), after.unwrap_or_default().into()];
        let rows = self.store.read().query_all_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        Ok(rows.iter().map(|row| read(row, 0)).collect::<Result<_, _>>()?)
    }

    /// All budgets there are, of every tenant: for the memory of a process.
    pub(crate) async fn all_budgets(&self) -> Result<Vec<Budget>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM budget b");
        let rows = self.store.read().query_all_raw(self.statement(sql, [])).await?;
        rows.iter().map(|row| read(row, 0)).collect()
    }

    /// Writes a changed budget over the version before; false when that is no longer the one stored.
    pub(crate) async fn update_budget(&self, budget: &Budget) -> Result<bool, Error> {
        let tx = self.begin().await?;
        let sql = "UPDATE budget SET name = $1, limit_micros = $2, limit_tokens = $3, thresholds = $4, refuse_unpriced = $5, \
             version = $6, update_time = $7 WHERE id = $8 AND version = $9";
        let values: [Value; 9] = [
            budget.name.as_str().into(),
            budget.limit_micros.into(),
            budget.limit_tokens.into(),
            thresholds(budget).into(),
            budget.refuse_unpriced.into(),
            budget.version.into(),
            budget.update_time.into(),
            budget.id.into(),
            (budget.version - 1).into(),
        ];
        let done = tx.conn().execute_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes a budget with its windows; false when there is none.
    pub(crate) async fn delete_budget(&self, id: Uuid) -> Result<bool, Error> {
        let tx = self.begin().await?;
        let delete = self.statement("DELETE FROM budget WHERE id = $1", [id.into()]);
        let done = tx.conn().execute_raw(delete).await.map_err(StorageError::from)?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }
}

/// $1 is the project, $2 the organisation; nobody owns what belongs to none.
const OWNED: &str = "((b.subject_kind <> 1 AND b.project_id = $1) OR (b.subject_kind = 1 AND b.organisation_id = $2))";

async fn find(tx: &Tx, store: &LedgerStore, id: Uuid) -> Result<Option<Budget>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM budget b WHERE b.id = $1");
    let row = tx.conn().query_one_raw(store.statement(sql, [id.into()])).await.map_err(StorageError::from)?;
    Ok(row.map(|row| read(&row, 0)).transpose()?)
}

fn thresholds(budget: &Budget) -> String {
    let all: Vec<String> = budget.thresholds.iter().map(u8::to_string).collect();
    all.join(",")
}

/// Reads [`COLUMNS`] that begin at `first`.
pub(super) fn read(row: &QueryResult, first: usize) -> Result<Budget, StorageError> {
    let corrupt = |column: &str| StorageError::Corrupt(format!("budget.{column}"));
    let kind = SubjectKind::from_number(row.try_get_by_index(first + 4)?).ok_or_else(|| corrupt("subject_kind"))?;
    let window = WindowKind::from_number(row.try_get_by_index(first + 6)?).ok_or_else(|| corrupt("window_kind"))?;
    let written: String = row.try_get_by_index(first + 9)?;
    let thresholds = written.split(',').filter(|t| !t.is_empty()).map(str::parse).collect::<Result<Vec<u8>, _>>();
    Ok(Budget {
        id: row.try_get_by_index(first)?,
        organisation: row.try_get_by_index(first + 1)?,
        project: row.try_get_by_index(first + 2)?,
        name: row.try_get_by_index(first + 3)?,
        kind,
        subject: row.try_get_by_index(first + 5)?,
        window,
        limit_micros: row.try_get_by_index(first + 7)?,
        limit_tokens: row.try_get_by_index(first + 8)?,
        thresholds: thresholds.map_err(|_| corrupt("thresholds"))?,
        refuse_unpriced: row.try_get_by_index(first + 10)?,
        version: row.try_get_by_index(first + 11)?,
        create_time: row.try_get_by_index(first + 12)?,
        update_time: row.try_get_by_index(first + 13)?,
    })
}
