//! The volatile lane beside the durable events: a process tells its replicas what it has just committed, so that they
//! need not wait for their next look at the database. Nothing is stored, nothing is repeated, nobody answers. Whoever
//! listens must be right without it, only later.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};

use crate::event::check_subject;
use crate::nats::live::Lane;

/// What [`Listener`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Another process announced this.
    Said(Bytes),
    /// Announcements may have been missed up to now, or will be from now on: look for yourself. The first signal says
    /// so too: from then on what is announced is heard.
    Look,
}

/// A process's end of the lane; cheap to clone. What a process announces it does not hear itself.
#[derive(Clone, Default)]
pub struct Live(Option<Arc<Lane>>);

impl Live {
    /// The lane of a process without replicas: announcements go nowhere and nothing is heard.
    pub const fn alone() -> Live {
        Live(None)
    }

    pub(crate) fn on(lane: Lane) -> Live {
        Live(Some(Arc::new(lane)))
    }

    /// Whether there can be nobody else.
    pub fn is_alone(&self) -> bool {
        self.0.is_none()
    }

    /// Whether announcements arrive, as far as this process knows. A listener hears [`Signal::Look`] when it changes.
    pub fn is_connected(&self) -> bool {
        self.0.as_ref().is_some_and(|lane| lane.is_connected())
    }

    /// Tells everyone else who listens to `topic`. Does not wait: it is dropped when the way is closed or full.
    pub fn announce(&self, topic: &str, payload: Bytes) {
        if let Some(lane) = &self.0
            && is_topic(topic)
        {
            lane.announce(topic, payload);
        }
    }

    /// Listens to `topic`, which has no wildcards, from the first time that the listener is polled until it is dropped.
    pub fn listen(&self, topic: &str) -> Listener {
        let heard = self.0.as_ref().filter(|_| is_topic(topic)).map(|lane| lane.listen(topic));
        Listener(heard.unwrap_or_else(|| stream::pending().boxed()))
    }
}

/// Topics are made of constants and ids: one that is none is a mistake of ours, and no reason to stop anything.
fn is_topic(topic: &str) -> bool {
    let checked = check_subject(topic, false);
    if let Err(error) = &checked {
        tracing::error!(error = error as &dyn std::error::Error, "nothing can be announced or heard");
    }
    checked.is_ok()
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("alone", &self.is_alone()).field("connected", &self.is_connected()).finish()
    }
}

/// The signals of one topic, in the order of each sender. It never ends, and waiting for the next one may be given up.
pub struct Listener(BoxStream<'static, Signal>);

impl Listener {
    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        match self.0.next().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

impl Stream for Listener {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        self.0.poll_next_unpin(cx)
    }
}
