//! Asking ahead: after an answer, the questions that are likely next are asked in the background, the way their askers would,
//! so that their answers are kept when they come. Whatever stands in the way of that is a reason to leave it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use regex::Regex;
use slipway_rpc::{Ctx, ProjectId, now_micros};
use slipway_telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answered, Asked, Inference};
use crate::error::Error;
use crate::model::{CachePolicy, Completion, Delta, Finish, Labels, Message, Purpose, Role, WindowKind};
use crate::privacy::Screened;
use crate::provider::{Answer, collect};
use crate::settings::PrefetchSettings;

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(120);
/// A longer question is a text with a question in it.
const MAX_QUESTION: usize = 2_000;

/// What is likely asked next, and the room for asking it.
pub(crate) struct Prefetch {
    rules: Vec<(Regex, Vec<String>)>,
    per_answer: usize,
    daily_micros: i64,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    end: CancellationToken,
    // What those under way are expected to cost.
    planned: Mutex<HashMap<ProjectId, i64>>,
    metrics: Metrics,
}

/// Room for one, until it is in the ledger.
struct Room<'a> {
    prefetch: &'a Prefetch,
    project: ProjectId,
    micros: i64,
}

impl Prefetch {
    /// As the settings say; `None`: nothing is asked ahead. `end`: when it stops.
    pub(super) fn new(
        settings: &PrefetchSettings,
        metrics: Metrics,
        end: CancellationToken,
    ) -> Result<Option<Self>, regex::Error> {
        if !settings.enabled {
            return Ok(None);
        }
        let rules = settings.rules.iter().map(|rule| Ok((rule.pattern()?, rule.ask.clone())));
        Ok(Some(Self {
            rules: rules.collect::<Result<_, regex::Error>>()?,
            per_answer: settings.per_answer,
            daily_micros: settings.daily_micros,
            slots: Arc::new(Semaphore::new(settings.concurrent)),
            tasks: TaskTracker::new(),
            end,
            planned: Mutex::default(),
            metrics,
        }))
    }

    /// Waits for the end, and for what was under way: each leaves its row.
    pub(super) fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let (tasks, end) = (self.tasks.clone(), self.end.clone());
        async move {
            end.cancelled().await;
            tasks.close();
            tasks.wait().await;
        }
    }

    /// What is likely asked after a question.
    fn likely(&self, question: &str) -> Vec<String> {
        if question.len() > MAX_QUESTION {
            return Vec::new();
        }
        let fitting = self.rules.iter().filter(|(when, _)| when.is_match(question)).flat_map(|(_, ask)| ask);
        let mut likely: Vec<String> = Vec::new();
        for ask in fitting.filter(|ask| ask.as_str() != question.trim()) {
            if likely.len() < self.per_answer && !likely.contains(ask) {
                likely.push(ask.clone());
            }
        }
        likely
    }

    /// Room for one more beside what has been `spent` today.
    fn room(&self, project: ProjectId, spent: i64, micros: i64) -> Option<Room<'_>> {
        let mut planned = self.planned();
        let before = planned.get(&project).copied().unwrap_or(0);
        if spent.saturating_add(before).saturating_add(micros) > self.daily_micros {
            return None;
        }
        planned.insert(project, before + micros);
        Some(Room { prefetch: self, project, micros })
    }

    fn planned(&self) -> MutexGuard<'_, HashMap<ProjectId, i64>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut planned = self.prefetch.planned();
        let left = planned.get(&self.project).copied().unwrap_or(0) - self.micros;
        match left {
            0 => drop(planned.remove(&self.project)),
            left => drop(planned.insert(self.project, left)),
        }
    }
}

/// An answer that is heard to its end, with what may be asked after it.
struct Listener {
    inference: Arc<Inference>,
    ctx: Ctx,
    asked: Asked,
    likely: Vec<String>,
    heard: Completion,
}

impl Inference {
    /// The answer; once it is whole, what is likely asked next is asked ahead.
    pub(super) fn ahead(self: &Arc<Self>, ctx: &Ctx, asked: Asked, answer: Answer) -> Answer {
        let Some(prefetch) = &self.beside.prefetch else { return answer };
        let last = asked.request.messages.last().filter(|m| m.role == Role::User && m.images.is_empty());
        let likely = last.map(|m| prefetch.likely(&m.text)).unwrap_or_default();
        // Who wants nothing kept has no use for it.
        if likely.is_empty() || asked.cache == CachePolicy::Bypass {
            return answer;
        }
        let heard = Completion::default();
        let mut listener = Some(Listener { inference: self.clone(), ctx: ctx.clone(), asked, likely, heard });
        let hear = move |delta: &Result<Delta, _>| match delta {
            Err(_) => listener = None,
            Ok(delta) => {
                if let Some(listener) = &mut listener {
                    listener.heard.push(delta.clone());
                }
                if matches!(delta, Delta::Completed { .. })
                    && let Some(listener) = listener.take()
                {
                    listener.ask();
                }
            }
        };
        answer.inspect(hear).boxed()
    }

    /// Asks one question ahead; tells what came of it.
    async fn prefetch(self: &Arc<Self>, prefetch: &Prefetch, ctx: &Ctx, asked: Asked) -> Result<&'static str, Error> {
        let own = self.keys.of(ctx.project, self.providers()).await?;
        let way = self.router.way(&asked.model, asked.fallback)?.with(&own);
        let screening = self.screen(ctx, way.leaves(), asked.request, asked.privacy, asked.labels);
        let Screened { request, .. } = screening.await?;
        let key = self.cache.key(ctx.project, CachePolicy::Default, &way, &request).filter(|_| self.cache.keeps());
        let Some(key) = key else { return Ok("not_kept") };
        if self.cache.has(&key) {
            return Ok("kept_before");
        }
        let (estimate, price) = self.money.estimate(way.model(), &request).await;
        if price.is_none() {
            return Ok("unpriced");
        }
        let today = WindowKind::Day.span(now_micros()).start;
        let spent = self.money.store().spent_on(ctx.project.0, Purpose::Prefetch, today).await?;
        let Some(_room) = prefetch.room(ctx.project, spent, estimate.reserve) else { return Ok("ceiling") };
        let Answered { answer, .. } = self.answer(ctx, way, request, asked.labels, CachePolicy::Default).await?;
        collect(answer).await?;
        Ok("kept")
    }
}

impl Listener {
    fn ask(self) {
        let Self { inference, ctx, asked, likely, heard } = self;
        let Some(prefetch) = &inference.beside.prefetch else { return };
        // What another model went on with, or what waits for tools, is not asked about.
        if heard.finish != Finish::Stop || !heard.tool_calls.is_empty() || !heard.seams.is_empty() {
            return;
        }
        let mut answered = Message::new(Role::Assistant, heard.text);
        answered.reasoning_state = heard.reasoning_state;
        let labels = Labels { purpose: Purpose::Prefetch, ..asked.labels };
        let deadline = Some(Instant::now() + LIMIT);
        let ctx = Ctx::new(ctx.caller.clone(), ctx.project, ctx.request_id.clone(), deadline, ctx.traceparent());
        for question in likely {
            let Ok(slot) = prefetch.slots.clone().try_acquire_owned() else {
                prefetch.metrics.model_beside("prefetch", "busy");
                return;
            };
            let mut next = Asked { labels, ..asked.clone() };
            next.request.messages.extend([answered.clone(), Message::new(Role::User, question)]);
            let (inference, ctx) = (inference.clone(), ctx.clone());
            let work: BoxFuture<'static, ()> = Box::pin(async move {
                let Some(prefetch) = &inference.beside.prefetch else { return };
                let result = match tokio::time::timeout(LIMIT, inference.prefetch(prefetch, &ctx, next)).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(error)) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a likely question was not asked ahead");
                        "failed"
                    }
                    Err(_) => "failed",
                };
                drop(slot);
                prefetch.metrics.model_beside("prefetch", result);
            });
            prefetch.tasks.spawn(prefetch.end.clone().run_until_cancelled_owned(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn prefetch(settings: PrefetchSettings) -> Prefetch {
        let settings = PrefetchSettings { enabled: true, ..settings };
        Prefetch::new(&settings, Metrics::new(), CancellationToken::new()).unwrap().unwrap()
    }

    #[test]
    fn the_rules_say_what_is_likely() {
        let prefetch = prefetch(PrefetchSettings::default());
        let logs = ["show me the logs", "what are the recent events"];
        assert_eq!(prefetch.likely("Why does my pod fail?"), logs);
        assert_eq!(prefetch.likely("why is\nit crashing"), logs);
        assert_eq!(prefetch.likely("Deploy redis"), ["what are the best practices", "how do I secure this"]);
        assert_eq!(prefetch.likely("show me the logs"), [""; 0]);
        assert_eq!(prefetch.likely("what is a pod"), [""; 0]);
        assert_eq!(prefetch.likely(&"why did it fail ".repeat(200)), [""; 0]);
    }

    #[test]
    fn a_day_has_so_much_room_for_each_project() {
        let prefetch = prefetch(PrefetchSettings { daily_micros: 100, ..PrefetchSettings::default() });
        let (one, two) = (ProjectId(Uuid::now_v7()), ProjectId(Uuid::now_v7()));
        let first = prefetch.room(one, 20, 50);
        assert!(first.is_some() && prefetch.room(one, 20, 50).is_none());
        assert!(prefetch.room(two, 20, 50).is_some());
        drop(first);
        assert!(prefetch.room(one, 50, 50).is_some() && prefetch.room(one, 51, 50).is_none());
        assert!(prefetch.planned().is_empty());
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_under_way() {
        let prefetch = prefetch(PrefetchSettings::default());
        let held = Arc::new(());
        let seen = held.clone();
        let work = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        prefetch.tasks.spawn(prefetch.end.clone().run_until_cancelled_owned(work));
        let drained = prefetch.drain();
        prefetch.end.cancel();
        tokio::time::timeout(Duration::from_secs(20), drained).await.unwrap();
        assert_eq!(Arc::strong_count(&seen), 1, "it was dropped, and its call with it");
    }

    #[test]
    fn off_is_off() {
        let settings = PrefetchSettings::default();
        assert!(Prefetch::new(&settings, Metrics::new(), CancellationToken::new()).unwrap().is_none());
    }
}
