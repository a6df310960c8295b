//! Recording calls that have ended: their rows, what they add to their windows, and the end of their reservations, for many
//! calls in one transaction. And sweeping: the same for calls whose process is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::{ConnectionTrait as _, Value};
use slipway_storage::{StorageError, Tx, outbox};
use uuid::Uuid;

use super::reserve::{Reservation, lost};
use super::window::Locked;
use super::{LedgerStore, placeholders};
use crate::events;
use crate::model::{Call, Spent, SubjectKind, subject_keys};

/// How many lost calls are swept at once.
const SWEEP: usize = 100;

/// A call that has ended, with the room that it held.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) call: Call,
    pub(crate) reservation: Option<Reservation>,
}

/// What a window is to be changed by.
#[derive(Default)]
struct Change {
    spent: Spent,
    reserved: Spent,
}

impl LedgerStore {
    /// Writes all of them or none. A call that was taken for lost gets its true row; nothing is counted twice.
    pub(crate) async fn record(&self, ended: &[Ended], now: i64) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        self.exclude_others(&tx, true).await?;
        self.charge(&mut tx, ended, now).await?;
        tx.commit().await
    }

    /// Charges reservations whose process is gone: what such a call used is not known, and it may have used all of it.
    /// `alone`: no other process can be alive. Returns how many.
    pub(crate) async fn sweep(&self, now: i64, alone: bool) -> Result<usize, StorageError> {
        let mut tx = self.begin().await?;
        self.exclude_others(&tx, true).await?;
        let (others, skip) =
            (if alone { " OR lease_owner <> $2" } else { "" }, if self.is_shared() { " FOR UPDATE SKIP LOCKED" } else { "" });
        let sql = format!(
            "SELECT call_id, windows, micros, tokens, call FROM reservation WHERE expire_time < $1{others} ORDER BY call_id \
             LIMIT {SWEEP}{skip}"
        );
        let values = std::iter::once(Value::from(now)).chain(alone.then(|| self.owner.into()));
        let rows = tx.conn().query_all_raw(self.statement(sql, values)).await?;
        let mut ended = Vec::new();
        for row in &rows {
            let (call, reservation) = lost(row, now)?;
            ended.push(Ended { call, reservation: Some(reservation) });
        }
        if !ended.is_empty() {
            self.charge(&mut tx, &ended, now).await?;
        }
        tx.commit().await?;
        Ok(ended.len())
    }

    async fn charge(&self, tx: &mut Tx, ended: &[Ended], now: i64) -> Result<(), StorageError> {
        let before = self.end_reservations(tx, ended).await?;
        let windows = self.lock_windows_of(tx, ended).await?;
        let mut changes: BTreeMap<Uuid, Change> = BTreeMap::new();
        for one in ended {
            add(&mut changes, &windows, one, before.get(&one.call.id).copied());
            tx.later(self.insert_call(&one.call));
            for attempt in self.insert_attempts(&one.call) {
                tx.later(attempt);
            }
        }
        for window in &windows {
            let Some(change) = changes.get(&window.id) else { continue };
            let spent = window.standing.spent.plus(change.spent);
            let reached = window.budget.reached(window.told, spent);
            let told = reached.iter().copied().max().unwrap_or(window.told);
            tx.later(self.change_window(window.id, change.spent, change.reserved, told));
            for percent in reached {
                let standing = crate::model::Standing { spent, ..window.standing.clone() };
                outbox::append(tx, &events::threshold_reached(&window.budget, &standing, percent, now)).await?;
            }
        }
        Ok(())
    }

    /// Takes the reservations away. Returns what was charged already for calls whose reservation is gone: a sweep was there.
    async fn end_reservations(&self, tx: &Tx, ended: &[Ended]) -> Result<HashMap<Uuid, Spent>, StorageError> {
        let mut ids: BTreeSet<Uuid> = ended.iter().filter(|e| e.reservation.is_some()).map(|e| e.call.id).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = format!("DELETE FROM reservation WHERE call_id IN ({}) RETURNING call_id", placeholders(1, ids.len()));
        let rows = tx.conn().query_all_raw(self.statement(sql, ids.iter().map(|id| Value::from(*id)))).await?;
        for row in rows {
            ids.remove(&row.try_get_by_index(0)?);
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = format!(
            "SELECT id, cost_micros, input_tokens + output_tokens FROM call WHERE id IN ({})",
            placeholders(1, ids.len())
        );
        let mut before: HashMap<Uuid, Spent> = ids.iter().map(|id| (*id, Spent::default())).collect();
        for row in tx.conn().query_all_raw(self.statement(sql, ids.iter().map(|id| Value::from(*id)))).await? {
            let spent = Spent { micros: row.try_get_by_index(1)?, tokens: row.try_get_by_index(2)? };
            before.insert(row.try_get_by_index(0)?, spent);
        }
        Ok(before)
    }

    /// The windows that any of the calls may fall under, held.
    async fn lock_windows_of(&self, tx: &Tx, ended: &[Ended]) -> Result<Vec<Locked>, StorageError> {
        let any = self.statement("SELECT 1 FROM budget_window LIMIT 1", []);
        if tx.conn().query_one_raw(any).await?.is_none() {
            return Ok(Vec::new());
        }
        let payers = || ended.iter().map(|e| &e.call.payer);
        let organisations: BTreeSet<Uuid> = payers().map(|p| p.organisation).collect();
        let keys: BTreeSet<String> = payers().flat_map(subject_keys).collect();
        let oldest = ended.iter().map(|e| e.call.create_time).min().unwrap_or_default();
        let condition = format!(
            "w.organisation_id IN ({}) AND w.subject_key IN ({}) AND w.end_time > ${}",
            placeholders(1, organisations.len()),
            placeholders(1 + organisations.len(), keys.len()),
            1 + organisations.len() + keys.len()
        );
        let values = organisations.into_iter().map(Value::from).chain(keys.into_iter().map(Value::from));
        self.lock_windows(tx, &condition, values.chain([oldest.into()])).await
    }
}

/// Adds what a call cost to each of its windows, and takes away what it held there. `before`: what a sweep has charged; the
/// sweep has given the room back, too.
fn add(changes: &mut BTreeMap<Uuid, Change>, windows: &[Locked], ended: &Ended, before: Option<Spent>) {
    let call = &ended.call;
    let cost = Spent { micros: call.cost, tokens: call.tokens() }.minus(before.unwrap_or_default());
    let keys = subject_keys(&call.payer);
    for window in windows {
        let owner = match window.budget.kind {
            SubjectKind::Organisation => window.budget.organisation == call.payer.organisation,
            _ => window.budget.project == call.payer.project,
        };
        if !owner || !window.standing.span.contains(call.create_time) || !keys.contains(&window.subject_key) {
            continue;
        }
        let change = changes.entry(window.id).or_default();
        change.spent = change.spent.plus(cost);
        let held = ended.reservation.as_ref().filter(|r| before.is_none() && r.windows.contains(&window.id));
        if let Some(held) = held {
            change.reserved = change.reserved.minus(held.amount);
        }
    }
}
