//! The use cases: finding a model's provider, completing, listing, testing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_rpc::{Ctx, Fault};
use tokio::time::timeout;

use crate::builtin;
use crate::catalogue::Catalogue;
use crate::error::{Error, Kind, ProviderError};
use crate::model::{Completion, Message, Request, Role, SEPARATOR};
use crate::privacy::Privacy;
use crate::provider::{Deltas, Providers, collect};

mod models;

pub(crate) use models::{Listed, ListedModel, Wanted};

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
}

/// How a connection test went.
pub(crate) struct Tested {
    pub(crate) model: String,
    pub(crate) latency: Duration,
    pub(crate) failure: Option<Fault>,
}

/// The service.
pub(crate) struct Inference {
    providers: Providers,
    catalogue: Arc<Catalogue>,
    privacy: Privacy,
}

impl Inference {
    pub(crate) fn new(providers: Providers, catalogue: Arc<Catalogue>, privacy: Privacy) -> Self {
        Self { providers, catalogue, privacy }
    }

    /// A whole answer, with the model's id. The server layer ends it with the call's deadline.
    pub(crate) async fn complete(&self, asked: Asked) -> Result<(String, Completion), Error> {
        let (model, deltas) = self.stream_complete(asked).await?;
        Ok((model, collect(deltas).await?))
    }

    /// An answer as the model writes it, with the model's id.
    pub(crate) async fn stream_complete(&self, asked: Asked) -> Result<(String, Deltas), Error> {
        let target = self.providers.get(&asked.model)?;
        let request = Request { model: target.model, ..asked.request };
        // The rules in this process are told everything; nobody else is.
        let leaves = target.id.split(SEPARATOR).next() != Some(builtin::PROVIDER);
        let request = if leaves { self.privacy.screen(request).await? } else { request };
        Ok((target.id, target.provider.stream(request)))
    }

    /// One tiny call; a provider's failure is an answer.
    pub(crate) async fn test_connection(&self, ctx: &Ctx, model: &str) -> Result<Tested, Error> {
        let target = self.providers.get(model)?;
        let text = "Say ok.".to_owned();
        let request = Request {
            model: target.model,
            messages: vec![Message::new(Role::User, text)],
            max_output_tokens: TEST_TOKENS,
            ..Request::default()
        };
        let limit = ctx.remaining().map_or(TEST_TIMEOUT, |left| left.mul_f32(0.9).min(TEST_TIMEOUT));
        let begun = Instant::now();
        let answer = timeout(limit, collect(target.provider.stream(request))).await;
        let failure = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Fault::from(error)),
            Err(_) => {
                let provider = target.id.split(SEPARATOR).next().unwrap_or_default();
                Some(ProviderError::new(Kind::TimeoutBeforeAnswer, provider, format!("did not answer within {limit:?}")).into())
            }
        };
        Ok(Tested { model: target.id, latency: begun.elapsed(), failure })
    }
}
