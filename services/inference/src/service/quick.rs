//! A short answer beside a detailed one: two calls that begin together and end together.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use slipway_rpc::Ctx;
use slipway_telemetry::Metrics;
use tokio::time::{Sleep, sleep};

use super::{Asked, Inference};
use crate::error::Broken;
use crate::model::{
    CachePolicy, Charge, Completion, Delta, Effort, Fallback, Finish, Labels, Message, Part, Purpose, Request, Role, Usage,
    Wishes,
};
use crate::provider::Answer;
use crate::settings::QuickSettings;

const INSTRUCTION: &str = "Answer in two or three short sentences. Say what matters most first, and leave the details out: \
                           a detailed answer follows.";
/// How many bytes of the detailed answer are held back; then it goes on its way.
const MAX_HELD: usize = 1 << 20;

/// A short answer, whole.
#[derive(Debug, PartialEq)]
pub(crate) struct Quick {
    /// Its text.
    pub(crate) text: String,
    /// The id of the model that gave it.
    pub(crate) model: String,
    /// What it used.
    pub(crate) usage: Usage,
    /// What it cost.
    pub(crate) charge: Charge,
}

/// One step of an answer with a short one beside it.
#[derive(Debug)]
pub(crate) enum Step {
    /// Of the detailed one.
    Delta(Delta),
    /// The short one.
    Quick(Quick),
}

/// A short answer on its way; `None`: there is none.
pub(crate) type Quickly = BoxFuture<'static, Option<Quick>>;

impl Inference {
    /// The call for a short answer to the same, begun when it is first polled; `None` where a short answer makes no sense.
    pub(crate) fn quick(self: &Arc<Self>, ctx: &Ctx, asked: &Asked) -> Option<Quickly> {
        let settings = &self.beside.quick;
        let (request, privacy) = short(settings, &asked.request, &asked.privacy)?;
        let (model, fallback) = match settings.model.as_str() {
            "" => (asked.model.clone(), asked.fallback.clone()),
            other => (other.to_owned(), Fallback::default()),
        };
        let labels = Labels { purpose: Purpose::Quick, ..asked.labels };
        // Whoever wants a new answer wants both new; nothing is looked up by meaning twice.
        let cache = if asked.cache == CachePolicy::Semantic { CachePolicy::Default } else { asked.cache };
        let asked = Asked { model, labels, request, fallback, privacy, cache, quick: false, prefetch: false };
        let (this, ctx) = (self.clone(), ctx.clone());
        let call = async move {
            match this.complete(&ctx, asked).await {
                Ok((whole, _)) => Quick::of(whole),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "there is no quick answer");
                    None
                }
            }
        };
        Some(call.boxed())
    }

    /// The detailed answer with the short one before it, or as soon as that is there.
    pub(crate) fn with_quick(&self, detailed: Answer, quick: Quickly) -> Both {
        Both::new(detailed, quick, Duration::from_millis(self.beside.quick.hold_ms), self.beside.metrics.clone())
    }
}

impl Quick {
    /// `None` when there is nothing to say. One that was cut off ends with its last whole sentence.
    fn of(whole: Completion) -> Option<Self> {
        let text = match whole.finish {
            Finish::Stop => whole.text.trim(),
            Finish::Length => whole.text.rfind(['.', '!', '?', '。']).map_or("", |end| {
                let mark = whole.text[end..].chars().next().map_or(0, char::len_utf8);
                whole.text[..end + mark].trim()
            }),
            _ => "",
        };
        let text = Some(text).filter(|t| !t.is_empty())?.to_owned();
        Some(Self { text, model: whole.model, usage: whole.usage, charge: whole.charge })
    }
}

/// The same conversation with the wish for a short answer: its texts, without tools. What is said of messages moves with them.
fn short(settings: &QuickSettings, request: &Request, privacy: &Wishes) -> Option<(Request, Wishes)> {
    request.messages.last().filter(|m| m.role == Role::User)?;
    let mut places = HashMap::new();
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    let systems = request.messages.iter().take_while(|m| m.role == Role::System).count();
    for (n, message) in request.messages.iter().enumerate() {
        if n == systems {
            messages.push(Message::new(Role::System, INSTRUCTION));
        }
        if message.role == Role::Tool || (message.role == Role::Assistant && message.text.is_empty()) {
            continue;
        }
        places.insert(n, messages.len());
        messages.push(Message { images: message.images.clone(), ..Message::new(message.role, &message.text) });
    }
    let place = |part: &Part| Some(Part { message: *places.get(&part.message)?, ..part.clone() });
    let parts = privacy.parts.iter().filter_map(place).collect();
    let limit = settings.max_output_tokens;
    let request = Request {
        messages,
        max_output_tokens: if request.max_output_tokens == 0 { limit } else { limit.min(request.max_output_tokens) },
        temperature: request.temperature,
        // As little as it can: the tokens are for the answer. Models that do not reason are not told.
        effort: request.effort.map(|_| Effort::Minimal),
        ..Request::default()
    };
    Some((request, Wishes { parts, ..privacy.clone() }))
}

/// Two answers as one stream. The detailed one is read all the time; what comes of it is held back until the short one is
/// there, has failed, or has taken too long.
pub(crate) struct Both {
    detailed: Answer,
    // None once it is there, or no longer wanted.
    quick: Option<Quickly>,
    hold: Pin<Box<Sleep>>,
    holding: bool,
    held: VecDeque<Result<Delta, Broken>>,
    bytes: usize,
    over: bool,
    metrics: Metrics,
}

impl Both {
    fn new(detailed: Answer, quick: Quickly, hold: Duration, metrics: Metrics) -> Self {
        let (held, hold) = (VecDeque::new(), Box::pin(sleep(hold)));
        Self { detailed, quick: Some(quick), hold, holding: true, held, bytes: 0, over: false, metrics }
    }

    /// The detailed answer is over, or fails: a short one would be late.
    fn end(&mut self) {
        if self.quick.take().is_some() {
            self.metrics.model_beside("quick", "late");
        }
        self.holding = false;
    }

    /// Takes what came of the detailed answer; gives what may go on at once.
    fn take(&mut self, next: Result<Delta, Broken>) -> Option<Result<Delta, Broken>> {
        match &next {
            Ok(Delta::Completed { .. }) | Err(_) => self.end(),
            // Whoever reads may know at once that there will be an answer.
            Ok(Delta::Started | Delta::Answering(_)) if self.held.is_empty() => return Some(next),
            Ok(Delta::Text(text) | Delta::Reasoning(text)) => self.bytes += text.len(),
            Ok(Delta::ToolCall { arguments, .. }) => self.bytes += arguments.len(),
            Ok(_) => {}
        }
        self.holding &= self.bytes <= MAX_HELD;
        if !self.holding && self.held.is_empty() {
            return Some(next);
        }
        self.held.push_back(next);
        None
    }
}

impl Stream for Both {
    type Item = Result<Step, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(quick) = &mut this.quick
                && let Poll::Ready(quick) = quick.poll_unpin(cx)
            {
                (this.quick, this.holding) = (None, false);
                this.metrics.model_beside("quick", if quick.is_some() { "answered" } else { "failed" });
                if let Some(quick) = quick {
                    return Poll::Ready(Some(Ok(Step::Quick(quick))));
                }
            }
            if this.holding && this.hold.poll_unpin(cx).is_ready() {
                this.holding = false;
            }
            if !this.holding
                && let Some(next) = this.held.pop_front()
            {
                return Poll::Ready(Some(next.map(Step::Delta)));
            }
            if this.over {
                return Poll::Ready(None);
            }
            let next = match this.detailed.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(next)) => this.take(next),
                Poll::Ready(None) => {
                    this.over = true;
                    this.end();
                    None
                }
            };
            if let Some(next) = next {
                return Poll::Ready(Some(next.map(Step::Delta)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    fn quick(text: &str) -> Quick {
        Quick { text: text.into(), model: "p/q".into(), usage: Usage::default(), charge: Charge::default() }
    }

    fn text(text: &str) -> Result<Delta, Broken> {
        Ok(Delta::Text(text.into()))
    }

    fn completed() -> Result<Delta, Broken> {
        Ok(Delta::Completed { finish: Finish::Stop, usage: Usage::default(), reasoning_state: None })
    }

    fn word(step: Result<Step, Broken>) -> String {
        match step.unwrap() {
            Step::Quick(quick) => format!("quick {}", quick.text),
            Step::Delta(Delta::Text(text)) => text,
            Step::Delta(Delta::Completed { .. }) => "end".into(),
            Step::Delta(Delta::Answering(_)) => "begin".into(),
            Step::Delta(other) => panic!("{other:?}"),
        }
    }

    struct Two {
        detailed: mpsc::Sender<Result<Delta, Broken>>,
        quick: oneshot::Sender<Option<Quick>>,
        beside: Both,
        metrics: Metrics,
    }

    fn two(hold: Duration) -> Two {
        let ((detailed, rx), (quick, answer), metrics) = (mpsc::channel(64), oneshot::channel(), Metrics::new());
        let answer = answer.map(Result::unwrap_or_default).boxed();
        let beside = Both::new(ReceiverStream::new(rx).boxed(), answer, hold, metrics.clone());
        Two { detailed, quick, beside, metrics }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn the_short_one_comes_first_and_nothing_is_lost() {
        let Two { detailed, quick: short, mut beside, metrics } = two(LONG);
        for delta in [Ok(Delta::Answering("p/m".into())), text("a"), text("b")] {
            detailed.send(delta).await.unwrap();
        }
        assert_eq!(word(beside.next().await.unwrap()), "begin", "that there will be an answer is told at once");
        assert!(beside.next().now_or_never().is_none(), "the rest is held back");
        short.send(Some(quick("soon"))).unwrap();
        detailed.send(completed()).await.unwrap();
        drop(detailed);
        let all: Vec<_> = beside.map(word).collect().await;
        assert_eq!(all, ["quick soon", "a", "b", "end"]);
        assert!(metrics.text().unwrap().contains(r#"slipway_inference_beside_total{kind="quick",result="answered"} 1"#));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_short_one_holds_nothing_back_for_ever() {
        let Two { detailed, quick: short, mut beside, .. } = two(Duration::from_secs(3));
        detailed.send(text("a")).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(word(beside.next().await.unwrap()), "a");
        assert!((3..4).contains(&begun.elapsed().as_secs()));
        short.send(Some(quick("late"))).unwrap();
        assert_eq!(word(beside.next().await.unwrap()), "quick late");
        detailed.send(completed()).await.unwrap();
        assert_eq!(word(beside.next().await.unwrap()), "end");
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_detailed_one_is_done_the_short_one_is_dropped() {
        let Two { detailed, quick: short, beside, metrics } = two(LONG);
        for delta in [text("a"), completed()] {
            detailed.send(delta).await.unwrap();
        }
        drop(detailed);
        let all: Vec<_> = beside.map(word).collect().await;
        assert_eq!(all, ["a", "end"]);
        assert!(short.is_closed());
        assert!(metrics.text().unwrap().contains(r#"slipway_inference_beside_total{kind="quick",result="late"} 1"#));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_short_one_the_detailed_one_goes_on() {
        let Two { detailed, quick: short, mut beside, .. } = two(LONG);
        detailed.send(text("a")).await.unwrap();
        short.send(None).unwrap();
        assert_eq!(word(beside.next().await.unwrap()), "a");
        let long = "x".repeat(MAX_HELD);
        let deltas = stream::iter([text(&long), text("b"), completed()]).boxed();
        let never = std::future::pending().boxed();
        let all: Vec<_> = Both::new(deltas, never, LONG, Metrics::new()).map(word).collect().await;
        assert_eq!(all, [long.as_str(), "b", "end"]);
    }

    #[test]
    fn the_short_question_is_the_same_conversation_without_tools() {
        let mut asked = Request { messages: Vec::new(), max_output_tokens: 0, ..Request::default() };
        for (role, text) in [(Role::System, "s"), (Role::User, "u"), (Role::Assistant, ""), (Role::Tool, "t"), (Role::User, "v")]
        {
            asked.messages.push(Message::new(role, text));
        }
        let part = |message| Part { message, kind: crate::model::PartKind::Log, text: "log".into(), names: vec![] };
        let wishes = Wishes { parts: vec![part(1), part(3), part(4)], ..Wishes::default() };
        let (request, wishes) = short(&QuickSettings::default(), &asked, &wishes).unwrap();
        let texts: Vec<_> = request.messages.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(texts, ["s", INSTRUCTION, "u", "v"]);
        assert_eq!(wishes.parts.iter().map(|p| p.message).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(request.max_output_tokens, 150);
        asked.messages.pop();
        assert!(short(&QuickSettings::default(), &asked, &Wishes::default()).is_none(), "a tool has answered, nobody has asked");
    }

    #[test]
    fn what_was_cut_off_ends_with_a_sentence() {
        let of =
            |finish, text: &str| Quick::of(Completion { finish, text: text.into(), ..Completion::default() }).map(|q| q.text);
        assert_eq!(of(Finish::Length, "One is. Two is not").as_deref(), Some("One is."));
        assert_eq!(of(Finish::Length, "no end"), None);
        assert_eq!(of(Finish::Stop, " all ").as_deref(), Some("all"));
        assert_eq!(of(Finish::ContentFilter, "a."), None);
    }
}
