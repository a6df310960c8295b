//! Tells followers what was committed: those in this process directly, those in other replicas over the live lane. A hint,
//! never the truth: whoever misses one reads the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut as _, Bytes};
use slipway_bus::{Listener, Signal};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::codec;
use crate::Store;

/// Committed batches a follower may lag behind before it reads them from the database instead.
const LAG: usize = 64;
/// A larger batch is announced without its events: the lane is for many small ones.
const SAID_AT_MOST: usize = 64 * 1024;
/// Before the events, the sequence of the first.
const HEAD: usize = 8;

/// Tells of a batch; to be called after its commit only.
pub(super) fn publish(store: &Store, stream: Uuid, first: u64, events: Vec<Bytes>) {
    if store.live().is_connected() {
        store.announce(&topic(stream), encode(first, &events));
    }
    store.hub().publish(stream, News::Committed(Committed { first, events: events.into() }));
}

/// What a follower is told.
#[derive(Clone)]
pub(super) enum News {
    /// This was committed.
    Committed(Committed),
    /// Something may have been committed.
    Look,
}

/// A committed batch.
#[derive(Clone)]
pub(super) struct Committed {
    pub(super) first: u64,
    pub(super) events: Arc<[Bytes]>,
}

/// The logs that are followed in this process.
#[derive(Default)]
pub(crate) struct Hub {
    streams: Mutex<HashMap<Uuid, Followed>>,
}

struct Followed {
    followers: broadcast::Sender<News>,
    /// One of the followers began with what may be in the database already.
    resumed: Arc<AtomicBool>,
    /// Listens to other replicas for as long as anybody follows.
    _ear: JoinSet<()>,
}

impl Hub {
    /// `behind`: there may be something in the database already. From the call on the follower is told what this process
    /// commits, and to look once it will be told what others do.
    pub(super) fn subscribe(&self, store: &Store, stream: Uuid, behind: bool) -> broadcast::Receiver<News> {
        let mut streams = self.lock();
        let followed = streams.entry(stream).or_insert_with(|| Followed::new(store, stream));
        if behind {
            followed.resumed.store(true, Ordering::Release);
        }
        followed.followers.subscribe()
    }

    fn publish(&self, stream: Uuid, news: News) {
        if let Some(followed) = self.lock().get(&stream) {
            // Fails when the last follower is just leaving.
            let _ = followed.followers.send(news);
        }
    }

    /// Forgets a stream that nobody follows any more; to be called when a receiver was dropped.
    pub(super) fn leave(&self, stream: Uuid) {
        let mut streams = self.lock();
        if streams.get(&stream).is_some_and(|followed| followed.followers.receiver_count() == 0) {
            streams.remove(&stream);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Followed>> {
        self.streams.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Followed {
    fn new(store: &Store, stream: Uuid) -> Followed {
        let followers = broadcast::channel(LAG).0;
        let resumed = Arc::new(AtomicBool::new(false));
        let mut ear = JoinSet::new();
        if !store.live().is_alone() {
            ear.spawn(listen(store.listen(&topic(stream)), followers.clone(), resumed.clone()));
        }
        Followed { followers, resumed, _ear: ear }
    }
}

async fn listen(mut listener: Listener, followers: broadcast::Sender<News>, resumed: Arc<AtomicBool>) {
    let mut first = true;
    loop {
        let news = match listener.next().await {
            Signal::Said(payload) => decode(&payload).map_or(News::Look, News::Committed),
            Signal::Look => News::Look,
        };
        // Whoever follows a log from its beginning has missed nothing before the first signal.
        let needless = first && matches!(news, News::Look) && !resumed.load(Ordering::Acquire);
        first = false;
        if !needless {
            // Fails when the last follower is just leaving.
            let _ = followers.send(news);
        }
    }
}

fn topic(stream: Uuid) -> String {
    format!("log.{}", stream.simple())
}

fn encode(first: u64, events: &[Bytes]) -> Bytes {
    let size: usize = events.iter().map(Bytes::len).sum();
    if size > SAID_AT_MOST {
        return Bytes::new();
    }
    let mut payload = Vec::with_capacity(HEAD + size + events.len() * 3);
    payload.put_u64(first);
    codec::encode(events, &mut payload);
    payload.into()
}

/// `None` when it says no more than that something was committed.
fn decode(payload: &Bytes) -> Option<Committed> {
    let (head, _) = payload.split_first_chunk::<HEAD>()?;
    let events = codec::decode(&payload.slice(HEAD..))?;
    Some(Committed { first: u64::from_be_bytes(*head), events: events.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_come_back() {
        let events = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 1000])];
        let committed = decode(&encode(42, &events)).expect("a batch");
        assert_eq!((committed.first, &committed.events[..]), (42, &events[..]));
    }

    #[test]
    fn large_and_broken_announcements_say_no_more_than_look() {
        let large = encode(1, &[Bytes::from(vec![7; SAID_AT_MOST + 1])]);
        assert!(large.is_empty() && decode(&large).is_none());
        for broken in [&[0; 3][..], &[0, 0, 0, 0, 0, 0, 0, 1, 5, 1]] {
            assert!(decode(&Bytes::copy_from_slice(broken)).is_none(), "{broken:?}");
        }
    }
}
