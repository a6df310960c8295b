//! The windows of budgets: finding, beginning, locking and changing them.
//!
//! A window's `spent` is the sum of the ledger's rows that fall under it, always. It begins with those that are there
//! already, and every group of rows that is recorded adds to the windows it finds. So that no row is between the two,
//! beginning a window and recording rows exclude each other; on SQLite transactions do so anyway.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};
use slipway_storage::{StorageError, Tx};
use uuid::Uuid;

use super::{LedgerStore, budget, placeholders};
use crate::error::Error;
use crate::model::{Budget, Span, Spent, Standing, SubjectKind, subject_key};

/// Any number that nothing else in this schema locks.
const LOCK: i64 = 0x736c_6970_7761_7901;

/// A window by what it is of.
#[derive(Clone, Debug)]
pub(crate) struct WindowRef {
    /// The budget.
    pub(crate) budget: Arc<Budget>,
    /// Which one of its subjects.
    pub(crate) subject: String,
    /// From when to when.
    pub(crate) span: Span,
}

/// What makes a window one: budget, subject and beginning.
pub(super) type WindowKey = (Uuid, String, i64);

impl WindowRef {
    pub(super) fn key(&self) -> WindowKey {
        (self.budget.id, subject_key(self.budget.kind, &self.subject), self.span.start)
    }
}

/// A window's row, held until the transaction ends.
#[derive(Clone, Debug)]
pub(super) struct Locked {
    pub(super) id: Uuid,
    pub(super) budget: Budget,
    pub(super) subject_key: String,
    pub(super) standing: Standing,
    /// The highest threshold that was told of.
    pub(super) told: u8,
}

const WINDOW: &str = "w.id, w.subject_key, w.start_time, w.end_time, w.spent_micros, w.spent_tokens, w.reserved_micros, \
     w.reserved_tokens, w.told";
const WINDOW_COLUMNS: usize = 9;

impl LedgerStore {
    /// How a budget stands for a subject now.
    pub(crate) async fn get_standing(&self, window: &WindowRef) -> Result<Standing, Error> {
        let (budget_id, key, start) = window.key();
        let sql = format!(
            "SELECT {WINDOW}, {} FROM budget_window w JOIN budget b ON b.id = w.budget_id \
             WHERE w.budget_id = $1 AND w.subject_key = $2 AND w.start_time = $3",
            budget::COLUMNS
        );
        let values: [Value; 3] = [budget_id.into(), key.into(), start.into()];
        let row = self.store.read().query_one_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        if let Some(row) = row {
            return Ok(read(&row)?.standing);
        }
        let (condition, values) = spent_by(window, 1);
        let sql = format!("SELECT {SPENT} FROM call WHERE {condition}");
        let row = self.store.read().query_one_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        let sum = |at| row.as_ref().map_or(Ok(0), |row| row.try_get_by_index::<i64>(at)).map_err(StorageError::from);
        let spent = Spent { micros: sum(0)?, tokens: sum(1)? };
        let (subject, span) = (window.subject.clone(), window.span);
        Ok(Standing { subject, span, spent, reserved: Spent::default() })
    }

    /// The ids of windows, which are begun where they are missing. A window of a budget that is gone has none.
    pub(super) async fn ensure_windows(&self, wanted: &[WindowRef]) -> Result<HashMap<WindowKey, Uuid>, StorageError> {
        let mut found = self.find_windows(wanted).await?;
        let missing: HashMap<WindowKey, &WindowRef> =
            wanted.iter().map(|w| (w.key(), w)).filter(|(key, _)| !found.contains_key(key)).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let tx = self.begin().await?;
        self.exclude_others(&tx, false).await?;
        for window in missing.into_values() {
            tx.conn().execute_raw(self.begin_window(window)).await?;
        }
        tx.commit().await?;
        found.extend(self.find_windows(wanted).await?);
        Ok(found)
    }

    async fn find_windows(&self, wanted: &[WindowRef]) -> Result<HashMap<WindowKey, Uuid>, StorageError> {
        let budgets: BTreeSet<Uuid> = wanted.iter().map(|w| w.budget.id).collect();
        let keys: BTreeSet<String> = wanted.iter().map(|w| w.key().1).collect();
        let starts: BTreeSet<i64> = wanted.iter().map(|w| w.span.start).collect();
        let sql = format!(
            "SELECT budget_id, subject_key, start_time, id FROM budget_window WHERE budget_id IN ({}) AND subject_key IN ({}) \
             AND start_time IN ({})",
            placeholders(1, budgets.len()),
            placeholders(1 + budgets.len(), keys.len()),
            placeholders(1 + budgets.len() + keys.len(), starts.len())
        );
        let values = budgets.into_iter().map(Value::from).chain(keys.into_iter().map(Value::from));
        let values = values.chain(starts.into_iter().map(Value::from));
        let rows = self.store.read().query_all_raw(self.statement(sql, values)).await?;
        let read = |row: &QueryResult| {
            let key = (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            Ok((key, row.try_get_by_index(3)?))
        };
        rows.iter().map(read).collect()
    }

    /// With what its calls have cost already.
    fn begin_window(&self, window: &WindowRef) -> Statement {
        let (budget_id, key, start) = window.key();
        let (condition, spent) = spent_by(window, 7);
        let sql = format!(
            "INSERT INTO budget_window (id, budget_id, organisation_id, project_id, subject_key, start_time, end_time, \
             spent_micros, spent_tokens, reserved_micros, reserved_tokens, told) \
             SELECT $1, b.id, b.organisation_id, b.project_id, $3, $4, $5, \
             (SELECT {SPENT_MICROS} FROM call WHERE {condition}), (SELECT {SPENT_TOKENS} FROM call WHERE {condition}), 0, 0, $6 \
             FROM budget b WHERE b.id = $2 ON CONFLICT DO NOTHING"
        );
        let values: [Value; 6] =
            [Uuid::now_v7().into(), budget_id.into(), key.into(), start.into(), window.span.end.into(), 0_i16.into()];
        self.statement(sql, values.into_iter().chain(spent))
    }

    /// Until the transaction ends: the beginners of windows are alone, those who record rows may be many.
    pub(super) async fn exclude_others(&self, tx: &Tx, shared: bool) -> Result<(), StorageError> {
        if self.is_shared() {
            let function = if shared { "pg_advisory_xact_lock_shared" } else { "pg_advisory_xact_lock" };
            // The lock is the server's, the schema ours.
            let sql = format!("SELECT {function}($1 + hashtext(current_schema()))");
            tx.conn().execute_raw(self.statement(sql, [LOCK.into()])).await?;
        }
        Ok(())
    }

    /// Holds the windows that a condition finds, in an order that is the same for everybody.
    pub(super) async fn lock_windows(
        &self,
        tx: &Tx,
        condition: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Locked>, StorageError> {
        let hold = if self.is_shared() { " FOR UPDATE OF w" } else { "" };
        let sql = format!(
            "SELECT {WINDOW}, {} FROM budget_window w JOIN budget b ON b.id = w.budget_id WHERE {condition} ORDER BY w.id{hold}",
            budget::COLUMNS
        );
        let rows = tx.conn().query_all_raw(self.statement(sql, values)).await?;
        rows.iter().map(read).collect()
    }

    /// Adds to what a window has spent and reserved, and notes the highest threshold that was told of.
    pub(super) fn change_window(&self, id: Uuid, spent: Spent, reserved: Spent, told: u8) -> Statement {
        let sql = "UPDATE budget_window SET spent_micros = spent_micros + $1, spent_tokens = spent_tokens + $2, \
             reserved_micros = reserved_micros + $3, reserved_tokens = reserved_tokens + $4, told = $5 WHERE id = $6";
        let values: [Value; 6] = [
            spent.micros.into(),
            spent.tokens.into(),
            reserved.micros.into(),
            reserved.tokens.into(),
            i16::from(told).into(),
            id.into(),
        ];
        self.statement(sql, values)
    }
}

const SPENT_MICROS: &str = "CAST(COALESCE(SUM(cost_micros), 0) AS bigint)";
const SPENT_TOKENS: &str = "CAST(COALESCE(SUM(input_tokens + output_tokens), 0) AS bigint)";
const SPENT: &str =
    "CAST(COALESCE(SUM(cost_micros), 0) AS bigint), CAST(COALESCE(SUM(input_tokens + output_tokens), 0) AS bigint)";

/// Which rows of the ledger fall under a window, with parameters from `$first` on.
fn spent_by(window: &WindowRef, first: usize) -> (String, Vec<Value>) {
    let Budget { kind, organisation, project, .. } = &*window.budget;
    let id = || Value::from(window.subject.parse::<Uuid>().unwrap_or_default());
    let (owner, subject) = match kind {
        SubjectKind::Organisation => (("organisation_id", *organisation), None),
        SubjectKind::Project => (("project_id", *project), None),
        SubjectKind::User => (("project_id", *project), Some(("user_id", id()))),
        SubjectKind::Token => (("project_id", *project), Some(("token", window.subject.as_str().into()))),
        SubjectKind::Conversation => (("project_id", *project), Some(("conversation_id", id()))),
        SubjectKind::Plan => (("project_id", *project), Some(("plan_id", id()))),
    };
    let mut condition = format!("{} = ${first} AND create_time >= ${} AND create_time < ${}", owner.0, first + 1, first + 2);
    let mut values: Vec<Value> = vec![owner.1.into(), window.span.start.into(), window.span.end.into()];
    if let Some((column, value)) = subject {
        condition.push_str(&format!(" AND {column} = ${}", first + 3));
        values.push(value);
    }
    (condition, values)
}

fn read(row: &QueryResult) -> Result<Locked, StorageError> {
    let number = |at| row.try_get_by_index::<i64>(at);
    let subject_key: String = row.try_get_by_index(1)?;
    let subject = subject_key.split_once(':').map(|(_, subject)| subject.to_owned()).unwrap_or_default();
    Ok(Locked {
        id: row.try_get_by_index(0)?,
        budget: budget::read(row, WINDOW_COLUMNS)?,
        subject_key,
        standing: Standing {
            subject,
            span: Span { start: number(2)?, end: number(3)? },
            spent: Spent { micros: number(4)?, tokens: number(5)? },
            reserved: Spent { micros: number(6)?, tokens: number(7)? },
        },
        told: u8::try_from(row.try_get_by_index::<i16>(8)?).unwrap_or(u8::MAX),
    })
}
