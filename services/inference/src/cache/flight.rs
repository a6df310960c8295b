//! One call with several readers.
//!
//! There is no task and no channel: whoever reads polls the provider's stream for all, and wakes the others. A reader that
//! leaves leaves the call to the rest; with the last one it ends. A reader that joins gets everything from the start, so all
//! of it is held, up to a limit: from there on nobody can join, and the call goes on at the pace of its slowest reader.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt as _;
use futures::stream::Stream;

use super::kept::size;
use crate::error::Broken;
use crate::model::Delta;
use crate::provider::Answer;

/// How much of an answer is held for readers who join or are slow.
const MAX_HELD: usize = 4 << 20;

/// A call and what came of it so far.
pub(super) struct Flight {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
}

struct State {
    // None when it has ended.
    deltas: Option<Answer>,
    held: VecDeque<Delta>,
    bytes: usize,
    // How many deltas have been let go of.
    gone: usize,
    failure: Option<Broken>,
    // Where each reader is.
    readers: HashMap<u64, usize>,
    next_reader: u64,
    limit: usize,
    // Dropped with the rest.
    at_end: Option<Box<dyn Send>>,
}

impl Flight {
    /// A call with its first reader.
    pub(super) fn begin(deltas: Answer) -> (Arc<Self>, Answer) {
        Self::begin_within(deltas, MAX_HELD)
    }

    fn begin_within(deltas: Answer, limit: usize) -> (Arc<Self>, Answer) {
        let state = State {
            deltas: Some(deltas),
            held: VecDeque::new(),
            bytes: 0,
            gone: 0,
            failure: None,
            readers: HashMap::new(),
            next_reader: 0,
            limit,
            at_end: None,
        };
        let flight = Arc::new(Self { state: Mutex::new(state), wakers: Arc::default() });
        let id = flight.lock().enter();
        (flight.clone(), Reader { flight, id, at: 0 }.boxed())
    }

    /// Keeps something until nobody reads the call any more.
    pub(super) fn at_end(&self, end: impl Send + 'static) {
        self.lock().at_end = Some(Box::new(end));
    }

    /// One more reader, from the start; `None` when the start is gone, or the call has ended: then its answer is kept, or
    /// it is not to be had again.
    pub(super) fn join(self: Arc<Self>) -> Option<Answer> {
        let mut state = self.lock();
        if state.gone > 0 || state.deltas.is_none() {
            return None;
        }
        let id = state.enter();
        drop(state);
        Some(Reader { flight: self, id, at: 0 }.boxed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One more reader, at the start.
    fn enter(&mut self) -> u64 {
        let id = self.next_reader;
        self.next_reader += 1;
        self.readers.insert(id, 0);
        id
    }

    /// What a reader at `at` gets next, as far as it is here.
    fn at(&self, at: usize) -> Option<Poll<Option<Result<Delta, Broken>>>> {
        if let Some(delta) = self.held.get(at - self.gone) {
            return Some(Poll::Ready(Some(Ok(delta.clone()))));
        }
        if self.deltas.is_some() {
            return None;
        }
        // The failure comes once, then the end.
        let failed = self.failure.as_ref().filter(|_| at == self.gone + self.held.len());
        Some(Poll::Ready(failed.map(|error| Err(error.copy()))))
    }

    /// Lets go of what every reader has, once there is too much to keep for others.
    fn trim(&mut self) {
        if self.bytes <= self.limit && self.gone == 0 {
            return;
        }
        let slowest = self.readers.values().min().copied().unwrap_or(self.gone);
        while self.gone < slowest
            && let Some(delta) = self.held.pop_front()
        {
            self.bytes -= size(&delta);
            self.gone += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.bytes > self.limit
    }
}

/// The wakers of all readers that wait.
#[derive(Default)]
struct Wakers(Mutex<HashMap<u64, Waker>>);

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let all = std::mem::take(&mut *self.lock());
        all.into_values().for_each(Waker::wake);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

/// One reader of a call.
struct Reader {
    flight: Arc<Flight>,
    id: u64,
    at: usize,
}

impl Stream for Reader {
    type Item = Result<Delta, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut state = this.flight.lock();
        loop {
            if let Some(next) = state.at(this.at) {
                this.at += 1;
                state.readers.insert(this.id, this.at);
                let was_full = state.is_full();
                state.trim();
                drop(state);
                if was_full {
                    this.flight.wakers.wake_all();
                }
                return next;
            }
            // Registered first: the provider may wake us while it is polled.
            this.flight.wakers.lock().insert(this.id, cx.waker().clone());
            if state.is_full() {
                return Poll::Pending;
            }
            let waker = Waker::from(this.flight.wakers.clone());
            let Some(deltas) = &mut state.deltas else { continue };
            match deltas.poll_next_unpin(&mut Context::from_waker(&waker)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(delta))) => {
                    state.bytes += size(&delta);
                    state.held.push_back(delta);
                }
                Poll::Ready(Some(Err(error))) => {
                    state.failure = Some(error);
                    state.deltas = None;
                }
                Poll::Ready(None) => state.deltas = None,
            }
            // This one goes on by itself.
            this.flight.wakers.lock().remove(&this.id);
            this.flight.wakers.wake_all();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.readers.remove(&self.id);
        state.trim();
        drop(state);
        self.flight.wakers.lock().remove(&self.id);
        // The others may have counted on this one to poll.
        self.flight.wakers.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, stream};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::error::{Kind, ProviderError};

    type Sender = mpsc::Sender<Result<Delta, Broken>>;

    fn call(limit: usize) -> (Sender, Arc<Flight>, Answer) {
        let (tx, rx) = mpsc::channel(64);
        let (flight, leader) = Flight::begin_within(ReceiverStream::new(rx).boxed(), limit);
        (tx, flight, leader)
    }

    fn text(text: &str) -> Delta {
        Delta::Text(text.into())
    }

    async fn say(tx: &Sender, what: &str) {
        tx.send(Ok(text(what))).await.unwrap();
    }

    #[tokio::test]
    async fn who_joins_late_gets_everything_from_the_start() {
        let (tx, flight, mut leader) = call(MAX_HELD);
        say(&tx, "a").await;
        say(&tx, "b").await;
        assert_eq!(leader.next().await.unwrap().unwrap(), text("a"));
        assert_eq!(leader.next().await.unwrap().unwrap(), text("b"));
        let mut late = flight.clone().join().unwrap();
        say(&tx, "c").await;
        drop(tx);
        let all: Vec<_> = late.by_ref().map(|d| d.unwrap()).collect().await;
        assert_eq!(all, [text("a"), text("b"), text("c")]);
        assert_eq!(leader.next().await.unwrap().unwrap(), text("c"));
        assert!(leader.next().await.is_none() && late.next().await.is_none());
        assert!(flight.join().is_none(), "the call is over");
    }

    #[tokio::test]
    async fn the_call_outlives_its_first_reader_and_ends_with_the_last() {
        let (tx, flight, mut leader) = call(MAX_HELD);
        let mut follower = flight.clone().join().unwrap();
        assert!(leader.next().now_or_never().is_none(), "the leader polls and waits");
        let waiting = tokio::spawn(async move { (follower.next().await, follower) });
        tokio::task::yield_now().await;
        drop(leader);
        say(&tx, "a").await;
        let (first, follower) = waiting.await.unwrap();
        assert_eq!(first.unwrap().unwrap(), text("a"));
        drop(flight);
        assert!(!tx.is_closed());
        drop(follower);
        assert!(tx.is_closed(), "nobody reads: the provider's connection is dropped");
    }

    #[tokio::test]
    async fn a_reader_that_stops_polling_does_not_stop_the_others() {
        let (tx, flight, mut leader) = call(MAX_HELD);
        let mut follower = flight.join().unwrap();
        assert!(follower.next().now_or_never().is_none());
        let reading = tokio::spawn(async move { leader.next().await });
        tokio::task::yield_now().await;
        // The last to have polled is the leader; the follower only waits and is woken.
        assert!(follower.next().now_or_never().is_none());
        say(&tx, "a").await;
        assert_eq!(reading.await.unwrap().unwrap().unwrap(), text("a"));
        assert_eq!(follower.next().await.unwrap().unwrap(), text("a"));
    }

    #[tokio::test]
    async fn a_failure_is_everybodys() {
        let failure = ProviderError::new(Kind::Server, "p", "down").caused_by("cable");
        let deltas = stream::iter([Ok(text("a")), Err(Broken::from(failure))]).boxed();
        let (flight, leader) = Flight::begin(deltas);
        let follower = flight.join().unwrap();
        for reader in [leader, follower] {
            let all: Vec<_> = reader.collect().await;
            assert_eq!(all.len(), 2);
            let Err(Broken::Provider(error)) = &all[1] else { panic!("{all:?}") };
            assert_eq!((error.kind, error.to_string().as_str()), (Kind::Server, "p: down"));
            assert_eq!(error.cause.as_ref().unwrap().to_string(), "cable");
        }
    }

    #[tokio::test]
    async fn what_is_held_is_bounded() {
        let (tx, flight, mut leader) = call(3 * size(&text("aaaa")));
        let mut slow = flight.clone().join().unwrap();
        for _ in 0..10 {
            say(&tx, "aaaa").await;
        }
        let mut read = 0;
        while leader.next().now_or_never().flatten().is_some() {
            read += 1;
        }
        assert_eq!(read, 4, "the fastest waits for the slowest");
        assert_eq!(slow.next().await.unwrap().unwrap(), text("aaaa"));
        assert!(flight.join().is_none(), "the start is gone");
        drop(tx);
        let (rest, slow_rest) = tokio::join!(leader.count(), slow.count());
        assert_eq!((read + rest, 1 + slow_rest), (10, 10));
    }
}
