//! Listens to an answer, and keeps it when it is whole and worth keeping.

use futures::StreamExt as _;
use futures::stream;

use super::kept::{Answer, Kept, size};
use super::key::Key;
use crate::model::{Delta, Finish};
use crate::provider;

// Texts are put together to pieces of about this size: providers send a word at a time.
const PIECE: usize = 256;

/// The same deltas; the last is passed on once the answer is kept.
pub(super) fn keep(key: Key, model: &str, kept: Kept, deltas: provider::Answer) -> provider::Answer {
    let listener = Listener { key, kept, model: model.to_owned(), heard: Some(Vec::new()), bytes: 0 };
    let heard = stream::unfold((deltas, listener), async |(mut deltas, mut listener)| {
        let delta = deltas.next().await?;
        match &delta {
            Ok(delta) => listener.hear(delta).await,
            Err(_) => listener.heard = None,
        }
        Some((delta, (deltas, listener)))
    });
    heard.boxed()
}

struct Listener {
    key: Key,
    kept: Kept,
    model: String,
    // None once it is clear that the answer will not be kept.
    heard: Option<Vec<Delta>>,
    bytes: usize,
}

impl Listener {
    async fn hear(&mut self, delta: &Delta) {
        let Some(heard) = &mut self.heard else { return };
        match delta {
            // Who finds it pays nothing.
            Delta::Charged(_) => {}
            // Another model stood in: the one that was asked for may be back in a moment.
            Delta::Seam(_) => self.heard = None,
            Delta::Answering(model) if **model != *self.model => self.heard = None,
            Delta::Completed { finish: Finish::Stop | Finish::ToolCalls | Finish::Length, .. } => {
                heard.push(delta.clone());
                let answer = Answer::new(std::mem::take(heard));
                self.heard = None;
                self.kept.put(self.key, answer).await;
            }
            Delta::Completed { .. } => self.heard = None,
            _ => {
                self.bytes += size(delta);
                add(heard, delta);
                if self.bytes > self.kept.max_bytes() {
                    self.heard = None;
                }
            }
        }
    }
}

fn add(heard: &mut Vec<Delta>, delta: &Delta) {
    match (heard.last_mut(), delta) {
        (Some(Delta::Text(before)), Delta::Text(text)) | (Some(Delta::Reasoning(before)), Delta::Reasoning(text))
            if before.len() < PIECE =>
        {
            before.push_str(text);
        }
        _ => heard.push(delta.clone()),
    }
}
