//! The place of a question among others: its vector, from a model that is called and paid for like any other.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use slipway_rpc::Ctx;
use tokio::time::timeout;

use super::Inference;
use crate::cache::{Asking, Placed};
use crate::error::{Error, Kind, ProviderError};
use crate::model::{Delta, Finish, Labels, Message, Purpose, Request, Role};
use crate::provider::{Embedded, Target, collect};
use crate::route::Journal;

impl Inference {
    /// The question with its vector. Without one the call goes on as if nothing were kept: whoever asks does not notice.
    pub(super) async fn placed(&self, ctx: &Ctx, asking: Option<Asking>, labels: Labels) -> Option<Placed> {
        let (asking, settings) = (asking?, self.cache.semantic()?);
        match self.embed(ctx, &settings.model, &asking.text, settings.timeout_ms, labels).await {
            Ok(vector) => asking.placed(vector),
            Err(error) => {
                let model = &settings.model;
                tracing::warn!(
                    model,
                    error = &error as &dyn std::error::Error,
                    "a question could not be embedded; answers are made until it can"
                );
                self.cache.not_embedded(ctx.project).await;
                None
            }
        }
    }

    async fn embed(&self, ctx: &Ctx, model: &str, text: &str, limit_ms: u64, labels: Labels) -> Result<Vec<f32>, Error> {
        let mut target = self.providers().get(model)?;
        target.take(&self.keys.of(ctx.project, self.providers()).await?);
        let request = Request {
            model: target.model.clone(),
            messages: vec![Message::new(Role::User, text)],
            // It writes none; this is the least that can be reserved.
            max_output_tokens: 1,
            ..Request::default()
        };
        let labels = Labels { purpose: Purpose::Embedding, ..labels };
        let meter = self.money.begin(ctx, &[&target.id], labels, &request).await?;
        let embedded = embed_within(&target, text, Duration::from_millis(limit_ms)).await;
        let (vector, deltas) = match embedded {
            Ok(embedded) => {
                let finish = Finish::Stop;
                let ended = Delta::Completed { finish, usage: embedded.usage, reasoning_state: None };
                (embedded.vector, vec![Ok(Delta::Started), Ok(ended)])
            }
            Err(error) => (Vec::new(), vec![Err(error)]),
        };
        collect(meter.measure(stream::iter(deltas).boxed(), Journal::default())).await?;
        Ok(vector)
    }
}

async fn embed_within(target: &Target, text: &str, limit: Duration) -> Result<Embedded, ProviderError> {
    let late = |_| {
        let message = format!("did not embed within {limit:?}");
        Err(ProviderError::new(Kind::TimeoutBeforeAnswer, &target.upstream.name, message))
    };
    timeout(limit, target.upstream.embed(&target.model, text)).await.unwrap_or_else(late)
}
