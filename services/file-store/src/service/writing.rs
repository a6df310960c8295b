//! Contents on their way to a new revision, the writers' side of the protocol in [`crate::garbage`].

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use blake3::Hash;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::FileStore;
use super::revisions::WRITES;
use crate::error::Error;
use crate::store::Epoch;

/// How long a writer waits for a condemned content to be removed or absolved, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// How many bytes of what a change writes stay at hand.
const AT_HAND: usize = 32 << 20;

/// What one change writes.
#[derive(Debug)]
pub(super) struct Writing {
    epoch: Epoch,
    hashes: Mutex<HashSet<Hash>>,
    at_hand: Mutex<AtHand>,
}

/// Contents that need not be read back.
#[derive(Debug, Default)]
struct AtHand {
    contents: HashMap<Hash, Bytes>,
    bytes: usize,
}

impl Writing {
    /// The epoch in which everything that it wrote is there.
    pub(super) fn epoch(&self) -> i64 {
        self.epoch.number
    }

    fn remember(&self, hash: Hash) {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
    }

    /// Keeps a content at hand while there is room.
    fn keep(&self, hash: Hash, content: &Bytes) {
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        if at_hand.bytes + content.len() <= AT_HAND && at_hand.contents.insert(hash, content.clone()).is_none() {
            at_hand.bytes += content.len();
        }
    }

    /// A content that is at hand.
    pub(super) fn content(&self, hash: Hash) -> Option<Bytes> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner).contents.get(&hash).cloned()
    }

    fn hashes(&self) -> Vec<Hash> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl FileStore {
    /// Begins to write. Nothing may be written for a change before.
    pub(super) async fn start_writing(&self) -> Result<Writing, Error> {
        Ok(Writing { epoch: self.store.epoch().await?, hashes: Mutex::default(), at_hand: Mutex::default() })
    }

    pub(super) async fn put(&self, writing: &Writing, hash: Hash, content: Bytes) -> Result<(), Error> {
        writing.keep(hash, &content);
        if self.must_write(writing, hash).await? {
            self.blobs.put(hash, content, writing.epoch()).await?;
        }
        Ok(())
    }

    pub(super) async fn put_manifest(&self, writing: &Writing, hash: Hash, manifest: Bytes) -> Result<(), Error> {
        if self.must_write(writing, hash).await? {
            self.blobs.put_packed(hash, manifest, writing.epoch()).await?;
        }
        Ok(())
    }

    pub(super) async fn put_file(&self, writing: &Writing, hash: Hash, file: File) -> Result<(), Error> {
        if self.must_write(writing, hash).await? {
            self.blobs.put_file(hash, file, writing.epoch()).await?;
        }
        Ok(())
    }

    /// Takes over contents that are there already: waits for those that are condemned, and looks that all are there.
    pub(super) async fn see(&self, writing: &Writing, hashes: Vec<Hash>) -> Result<(), Error> {
        let mut unknown = Vec::new();
        for hash in hashes {
            writing.remember(hash);
            if !self.blobs.is_known(hash, writing.epoch()).await {
                unknown.push(hash);
            }
        }
        if writing.epoch.sweeping {
            self.wait_for_collector(&unknown).await?;
        }
        let seen = stream::iter(unknown).map(|hash| async move {
            let there = self.blobs.exists(hash).await?;
            if there {
                self.blobs.remember(hash, writing.epoch()).await;
            }
            Ok::<_, Error>(there)
        });
        let there = seen.buffer_unordered(WRITES).try_all(|there| async move { there }).await?;
        if there { Ok(()) } else { Err(Error::Swept) }
    }

    async fn must_write(&self, writing: &Writing, hash: Hash) -> Result<bool, Error> {
        writing.remember(hash);
        if self.blobs.is_known(hash, writing.epoch()).await {
            return Ok(false);
        }
        if writing.epoch.sweeping {
            self.wait_for_collector(&[hash]).await?;
        }
        Ok(true)
    }

    /// Waits until a content that is about to be written will not be removed.
    pub(super) async fn await_write(&self, writing: &Writing, hash: Hash) -> Result<(), Error> {
        self.must_write(writing, hash).await.map(drop)
    }

    /// Takes over a content that is there already: waits while it is condemned, and looks that it is there.
    pub(super) async fn hold(&self, writing: &Writing, hash: Hash) -> Result<(), Error> {
        if self.must_write(writing, hash).await? && !self.blobs.exists(hash).await? {
            return Err(Error::ContentNotFound { hash });
        }
        Ok(())
    }

    /// After the epoch has moved: makes sure that everything is still there, and stays.
    pub(super) async fn renew(&self, writing: &mut Writing) -> Result<(), Error> {
        writing.epoch = self.store.epoch().await?;
        let hashes = writing.hashes();
        if writing.epoch.sweeping {
            self.wait_for_collector(&hashes).await?;
        }
        let there = stream::iter(hashes).map(|hash| self.blobs.exists(hash)).buffer_unordered(WRITES);
        if there.try_all(|there| async move { there }).await? { Ok(()) } else { Err(Error::Swept) }
    }

    async fn wait_for_collector(&self, hashes: &[Hash]) -> Result<(), Error> {
        let began = Instant::now();
        let mut condemned = self.store.find_condemned(hashes).await?;
        while !condemned.is_empty() {
            #[cfg(test)]
            self.collector.steps.stopped.notify_one();
            if began.elapsed() > PATIENCE {
                return Err(Error::Swept);
            }
            tokio::time::sleep(LOOK).await;
            condemned = self.store.find_condemned(&condemned).await?;
        }
        Ok(())
    }
}
