//! The use cases: completing, listing, testing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use slipway_rpc::{Ctx, Fault};
use tokio::time::timeout;

use crate::cache::{Cache, Stats};
use crate::catalogue::Catalogue;
use crate::error::{Error, Kind, ProviderError};
use crate::model::{CachePolicy, Completion, Fallback, Message, Request, Role};
use crate::privacy::Privacy;
use crate::provider::{Provider, Providers, collect};
use crate::route::{Journal, Routed, Router};

mod models;
mod providers;

pub(crate) use models::{Listed, ListedModel, Wanted};
pub(crate) use providers::{ListedProvider, ListedProviders};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);
// Enough for models that think before they say a word.
const TEST_TOKENS: u32 = 64;

/// What a caller wants completed.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// `provider/model`; empty: the default.
    pub(crate) model: String,
    /// The rest.
    pub(crate) request: Request,
    /// What may happen when the model fails.
    pub(crate) fallback: Fallback,
    /// Whether a kept answer will do.
    pub(crate) cache: CachePolicy,
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
}

impl Inference {
    pub(crate) fn new(router: Router, catalogue: Arc<Catalogue>, privacy: Privacy, cache: Cache) -> Self {
        Self { router, catalogue, privacy, cache }
    }

    fn providers(&self) -> &Providers {
        self.router.providers()
    }

    /// A whole answer, with what was tried for it. The server layer ends it with the call's deadline.
    pub(crate) async fn complete(&self, ctx: &Ctx, asked: Asked) -> Result<(Completion, Journal), Error> {
        let routed = self.stream_complete(ctx, asked).await?;
        Ok((collect(routed.deltas).await?, routed.journal))
    }

    /// An answer as the model writes it.
    pub(crate) async fn stream_complete(&self, ctx: &Ctx, asked: Asked) -> Result<Routed, Error> {
        let way = self.router.way(&asked.model, asked.fallback)?;
        // The rules in this process are told everything; nobody else is.
        let request = if way.leaves() { self.privacy.screen(asked.request).await? } else { asked.request };
        let Some(key) = self.cache.key(ctx.project, asked.cache, &way, &request) else {
            return Ok(self.router.start(way, request, ctx.remaining()));
        };
        if let Some((deltas, hit)) = self.cache.find(&key, asked.cache).await {
            return Ok(Routed { deltas, journal: Journal::of_hit(hit) });
        }
        let model = way.model().clone();
        let Routed { deltas, journal } = self.router.start(way, request, ctx.remaining());
        let (deltas, hit) = self.cache.lead(key, asked.cache, &model, deltas);
        Ok(Routed { deltas, journal: hit.map_or(journal, Journal::of_hit) })
    }

    /// What is kept for a project, and how often it helped.
    pub(crate) fn cache_stats(&self, ctx: &Ctx) -> Stats {
        self.cache.stats(ctx.project)
    }

    /// Forgets what is kept for a project.
    pub(crate) async fn clear_cache(&self, ctx: &Ctx) -> u64 {
        self.cache.clear(ctx.project).await
    }

    /// One tiny call with each key, set aside or not; a provider's failure is an answer.
    pub(crate) async fn test_connection(&self, ctx: &Ctx, model: &str) -> Result<Tested, Error> {
        let target = self.providers().get(model)?;
        let request = Request {
            model: target.model,
            messages: vec![Message::new(Role::User, "Say ok.")],
            max_output_tokens: TEST_TOKENS,
            ..Request::default()
        };
        let limit = ctx.remaining().map_or(TEST_TIMEOUT, |left| left.mul_f32(0.9).min(TEST_TIMEOUT));
        let begun = Instant::now();
        let name = &target.upstream.name;
        let tests = target.upstream.clients().map(|client| test(client, &request, name, limit));
        let answers = join_all(tests).await;
        let several = answers.len() > 1;
        let failed = answers.into_iter().enumerate().find_map(|(n, answer)| Some((n, answer.err()?)));
        let failure = failed.map(|(n, mut error)| {
            if several {
                error.message = format!("key {} (counted from 0): {}", n, error.message);
            }
            Fault::from(error)
        });
        Ok(Tested { model: target.id.to_string(), latency: begun.elapsed(), failure })
    }
}

async fn test(client: &Arc<dyn Provider>, request: &Request, name: &str, limit: Duration) -> Result<Completion, ProviderError> {
    let late = |_| ProviderError::new(Kind::TimeoutBeforeAnswer, name, format!("did not answer within {limit:?}"));
    timeout(limit, collect(client.stream(request))).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}
