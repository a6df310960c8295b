//! Answering a question: what the workspace says about it, then a model's words as they come.

use futures::StreamExt as _;
use slipway_proto::conversation::ContextRetrieved;
use slipway_proto::conversation::run_event::Event;
use slipway_rpc::Reason;
use uuid::Uuid;

use super::{Halt, Work, failed};
use crate::clients::Written;
use crate::convert;
use crate::model::Message;
use crate::prompt::{self, Source};

impl Work {
    pub(super) async fn converse(&mut self, workspace_id: Option<Uuid>, history: &[Message], question: &str) -> Result<(), Halt> {
        let sources = match workspace_id {
            Some(workspace_id) => Some(self.retrieve(workspace_id, question).await?),
            None => None,
        };
        let turns = prompt::answer(history, question, sources.as_deref(), self.worker.settings.history_bytes);
        // Another worker may have asked the same meanwhile.
        self.lease.check_clock()?;
        let call = self.worker.clients.stream_complete(&self.ctx, self.run.conversation_id, &self.run.model, turns);
        let mut written = self.journal.during(call).await??;
        loop {
            tokio::select! {
                biased;
                settled = self.journal.settle(), if self.journal.is_under_way() => settled?,
                piece = written.next(), if self.journal.has_room() => match piece {
                    Some(Ok(Written::Text(text))) => {
                        self.journal.push_text(&text);
                        self.text.push_str(&text);
                    }
                    Some(Ok(Written::Reasoning(text))) => self.journal.push_reasoning(&text),
                    Some(Ok(Written::Ended { refused, usage })) => {
                        self.usage = usage;
                        return self.check_answer(refused);
                    }
                    Some(Err(fault)) => return Err(fault.into()),
                    None => return Err(failed(Reason::ProviderUnavailable, "the model broke off its answer; try again")),
                },
            }
        }
    }

    /// What the workspace holds about the question, told to whoever watches before the answer begins.
    async fn retrieve(&mut self, workspace_id: Uuid, question: &str) -> Result<Vec<Source>, Halt> {
        let limit = self.worker.settings.context_hits;
        let found = self.worker.clients.search(&self.ctx, workspace_id, question, limit).await?;
        let citations: Vec<_> = found.citations.iter().cloned().map(convert::citation).collect();
        let bytes = citations.iter().map(|c| c.path.len() + 64).sum();
        self.offered = found.citations;
        self.journal.push(Event::Context(ContextRetrieved { citations }), bytes);
        Ok(found.sources)
    }

    fn check_answer(&self, refused: bool) -> Result<(), Halt> {
        if refused {
            return Err(failed(Reason::ContentRefused, "the provider's content rules stopped the answer; say it another way"));
        }
        if self.text.trim().is_empty() {
            let advice = "the model ended without saying anything; try again or choose another model";
            return Err(failed(Reason::ProviderUnavailable, advice));
        }
        Ok(())
    }
}
