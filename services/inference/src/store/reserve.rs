//! Reservations: room in every window that a call falls under, taken before the call is made, for many calls at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};
use serde::{Deserialize, Serialize};
use slipway_storage::{StorageError, outbox};
use uuid::Uuid;

use super::window::{Locked, WindowKey};
use super::{LedgerStore, WindowRef, placeholders};
use crate::events;
use crate::model::{Budget, Call, Outcome, Payer, Purpose, Spent, Standing, Usage};

/// A call that wants room.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The call as its row would be, should nobody come back to tell what it used.
    pub(crate) call: Call,
    /// The windows that must have room, in the order in which they are asked.
    pub(crate) windows: Vec<WindowRef>,
    /// How much room.
    pub(crate) amount: Spent,
}

/// Room that a call holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// In which windows.
    pub(crate) windows: Vec<Uuid>,
    /// How much.
    pub(crate) amount: Spent,
}

/// The budget that has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which.
    pub(crate) budget: Box<Budget>,
    /// How it stands.
    pub(crate) standing: Standing,
}

/// A call while it is under way, as its reservation keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    organisation: Uuid,
    project: Uuid,
    user: Uuid,
    token: String,
    conversation: Option<Uuid>,
    plan: Option<Uuid>,
    // Rows of an older version have none.
    #[serde(default)]
    purpose: i16,
    create_time: i64,
    model: String,
    input: u64,
    output: u64,
    price_version: Option<String>,
    estimate: i64,
}

/// A window in the course of a transaction.
struct Open {
    locked: Locked,
    more: Spent,
    tell: Option<u8>,
}

impl LedgerStore {
    /// Takes room for each, or says which budget has none: one transaction, in which each sees what those before it took.
    pub(crate) async fn reserve(
        &self,
        wanted: &[Wanted],
        now: i64,
        lease: Duration,
    ) -> Result<Vec<Result<Reservation, Refused>>, StorageError> {
        let all: Vec<WindowRef> = wanted.iter().flat_map(|w| w.windows.iter().cloned()).collect();
        let ids = self.ensure_windows(&all).await?;
        let distinct: BTreeSet<Uuid> = ids.values().copied().collect();
        let mut tx = self.begin().await?;
        let condition = format!("w.id IN ({})", placeholders(1, distinct.len()));
        let locked = self.lock_windows(&tx, &condition, distinct.into_iter().map(Value::from)).await?;
        let open = |locked: Locked| (locked.id, Open { locked, more: Spent::default(), tell: None });
        let mut windows: BTreeMap<Uuid, Open> = locked.into_iter().map(open).collect();
        let answers: Vec<_> = wanted.iter().map(|one| take(one, &ids, &mut windows)).collect();
        let until = now + i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 4);
        for (one, answer) in wanted.iter().zip(&answers) {
            if let Ok(reservation) = answer {
                tx.later(self.insert_reservation(&one.call, reservation, until)?);
            }
        }
        for (id, window) in &windows {
            let told = window.tell.unwrap_or(window.locked.told);
            if window.more != Spent::default() || window.tell.is_some() {
                tx.later(self.change_window(*id, Spent::default(), window.more, told));
            }
            if let Some(percent) = window.tell {
                let event = events::threshold_reached(&window.locked.budget, &window.locked.standing, percent, now);
                outbox::append(&mut tx, &event).await?;
            }
        }
        tx.commit().await?;
        Ok(answers)
    }

    fn insert_reservation(&self, call: &Call, reservation: &Reservation, until: i64) -> Result<Statement, StorageError> {
        let sql = "INSERT INTO reservation (call_id, lease_owner, expire_time, windows, micros, tokens, call) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let windows: Vec<String> = reservation.windows.iter().map(Uuid::to_string).collect();
        let values: [Value; 7] = [
            call.id.into(),
            self.owner.into(),
            until.into(),
            windows.join(",").into(),
            reservation.amount.micros.into(),
            reservation.amount.tokens.into(),
            keep(call)?.into(),
        ];
        Ok(self.statement(sql, values))
    }

    /// Says that this process is alive: its reservations hold until `until`.
    pub(crate) async fn renew(&self, until: i64) -> Result<(), StorageError> {
        let tx = self.begin().await?;
        let sql = "UPDATE reservation SET expire_time = $1 WHERE lease_owner = $2";
        tx.conn().execute_raw(self.statement(sql, [until.into(), self.owner.into()])).await?;
        tx.commit().await
    }
}

/// Walks the windows of a call in their order; the first without room ends it.
fn take(wanted: &Wanted, ids: &HashMap<WindowKey, Uuid>, windows: &mut BTreeMap<Uuid, Open>) -> Result<Reservation, Refused> {
    // A budget that was deleted meanwhile asks for nothing.
    let ours: Vec<Uuid> = wanted.windows.iter().filter_map(|w| ids.get(&w.key()).copied()).collect();
    for id in &ours {
        let Some(window) = windows.get_mut(id) else { continue };
        let mut standing = window.locked.standing.clone();
        standing.reserved = standing.reserved.plus(window.more);
        if !standing.has_room(&window.locked.budget, wanted.amount) {
            let hundred = window.locked.budget.thresholds.contains(&100) && window.locked.told < 100;
            window.tell = window.tell.or(hundred.then_some(100));
            return Err(Refused { budget: Box::new(window.locked.budget.clone()), standing });
        }
    }
    let ours: Vec<Uuid> = ours.into_iter().filter(|id| windows.contains_key(id)).collect();
    for id in &ours {
        if let Some(window) = windows.get_mut(id) {
            window.more = window.more.plus(wanted.amount);
        }
    }
    Ok(Reservation { windows: ours, amount: wanted.amount })
}

fn keep(call: &Call) -> Result<String, StorageError> {
    let Payer { organisation, project, user, token, conversation, plan } = call.payer.clone();
    let kept = Kept {
        organisation,
        project,
        user,
        token: token.to_string(),
        conversation,
        plan,
        purpose: call.purpose as i16,
        create_time: call.create_time,
        model: call.model.to_string(),
        input: call.usage.input,
        output: call.usage.output,
        price_version: call.price_version.as_deref().map(str::to_owned),
        estimate: call.estimate,
    };
    serde_json::to_string(&kept).map_err(|e| StorageError::Corrupt(format!("a reservation: {e}")))
}

/// A reservation whose process is gone, read from `call_id, windows, micros, tokens, call`.
pub(super) fn lost(row: &QueryResult, now: i64) -> Result<(Call, Reservation), StorageError> {
    let text: String = row.try_get_by_index(4)?;
    let kept: Kept = serde_json::from_str(&text).map_err(|e| StorageError::Corrupt(format!("reservation.call: {e}")))?;
    let written: String = row.try_get_by_index(1)?;
    let windows = written.split(',').filter(|w| !w.is_empty()).map(str::parse).collect::<Result<_, _>>();
    let windows = windows.map_err(|_| StorageError::Corrupt("reservation.windows".to_owned()))?;
    let amount = Spent { micros: row.try_get_by_index(2)?, tokens: row.try_get_by_index(3)? };
    let call = Call {
        id: row.try_get_by_index(0)?,
        payer: Payer {
            organisation: kept.organisation,
            project: kept.project,
            user: kept.user,
            token: kept.token.into(),
            conversation: kept.conversation,
            plan: kept.plan,
        },
        purpose: Purpose::from_number(kept.purpose).unwrap_or_default(),
        create_time: kept.create_time,
        model: kept.model.into(),
        outcome: Outcome::Lost,
        reason: String::new(),
        usage: Usage { input: kept.input, output: kept.output, estimated: true, ..Usage::default() },
        cost: amount.micros,
        price_version: kept.price_version.map(Into::into),
        estimate: kept.estimate,
        latency_ms: (now - kept.create_time).max(0) / 1000,
        first_token_ms: None,
        cache_hit: false,
        attempts: Vec::new(),
    };
    Ok((call, Reservation { windows, amount }))
}
