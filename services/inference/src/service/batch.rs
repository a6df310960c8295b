//! Many prompts in one call: each is completed by itself, and none waits for another but for its turn with a provider.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use slipway_rpc::{Ctx, Fault};
use tokio::sync::Semaphore;

use super::{Asked, Inference};
use crate::model::Completion;
use crate::route::Journal;

/// What came of one prompt.
pub(crate) struct Item {
    /// Which, from 0.
    pub(crate) index: usize,
    /// Its answer, or why there is none.
    pub(crate) result: Result<(Completion, Journal), Fault>,
}

/// The turns with each provider in one batch. They are of this batch alone: one whose reader is slow holds up no other.
struct Turns {
    each: usize,
    by_provider: HashMap<String, Arc<Semaphore>>,
}

impl Turns {
    fn of(&mut self, provider: &str) -> Arc<Semaphore> {
        let turns = self.by_provider.entry(provider.to_owned());
        turns.or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
    }
}

impl Inference {
    /// Completes each prompt. Nothing is done before the stream is polled, and dropping it ends what is under way.
    pub(crate) fn batch(self: &Arc<Self>, ctx: &Ctx, prompts: Vec<Result<Asked, Fault>>) -> BoxStream<'static, Item> {
        let mut turns = Turns { each: self.beside.batch.per_provider, by_provider: HashMap::new() };
        let item = |(index, asked)| self.item(ctx, index, asked, &mut turns);
        prompts.into_iter().enumerate().map(item).collect::<FuturesUnordered<_>>().boxed()
    }

    fn item(
        self: &Arc<Self>,
        ctx: &Ctx,
        index: usize,
        asked: Result<Asked, Fault>,
        turns: &mut Turns,
    ) -> BoxFuture<'static, Item> {
        let turn = asked.and_then(|asked| {
            let target = self.providers().get(&asked.model)?;
            Ok((turns.of(&target.upstream.name), asked))
        });
        let (this, ctx) = (self.clone(), ctx.clone());
        Box::pin(async move {
            let result = match turn {
                Err(fault) => Err(fault),
                Ok((turns, asked)) => {
                    // Nobody closes it.
                    let _turn = turns.acquire().await;
                    this.complete(&ctx, asked).await.map_err(Fault::from)
                }
            };
            Item { index, result }
        })
    }
}
