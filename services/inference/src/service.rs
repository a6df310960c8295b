//! The use cases: completing, listing, testing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use slipway_rpc::{Ctx, Fault};
use tokio::time::timeout;

use crate::cache::{Cache, Lead, Stats};
use crate::catalogue::Catalogue;
use crate::error::{Error, Kind, ProviderError};
use crate::keys::Keys;
use crate::model::{CachePolicy, Completion, Fallback, Labels, Message, Request, Role, Wishes};
use crate::money::{Meter, Money};
use crate::privacy::{Privacy, Scope, Screened, unscreened};
use crate::provider::{Answer, Provider, Providers, Target, collect};
use crate::route::{Journal, Routed, Router, Way};
use crate::tokens::{self, Counted};

mod batch;
mod beside;
mod budgets;
mod keys;
mod models;
mod prefetch;
mod providers;
mod quick;
mod semantic;
mod usage;

pub(crate) use batch::Item;
pub(crate) use beside::Beside;
pub(crate) use budgets::{BudgetChange, Budgets, NewBudget};
pub(crate) use keys::{ListedKeys, NewKey};
pub(crate) use models::{Listed, ListedModel, Wanted};
pub(crate) use providers::{ListedProvider, ListedProviders};
pub(crate) use quick::{Quick, Step};
pub(crate) use usage::{CallQuery, Calls, Estimated, UsageQuery, UsageSums};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);
// Enough for models that think before they say a word.
const TEST_TOKENS: u32 = 64;

/// What a caller wants completed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// `provider/model`; empty: the default.
    pub(crate) model: String,
    /// What it is for.
    pub(crate) labels: Labels,
    /// The rest.
    pub(crate) request: Request,
    /// What may happen when the model fails.
    pub(crate) fallback: Fallback,
    /// What may leave of it.
    pub(crate) privacy: Wishes,
    /// Whether a kept answer will do.
    pub(crate) cache: CachePolicy,
    /// A short answer is wanted beside the detailed one.
    pub(crate) quick: bool,
    /// What is likely asked next may be asked ahead.
    pub(crate) prefetch: bool,
}

/// An answer on its way.
pub(crate) struct Answered {
    /// What the caller gets.
    pub(crate) answer: Answer,
    /// What is tried for it.
    pub(crate) journal: Journal,
}

/// How a connection test went.
pub(crate) struct Tested {
    pub(crate) model: String,
    pub(crate) latency: Duration,
    pub(crate) failure: Option<Fault>,
}

/// The service.
pub(crate) struct Inference {
    router: Router,
    catalogue: Arc<Catalogue>,
    privacy: Privacy,
    cache: Cache,
    money: Money,
    keys: Keys,
    beside: Beside,
}

impl Inference {
    pub(crate) fn new(
        router: Router,
        catalogue: Arc<Catalogue>,
        privacy: Privacy,
        cache: Cache,
        money: Money,
        keys: Keys,
        beside: Beside,
    ) -> Self {
        Self { router, catalogue, privacy, cache, money, keys, beside }
    }

    fn providers(&self) -> &Providers {
        self.router.providers()
    }

    /// A whole answer, with what was tried for it. The server layer ends it with the call's deadline.
    pub(crate) async fn complete(self: &Arc<Self>, ctx: &Ctx, asked: Asked) -> Result<(Completion, Journal), Error> {
        let Answered { answer, journal } = self.stream_complete(ctx, asked).await?;
        Ok((collect(answer).await?, journal))
    }

    /// An answer as the model writes it.
    pub(crate) async fn stream_complete(self: &Arc<Self>, ctx: &Ctx, asked: Asked) -> Result<Answered, Error> {
        let next = (asked.prefetch && self.beside.prefetch.is_some()).then(|| asked.clone());
        let own = self.keys.of(ctx.project, self.providers()).await?;
        let way = self.router.way(&asked.model, asked.fallback)?.with(&own);
        let screening = self.screen(ctx, way.leaves(), asked.request, asked.privacy, asked.labels);
        let Screened { request, restorer } = screening.await?;
        // A name of one conversation is another name in the next: such an answer is for the same question only.
        let policy = if restorer.is_some() { asked.cache.exact() } else { asked.cache };
        let Answered { answer, journal } = self.answer(ctx, way, request, asked.labels, policy).await?;
        let answer = match restorer {
            Some(restorer) => restorer.restore(answer),
            None => answer,
        };
        let answer = match next {
            Some(next) => self.ahead(ctx, next, answer),
            None => answer,
        };
        Ok(Answered { answer, journal })
    }

    /// The measured answer to what has been screened: a kept one, that of the same call under way, or the models'. What is
    /// kept and shared is what the meter has seen: it measures a call once, for all of its readers.
    async fn answer(
        &self,
        ctx: &Ctx,
        way: Way,
        request: Request,
        labels: Labels,
        policy: CachePolicy,
    ) -> Result<Answered, Error> {
        let key = self.cache.key(ctx.project, policy, &way, &request);
        let model = way.model().clone();
        if let Some(key) = &key
            && let Some((found, hit)) = self.cache.find(key, policy).await
        {
            let (meter, journal) = (self.money.hit(ctx, &model, labels).await?, Journal::of_hit(hit));
            return Ok(Answered { answer: meter.measure(found, journal.clone()), journal });
        }
        let placed = self.placed(ctx, key.and_then(|_| self.cache.asking(ctx.project, policy, &way, &request)), labels).await;
        if let Some(placed) = &placed
            && let Some((found, hit)) = self.cache.find_near(placed).await
        {
            let (meter, journal) = (self.money.hit(ctx, &model, labels).await?, Journal::of_hit(hit));
            return Ok(Answered { answer: meter.measure(found, journal.clone()), journal });
        }
        let models: Vec<&str> = way.models().collect();
        let meter = self.money.begin(ctx, &models, labels, &request).await?;
        let Routed { deltas, journal } = self.router.start(way, request, ctx.remaining());
        let measured = |meter: Meter| meter.measure(deltas, journal.clone());
        let Some(key) = key else { return Ok(Answered { answer: measured(meter), journal }) };
        if let Some(placed) = placed {
            self.cache.place(placed, key).await;
        }
        Ok(match self.cache.lead(key, policy, &model, meter, measured) {
            Lead::Call(answer) => Answered { answer, journal },
            // Somebody else has begun the same call in this moment, and pays for it.
            Lead::Shared(shared, hit, meter) => {
                let journal = Journal::of_hit(hit);
                Answered { answer: meter.free().measure(shared, journal.clone()), journal }
            }
        })
    }

    /// What is kept for a project, and how often it helped.
    pub(crate) fn cache_stats(&self, ctx: &Ctx) -> Stats {
        self.cache.stats(ctx.project)
    }

    /// Forgets what is kept for a project.
    pub(crate) async fn clear_cache(&self, ctx: &Ctx) -> u64 {
        self.cache.clear(ctx.project).await
    }

    /// The tokens of a prompt as it would leave, with the model's id.
    pub(crate) async fn count_tokens(&self, ctx: &Ctx, asked: Asked) -> Result<(String, Counted), Error> {
        let target = self.providers().get(&asked.model)?;
        let leaves = self.router.way(&asked.model, asked.fallback)?.leaves();
        let mut request = self.screen(ctx, leaves, asked.request, asked.privacy, asked.labels).await?.request;
        request.model = target.model;
        let counted = tokio::task::spawn_blocking(move || tokens::count(&request)).await.map_err(|_| Error::Counting)?;
        Ok((target.id.to_string(), counted))
    }

    /// The request as its models may see it: the rules in this process are told everything, and nobody else is.
    async fn screen(&self, ctx: &Ctx, leaves: bool, request: Request, wishes: Wishes, labels: Labels) -> Result<Screened, Error> {
        if !leaves {
            return Ok(Screened { request: unscreened(request, wishes), restorer: None });
        }
        let project = ctx.project.0.to_string();
        let conversation = labels.conversation.map(|id| id.to_string()).unwrap_or_default();
        self.privacy.screen(request, wishes, Scope { project: &project, conversation: &conversation }).await
    }

    /// One tiny call with each key, set aside or not; a provider's failure is an answer.
    pub(crate) async fn test_connection(&self, ctx: &Ctx, model: &str) -> Result<Tested, Error> {
        let mut target = self.providers().get(model)?;
        target.take(&self.keys.of(ctx.project, self.providers()).await?);
        let request = Request {
            model: target.model.clone(),
            messages: vec![Message::new(Role::User, "Say ok.")],
            max_output_tokens: TEST_TOKENS,
            ..Request::default()
        };
        let limit = ctx.remaining().map_or(TEST_TIMEOUT, |left| left.mul_f32(0.9).min(TEST_TIMEOUT));
        let begun = Instant::now();
        let tests = target.upstream.clients().map(|client| self.test(ctx, &target, client, &request, limit));
        let answers = join_all(tests).await;
        let several = answers.len() > 1;
        let failed = answers.into_iter().enumerate().find_map(|(n, answer)| Some((n, answer.err()?)));
        let failure = failed.map(|(n, mut error)| {
            if let Error::Provider(error) = &mut error
                && several
            {
                error.message = format!("key {} (counted from 0): {}", n, error.message);
            }
            Fault::from(error)
        });
        Ok(Tested { model: target.id.to_string(), latency: begun.elapsed(), failure })
    }

    async fn test(
        &self,
        ctx: &Ctx,
        target: &Target,
        client: &Arc<dyn Provider>,
        request: &Request,
        limit: Duration,
    ) -> Result<Completion, Error> {
        let meter = self.money.begin(ctx, &[&target.id], Labels::default(), request).await?;
        let answer = collect(meter.measure(client.stream(request), Journal::default()));
        let late =
            || ProviderError::new(Kind::TimeoutBeforeAnswer, &target.upstream.name, format!("did not answer within {limit:?}"));
        Ok(timeout(limit, answer).await.map_err(|_| late())??)
    }
}
