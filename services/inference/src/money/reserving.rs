//! Reserving for many calls at once: whatever asks while the last transaction is written goes into the next one.

use slipway_rpc::now_micros;
use slipway_storage::{StorageError, crash};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::LEASE;
use crate::error::Error;
use crate::model::{Call, Outcome, Usage};
use crate::store::{Ended, LedgerStore, Refused, Reservation, Wanted};

/// Calls that may wait; more wait for a place to wait.
const WAITING: usize = 1_024;
/// Calls in one transaction.
const GROUP: usize = 128;

type Answer = Result<Result<Reservation, Refused>, StorageError>;

/// A call that waits for room.
pub(super) struct Asked {
    wanted: Wanted,
    answer: oneshot::Sender<Answer>,
}

/// The way to the task that reserves.
pub(super) struct Reserving(mpsc::Sender<Asked>);

impl Reserving {
    pub(super) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Waits for room, or learns which budget has none.
    pub(super) async fn reserve(&self, wanted: Wanted) -> Result<Reservation, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { wanted, answer }).await.map_err(|_| StorageError::Interrupted)?;
        let refused = match answered.await.unwrap_or(Err(StorageError::Interrupted))? {
            Ok(reservation) => return Ok(reservation),
            Err(refused) => refused,
        };
        Err(Error::BudgetExhausted { budget: refused.budget, standing: refused.standing })
    }
}

pub(super) async fn run(store: LedgerStore, mut requests: mpsc::Receiver<Asked>, end: CancellationToken) {
    let (mut group, mut left) = (Vec::new(), Vec::new());
    loop {
        let taken = tokio::select! {
            biased;
            () = end.cancelled() => return,
            taken = requests.recv_many(&mut group, GROUP) => taken,
        };
        if taken == 0 {
            end.cancelled().await;
            return;
        }
        // Who has left wants no room.
        group.retain(|asked| !asked.answer.is_closed());
        reserve(&store, std::mem::take(&mut group), &mut left).await;
        give_back(&store, &mut left).await;
    }
}

/// Gives back what was reserved for callers who had left by then: their calls were cancelled before they were made.
async fn give_back(store: &LedgerStore, left: &mut Vec<Ended>) {
    if left.is_empty() {
        return;
    }
    match store.record(left, now_micros()).await {
        Ok(()) => left.clear(),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "room is not given back; again soon"),
    }
}

fn cancelled(call: Call, reservation: Reservation) -> Ended {
    let call = Call { outcome: Outcome::Cancelled, usage: Usage::default(), cost: 0, ..call };
    Ended { call, reservation: Some(reservation) }
}

async fn reserve(store: &LedgerStore, group: Vec<Asked>, left: &mut Vec<Ended>) {
    if group.is_empty() {
        return;
    }
    let (wanted, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|asked| (asked.wanted, asked.answer)).unzip();
    match store.reserve(&wanted, now_micros(), LEASE).await {
        Ok(reserved) => {
            crash::point("inference.reserved");
            for ((answer, reservation), wanted) in answers.into_iter().zip(reserved).zip(wanted) {
                if let Err(Ok(Ok(reservation))) = answer.send(Ok(reservation)) {
                    left.push(cancelled(wanted.call, reservation));
                }
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}
