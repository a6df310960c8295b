//! Events leave in the transaction that made them true: they are rows first, and a relay hands them to the bus.
//!
//! At least once, in insertion order per entity. Between handing over and marking, a crash repeats events; consumers are
//! idempotent by event id.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};
use slipway_bus::{Bus, BusError, Event};
use tokio_util::sync::CancellationToken;

use crate::jobs::backoff;
use crate::store::micros;
use crate::{StorageError, Store, Tx, crash, now_micros};

const BATCH: usize = 128;
const POLL: Duration = Duration::from_secs(1);
/// What was handed over is marked at least this often, so that a crash does not repeat much.
const MARK_EVERY: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// How long sent rows stay for whoever looks into an incident.
const KEPT: Duration = Duration::from_secs(3600);
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// More entities held back than this is no longer about entities.
const HELD_BACK: usize = 100;

/// Adds an event to the transaction; the relay is woken once it is committed.
pub async fn append(tx: &mut Tx, event: &Event) -> Result<(), StorageError> {
    let sql = "INSERT INTO outbox (event_id, subject, entity_id, traceparent, payload, create_time) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        event.id.into(),
        event.subject.as_str().into(),
        event.entity_id.as_str().into(),
        event.traceparent.as_str().into(),
        event.payload.to_vec().into(),
        now_micros().into(),
    ];
    tx.conn().execute_raw(tx.store().statement(sql, values)).await?;
    let store = tx.store().clone();
    tx.after_commit(move || store.outbox().notify_one());
    Ok(())
}

/// Hands the rows of one store's outbox to the bus.
pub struct Relay {
    store: Store,
    bus: Bus,
    held_back: HashMap<String, HeldBack>,
}

/// An entity whose next event a consumer refused: what follows it has to wait.
struct HeldBack {
    failures: u32,
    until: Instant,
}

struct Row {
    id: i64,
    event: Event,
}

enum Drained {
    /// There may be more at once.
    More,
    /// Nothing is left, or another replica is at it.
    Idle,
    /// The bus is away.
    Unavailable,
}

impl Relay {
    /// A relay from `store` to `bus`.
    pub fn new(store: Store, bus: Bus) -> Relay {
        Relay { store, bus, held_back: HashMap::new() }
    }

    /// Relays until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut failures = 0;
        let mut tidied: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            let drained = self.drain(&shutdown).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the outbox cannot be read");
                Drained::Unavailable
            });
            if tidied.is_none_or(|at| at.elapsed() > TIDY_EVERY) {
                tidied = Some(Instant::now());
                self.tidy().await;
            }
            let pause = match drained {
                Drained::More => {
                    failures = 0;
                    continue;
                }
                Drained::Idle => {
                    failures = 0;
                    POLL
                }
                Drained::Unavailable => {
                    failures += 1;
                    backoff(RETRY_FIRST, RETRY_LAST, failures)
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                // New rows do not bring an absent bus back.
                () = self.store.outbox().notified(), if failures == 0 => {}
                () = self.bus.reconnected(), if failures > 0 => {}
            }
        }
    }

    /// Hands over one batch.
    async fn drain(&mut self, shutdown: &CancellationToken) -> Result<Drained, StorageError> {
        let Some(turn) = self.take_turn().await? else {
            return Ok(Drained::Idle);
        };
        let rows = self.unsent().await?;
        let full = rows.len() == BATCH;
        let mut sent = Vec::with_capacity(rows.len());
        let mut marked = Instant::now();
        let mut available = true;
        for row in rows {
            if shutdown.is_cancelled() {
                break;
            }
            if self.held_back.contains_key(&row.event.entity_id) && !self.is_due(&row.event.entity_id) {
                continue;
            }
            match self.bus.publish(&row.event).await {
                Ok(()) => {
                    crash::point("outbox.published");
                    self.held_back.remove(&row.event.entity_id);
                    sent.push(row.id);
                }
                Err(error) if error.is_unavailable() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the bus does not take events; they wait");
                    available = false;
                    break;
                }
                Err(error) => self.hold_back(row.event, &error),
            }
            if marked.elapsed() > MARK_EVERY {
                self.mark(&std::mem::take(&mut sent)).await?;
                marked = Instant::now();
            }
        }
        self.mark(&sent).await?;
        if let Some(turn) = turn {
            turn.commit().await?;
        }
        Ok(match (available, full) {
            (false, _) => Drained::Unavailable,
            (true, true) => Drained::More,
            (true, false) => Drained::Idle,
        })
    }

    /// Replicas take turns, or order would be lost: the outer `None` says that it is another's. SQLite has one process.
    async fn take_turn(&self) -> Result<Option<Option<Tx>>, StorageError> {
        if self.store.backend() != DbBackend::Postgres {
            return Ok(Some(None));
        }
        let tx = self.store.begin().await?;
        let sql = "SELECT pg_try_advisory_xact_lock(hashtext('slipway.outbox.' || current_schema()))";
        let row = tx.conn().query_one_raw(self.store.statement(sql, [])).await?;
        let ours = row.map(|row| row.try_get_by_index::<bool>(0)).transpose()?.unwrap_or(false);
        Ok(ours.then_some(Some(tx)))
    }

    async fn unsent(&self) -> Result<Vec<Row>, StorageError> {
        let waiting: Vec<&String> = self.held_back.keys().filter(|entity| !self.is_due(entity)).take(HELD_BACK).collect();
        let mut sql =
            "SELECT id, event_id, subject, entity_id, traceparent, payload FROM outbox WHERE sent_time IS NULL".to_owned();
        if !waiting.is_empty() {
            sql += &format!(" AND entity_id NOT IN ({})", placeholders(1, waiting.len()));
        }
        sql += &format!(" ORDER BY id LIMIT {BATCH}");
        let values = waiting.into_iter().map(|entity| Value::from(entity.as_str()));
        let rows = self.store.read().query_all_raw(self.store.statement(sql, values)).await?;
        rows.iter().map(Row::read).collect()
    }

    async fn mark(&self, sent: &[i64]) -> Result<(), StorageError> {
        if sent.is_empty() {
            return Ok(());
        }
        let sql = format!("UPDATE outbox SET sent_time = $1 WHERE id IN ({})", placeholders(2, sent.len()));
        let values = std::iter::once(now_micros()).chain(sent.iter().copied()).map(Value::from);
        self.store.write().execute_raw(self.store.statement(sql, values)).await?;
        Ok(())
    }

    async fn tidy(&mut self) {
        self.held_back.retain(|_, held| held.until.elapsed() < TIDY_EVERY);
        let oldest = now_micros() - micros(KEPT);
        let delete = self.store.statement("DELETE FROM outbox WHERE sent_time < $1", [oldest.into()]);
        if let Err(error) = self.store.write().execute_raw(delete).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old outbox rows cannot be deleted");
        }
    }

    fn is_due(&self, entity: &str) -> bool {
        self.held_back.get(entity).is_none_or(|held| held.until <= Instant::now())
    }

    fn hold_back(&mut self, event: Event, error: &BusError) {
        let held = self.held_back.entry(event.entity_id).or_insert(HeldBack { failures: 0, until: Instant::now() });
        held.failures += 1;
        let pause = backoff(RETRY_FIRST, RETRY_LAST, held.failures);
        held.until = Instant::now() + pause;
        let (subject, event_id) = (&event.subject, event.id);
        tracing::warn!(%subject, %event_id, error = error as &dyn std::error::Error, "event not taken; again in {pause:?}");
    }
}

impl Row {
    fn read(row: &QueryResult) -> Result<Row, StorageError> {
        let event = Event {
            id: row.try_get_by_index(1)?,
            subject: row.try_get_by_index(2)?,
            entity_id: row.try_get_by_index(3)?,
            traceparent: row.try_get_by_index(4)?,
            payload: Bytes::from(row.try_get_by_index::<Vec<u8>>(5)?),
        };
        Ok(Row { id: row.try_get_by_index(0)?, event })
    }
}

/// `$first, …`, `count` of them; both engines understand these.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let mut list = String::with_capacity(count * 6);
    for at in first..first + count {
        if at > first {
            list.push_str(", ");
        }
        list.push('$');
        list.push_str(&at.to_string());
    }
    list
}
