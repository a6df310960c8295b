//! The use cases: finding a model's provider, completing, listing, testing.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use slipway_rpc::{Ctx, Fault};
use tokio::time::timeout;

use crate::error::{Error, Kind, ProviderError};
use crate::model::{Completion, Message, ModelInfo, Request, Role, SEPARATOR};
use crate::provider::{Deltas, Providers, collect};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);
// Enough for models that think before they say a word.
const TEST_TOKENS: u32 = 64;
const PAGE_PREFIX: &str = "after:";

/// What a caller wants completed.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// `provider/model`; empty: the default.
    pub(crate) model: String,
    /// The rest.
    pub(crate) request: Request,
}

/// A model in a list.
pub(crate) struct ListedModel {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) info: ModelInfo,
    pub(crate) default: bool,
}

/// A page of models.
pub(crate) struct Listed {
    pub(crate) models: Vec<ListedModel>,
    pub(crate) next_page_token: String,
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
}

impl Inference {
    pub(crate) fn new(providers: Providers) -> Self {
        Self { providers }
    }

    /// A whole answer, with the model's id. The server layer ends it with the call's deadline.
    pub(crate) async fn complete(&self, asked: Asked) -> Result<(String, Completion), Error> {
        let (model, deltas) = self.stream_complete(asked)?;
        Ok((model, collect(deltas).await?))
    }

    /// An answer as the model writes it, with the model's id.
    pub(crate) fn stream_complete(&self, asked: Asked) -> Result<(String, Deltas), Error> {
        let target = self.providers.get(&asked.model)?;
        let request = Request { model: target.model, ..asked.request };
        Ok((target.id, target.provider.stream(request)))
    }

    /// The models that can be called now, by id. The token holds the last id of the page before, so that a list which
    /// changes in between is neither repeated nor cut.
    pub(crate) async fn list_models(&self, size: u32, token: &str) -> Result<Listed, Error> {
        let after = if token.is_empty() { None } else { Some(decode_token(token).ok_or(Error::PageToken)?) };
        let all = join_all(self.providers.iter().map(|(name, provider)| async move { (name, provider.models().await) })).await;
        let default = self.providers.default_model();
        let mut models = Vec::new();
        for (provider, infos) in all {
            for info in infos {
                let id = format!("{provider}{SEPARATOR}{}", info.name);
                models.push(ListedModel { default: id == default, provider: provider.to_owned(), info, id });
            }
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        models.dedup_by(|a, b| a.id == b.id);
        if let Some(after) = after {
            models.retain(|m| m.id > after);
        }
        let more = models.len() > size as usize;
        models.truncate(size as usize);
        let next_page_token = if more { models.last().map(|m| encode_token(&m.id)).unwrap_or_default() } else { String::new() };
        Ok(Listed { models, next_page_token })
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

fn encode_token(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PAGE_PREFIX}{id}"))
}

fn decode_token(token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    String::from_utf8(bytes).ok()?.strip_prefix(PAGE_PREFIX).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_survive_the_way_there_and_back() {
        assert_eq!(decode_token(&encode_token("a/b/ü")).as_deref(), Some("a/b/ü"));
        for bad in ["x", "!!!", &URL_SAFE_NO_PAD.encode("something")] {
            assert!(decode_token(bad).is_none());
        }
    }
}
