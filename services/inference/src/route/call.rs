//! One call on its way through its models, as a stream.
//!
//! It is polled by whoever reads it, like the provider's own stream below it: dropping it ends the try under way, the pause
//! before the next one, and everything that would have followed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt as _;
use futures::stream::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::Way;
use super::attempt::Journal;
use super::policy::{self, Pauses};
use super::seam;
use super::upstream::Turn;
use crate::catalogue::Catalogue;
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Fallback, Request, Seam};
use crate::provider::{Deltas, Target};

/// A call in progress.
pub(super) struct Call {
    target: Target,
    rest: VecDeque<Target>,
    request: Request,
    fallback: Fallback,
    deadline: Option<Instant>,
    journal: Journal,
    catalogue: Arc<Catalogue>,
    pauses: Pauses,
    // The keys of this target that have failed.
    tried: Vec<usize>,
    state: State,
    said: Said,
    // Whom the caller believes to be answering.
    announced: Option<Arc<str>>,
    // The failure that led to the model that is tried now, for the seam.
    left: Option<(Arc<str>, Kind)>,
    // The failure of the model that was asked for: what the call ends with when nobody answers.
    first: Option<ProviderError>,
}

/// What the caller has got.
#[derive(Default)]
struct Said {
    anything: bool,
    bytes: u64,
    // Kept only where another model may go on from it.
    text: String,
    called: bool,
}

enum State {
    Ready,
    Waiting(Pin<Box<Sleep>>),
    Running(Box<Running>),
    Over,
}

struct Running {
    deltas: Deltas,
    turn: Turn,
    // The first token of this try has come.
    begun: bool,
}

impl Call {
    /// A call that is sent when it is first polled.
    pub(super) fn new(
        way: Way,
        mut request: Request,
        deadline: Option<Instant>,
        journal: Journal,
        catalogue: Arc<Catalogue>,
    ) -> Self {
        let Way { asked: target, rest, fallback } = way;
        request.model.clone_from(&target.model);
        Self {
            pauses: Pauses::new(target.upstream.max_retries),
            target,
            rest,
            request,
            fallback,
            deadline,
            journal,
            catalogue,
            tried: Vec::new(),
            state: State::Ready,
            said: Said::default(),
            announced: None,
            left: None,
            first: None,
        }
    }

    /// Begins a try, when there is a key for it.
    fn begin(&mut self) -> Result<State, ProviderError> {
        let upstream = &self.target.upstream;
        match upstream.take(&self.tried) {
            Ok(turn) => Ok(self.run(turn)),
            Err(away) => self.again_or_elsewhere(away.into_error(&upstream.name)),
        }
    }

    fn run(&mut self, turn: Turn) -> State {
        self.journal.begin(self.target.id.clone(), turn.key);
        let deltas = self.target.upstream.client(&turn).stream(&self.request);
        State::Running(Box::new(Running { deltas, turn, begun: false }))
    }

    /// What a delta of the model is for the caller.
    fn hear(&mut self, running: &mut Running, delta: Delta) -> Option<Delta> {
        match &delta {
            Delta::Started => return self.announce(),
            Delta::Usage(usage) => {
                self.journal.used(*usage);
                return None;
            }
            Delta::Text(text) => self.said.text(text, self.fallback.goes_on),
            Delta::ToolCall { .. } => self.said.called = true,
            Delta::Reasoning(_) | Delta::Answering(_) | Delta::Seam(_) | Delta::Charged(_) | Delta::Completed { .. } => {}
        }
        if !running.begun {
            running.begun = true;
            running.turn.begun();
            self.journal.first_token();
        }
        self.said.anything = true;
        Some(delta)
    }

    /// A model has accepted the call: the first, or another one than before.
    fn announce(&mut self) -> Option<Delta> {
        let id = self.target.id.clone();
        if self.announced.as_ref() == Some(&id) {
            return None;
        }
        let before = self.announced.replace(id.clone());
        let Some((failed, kind)) = self.left.take().filter(|_| before.is_some()) else {
            return Some(Delta::Answering(id));
        };
        Some(Delta::Seam(Box::new(Seam { failed, model: id, kind, offset: self.said.bytes })))
    }

    /// The model's last word, with what all tries used.
    fn end(&mut self, turn: Turn, completed: Delta) -> Delta {
        let Delta::Completed { finish, usage, reasoning_state } = completed else { return completed };
        turn.succeeded();
        self.journal.used(usage);
        self.journal.answered();
        Delta::Completed { finish, usage: self.journal.total(), reasoning_state }
    }

    /// What a failure leads to.
    fn fail(&mut self, error: ProviderError) -> Result<State, ProviderError> {
        if !self.said.anything
            && policy::is_of_the_key(error.kind)
            && let Some(turn) = self.target.upstream.take_other(&self.tried)
        {
            tracing::debug!(provider = self.target.upstream.name, kind = ?error.kind, "trying another key");
            return Ok(self.run(turn));
        }
        self.again_or_elsewhere(error)
    }

    /// The same model once more where that may help, else another one.
    fn again_or_elsewhere(&mut self, error: ProviderError) -> Result<State, ProviderError> {
        let stands_by = !self.rest.is_empty();
        if !self.said.anything
            && let Some(pause) = self.pauses.next(&error, self.deadline, stands_by)
        {
            tracing::debug!(provider = self.target.upstream.name, kind = ?error.kind, ?pause, "trying again");
            return Ok(State::Waiting(Box::pin(sleep(pause))));
        }
        self.fall_back(error)
    }

    /// The next model that may do better, or the end.
    fn fall_back(&mut self, error: ProviderError) -> Result<State, ProviderError> {
        let may = policy::falls_back(error.kind, self.fallback.when_refused) && (!self.said.anything || self.may_go_on());
        let next = if may { self.next_target(&error) } else { None };
        let kind = error.kind;
        let Some(next) = next else { return Err(self.last_word(error)) };
        self.first.get_or_insert(error);
        tracing::info!(failed = %self.target.id, ?kind, next = %next.id, "falling back to another model");
        self.left.get_or_insert((self.target.id.clone(), kind));
        if self.said.anything {
            self.request = seam::going_on(&self.request, &std::mem::take(&mut self.said.text));
        }
        self.request.model.clone_from(&next.model);
        self.pauses = Pauses::new(next.upstream.max_retries);
        self.tried.clear();
        self.target = next;
        Ok(State::Ready)
    }

    // The caller may have acted on a tool call, and half a JSON document has no other half.
    fn may_go_on(&self) -> bool {
        self.fallback.goes_on && !self.said.called && self.request.json.is_none()
    }

    fn next_target(&mut self, error: &ProviderError) -> Option<Target> {
        if error.kind != Kind::ContextTooLong {
            return self.rest.pop_front();
        }
        // Only a model that reads more helps; one of which nothing is known may.
        let window = |target: &Target| self.catalogue.find(&target.id).and_then(|e| e.window);
        let limit = error.size.as_ref().and_then(|s| s.limit).or_else(|| window(&self.target)).unwrap_or(0);
        let larger = self.rest.iter().position(|t| window(t).is_none_or(|w| w > limit))?;
        self.rest.drain(..larger);
        self.rest.pop_front()
    }

    /// What the caller hears: of the model that was asked for, and that others failed too.
    fn last_word(&mut self, error: ProviderError) -> ProviderError {
        // Once something was said, it is about the model that said it.
        let Some(mut first) = self.first.take().filter(|_| !self.said.anything) else { return error };
        let more = format!("; then {}: {}", self.target.id, error.message);
        first.message.push_str(&more);
        first
    }
}

impl Stream for Call {
    type Item = Result<Delta, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let next = match std::mem::replace(&mut this.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Ready => this.begin(),
                State::Waiting(mut timer) => {
                    if timer.as_mut().poll(cx).is_pending() {
                        this.state = State::Waiting(timer);
                        return Poll::Pending;
                    }
                    Ok(State::Ready)
                }
                State::Running(mut running) => match running.deltas.poll_next_unpin(cx) {
                    Poll::Pending => {
                        this.state = State::Running(running);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(completed @ Delta::Completed { .. }))) => {
                        if !running.begun {
                            running.turn.begun();
                        }
                        return Poll::Ready(Some(Ok(this.end(running.turn, completed))));
                    }
                    Poll::Ready(Some(Ok(delta))) => {
                        let heard = this.hear(&mut running, delta);
                        this.state = State::Running(running);
                        match heard {
                            Some(delta) => return Poll::Ready(Some(Ok(delta))),
                            None => continue,
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        this.journal.failed(&error);
                        this.tried.push(running.turn.key);
                        running.turn.failed(&error);
                        this.fail(error)
                    }
                    Poll::Ready(None) => return Poll::Ready(None),
                },
            };
            match next {
                Ok(state) => this.state = state,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Said {
    fn text(&mut self, text: &str, keep: bool) {
        self.bytes += text.len() as u64;
        if keep {
            self.text.push_str(text);
        }
    }
}
