//! A run's events on their way to the log. One batch is under way at a time; what comes meanwhile waits and goes together,
//! text with text. Nothing waits while nothing is under way, so that a slow stream is shown word by word.

use bytes::Bytes;
use futures::future::BoxFuture;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::conversation::{ReasoningDelta, TextDelta};
use slipway_rpc::now_micros;
use slipway_storage::{AppendError, EventLog, Lease, Tx, crash};
use uuid::Uuid;

use crate::convert;

/// How many bytes of events may wait before the source has to.
const ROOM: usize = 256 * 1024;
/// How long a text that others are joined to may grow, in bytes.
const JOINED: usize = 4 * 1024;

/// An event with the time at which it happened.
pub(crate) type Timed = (i64, Event);

/// The events of one run.
pub(crate) struct Journal {
    log: EventLog,
    run_id: Uuid,
    lease: Lease,
    /// The sequence of the first waiting event.
    next: u64,
    waiting: Vec<Timed>,
    waiting_bytes: usize,
    under_way: Option<BoxFuture<'static, Result<(), AppendError>>>,
}

impl Journal {
    pub(crate) fn new(log: EventLog, run_id: Uuid, lease: Lease, next: u64) -> Self {
        Self { log, run_id, lease, next, waiting: Vec::new(), waiting_bytes: 0, under_way: None }
    }

    /// Goes on at another sequence, before anything is pushed.
    pub(crate) fn resume_at(&mut self, next: u64) {
        self.next = next;
    }

    pub(crate) fn push(&mut self, event: Event, bytes: usize) {
        self.waiting.push((now_micros(), event));
        self.waiting_bytes += bytes;
        self.launch();
    }

    pub(crate) fn push_text(&mut self, text: &str) {
        if let Some((_, Event::Text(last))) = self.waiting.last_mut()
            && last.text.len() < JOINED
        {
            last.text.push_str(text);
            self.waiting_bytes += text.len();
            return;
        }
        self.push(Event::Text(TextDelta { text: text.to_owned() }), text.len());
    }

    pub(crate) fn push_reasoning(&mut self, text: &str) {
        if let Some((_, Event::Reasoning(last))) = self.waiting.last_mut()
            && last.text.len() < JOINED
        {
            last.text.push_str(text);
            self.waiting_bytes += text.len();
            return;
        }
        self.push(Event::Reasoning(ReasoningDelta { text: text.to_owned() }), text.len());
    }

    /// Whether more may be pushed. When not, [`Journal::settle`] makes room.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes < ROOM
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Waits for the batch that is under way and sends the next one. May be dropped and called again.
    pub(crate) async fn settle(&mut self) -> Result<(), AppendError> {
        if let Some(batch) = &mut self.under_way {
            let stored = batch.await;
            self.under_way = None;
            stored?;
            crash::point("conversation.text_stored");
        }
        self.launch();
        Ok(())
    }

    /// Waits until every event is stored.
    pub(crate) async fn flush(&mut self) -> Result<(), AppendError> {
        while self.is_under_way() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Does something else while batches are under way.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, AppendError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                settled = self.settle(), if self.is_under_way() => settled?,
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Appends one event in the caller's transaction; everything before it must be flushed.
    pub(crate) async fn append(&mut self, tx: &mut Tx, event: Event) -> Result<(), AppendError> {
        let bytes = convert::encode_event(&self.run_id, self.next, now_micros(), event);
        self.log.append(tx, self.run_id, self.next, &[bytes]).await?;
        self.next += 1;
        Ok(())
    }

    /// Waits for what is under way and gives back what still waits, with the sequence of its first event: it is stored with
    /// the end of the run.
    pub(crate) async fn close(&mut self) -> Result<(u64, Vec<Timed>), AppendError> {
        if let Some(batch) = self.under_way.take() {
            batch.await?;
        }
        self.waiting_bytes = 0;
        Ok((self.next, std::mem::take(&mut self.waiting)))
    }

    fn launch(&mut self) {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return;
        }
        let first = self.next;
        let events = encode(self.run_id, first, std::mem::take(&mut self.waiting));
        self.next += events.len() as u64;
        self.waiting_bytes = 0;
        self.under_way = Some(Box::pin(self.log.append_soon(self.run_id, first, events, Some(&self.lease))));
    }
}

/// Gives events their sequences and the form in which they are stored and sent.
pub(crate) fn encode(run_id: Uuid, first: u64, events: Vec<Timed>) -> Vec<Bytes> {
    (first..).zip(events).map(|(sequence, (time, event))| convert::encode_event(&run_id, sequence, time, event)).collect()
}
