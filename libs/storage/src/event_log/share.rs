//! Work of others in the group commit: a share is what one caller wants done in a transaction that many have in common.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::{StorageError, Store, Tx};

/// One caller's part of a transaction.
pub(super) trait Share: Send {
    /// Does the work, perhaps not for the first time; true when it may be committed.
    fn work<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;

    /// Tells the caller what came of it, after the commit or instead of it.
    fn answer(self: Box<Self>, committed: Result<(), StorageError>);
}

/// A share whose caller waits for a `T`.
pub(super) struct Asked<W, T, E> {
    work: W,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Asked<W, T, E> {
    pub(super) fn new(work: W) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (answer, answered) = oneshot::channel();
        (Asked { work, result: None, answer }, answered)
    }
}

impl<W, T, E> Share for Asked<W, T, E>
where
    W: for<'a> FnMut(&'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send,
    T: Send,
    E: From<StorageError> + Send,
{
    fn work<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        async move {
            let work = &mut *self;
            let attempt = AssertUnwindSafe(async {
                let ask = &mut work.work;
                let made = ask(tx).await?;
                // Here, and not with the commit, so that it is known whose statement failed.
                tx.flush().await?;
                Ok(made)
            });
            let result = attempt.catch_unwind().await.unwrap_or_else(|_| Err(StorageError::Interrupted.into()));
            let done = result.is_ok();
            self.result = Some(result);
            done
        }
        .boxed()
    }

    fn answer(self: Box<Self>, committed: Result<(), StorageError>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(StorageError::Interrupted.into()),
            (Err(error), _) => Err(error.into()),
        };
        // Nobody listens when the caller was cancelled.
        let _ = self.answer.send(result);
    }
}

/// Does the shares' work in one transaction; if one of them fails, each in its own.
pub(super) async fn write(store: &Store, mut shares: Vec<Box<dyn Share>>) {
    if shares.len() > 1 {
        let committed = match together(store, &mut shares).await {
            Ok(true) => Ok(()),
            Ok(false) => return one_by_one(store, shares).await,
            Err(error) => Err(error),
        };
        for share in shares {
            share.answer(committed.clone());
        }
        return;
    }
    one_by_one(store, shares).await;
}

/// False when a share failed and nothing was written.
async fn together(store: &Store, shares: &mut [Box<dyn Share>]) -> Result<bool, StorageError> {
    let mut tx = store.begin().await?;
    for share in shares {
        if !share.work(&mut tx).await {
            return Ok(false);
        }
    }
    tx.commit().await?;
    Ok(true)
}

async fn one_by_one(store: &Store, shares: Vec<Box<dyn Share>>) {
    for mut share in shares {
        let committed = together(store, std::slice::from_mut(&mut share)).await;
        // A share that failed says why itself.
        share.answer(committed.map(drop));
    }
}
