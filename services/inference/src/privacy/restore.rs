//! Giving names back: an answer's pseudonyms become the names again, wherever the provider cut its deltas, in text,
//! reasoning and arguments of tool calls. What may be the beginning of a pseudonym is held back until it is known.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use futures::{Stream, StreamExt as _};

use super::names::escaped;
use crate::error::Broken;
use crate::model::Delta;
use crate::provider::Answer;

/// What stands for what in one call.
#[derive(Clone)]
pub(crate) struct Restorer(Arc<Table>);

struct Table {
    finder: AhoCorasick,
    names: Vec<String>,
    escaped: Vec<String>,
    // In order, to look beginnings up.
    sorted: Vec<String>,
    longest: usize,
}

impl Restorer {
    /// From names and their pseudonyms; `None`: there are none.
    pub(super) fn new(pseudonyms: &[(String, String)]) -> Result<Option<Self>, BuildError> {
        if pseudonyms.is_empty() {
            return Ok(None);
        }
        let mut sorted: Vec<_> = pseudonyms.iter().map(|(_, p)| p.clone()).collect();
        sorted.sort_unstable();
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(pseudonyms.iter().map(|(_, p)| p))?;
        Ok(Some(Self(Arc::new(Table {
            finder,
            names: pseudonyms.iter().map(|(name, _)| name.clone()).collect(),
            escaped: pseudonyms.iter().map(|(name, _)| escaped(name)).collect(),
            longest: sorted.iter().map(String::len).max().unwrap_or(0),
            sorted,
        }))))
    }

    /// The answer with its names.
    pub(crate) fn restore(&self, answer: Answer) -> Answer {
        Restoring {
            restorer: self.clone(),
            inner: answer,
            held: BTreeMap::new(),
            ready: VecDeque::new(),
            failed: None,
            text_bytes: 0,
        }
        .boxed()
    }

    /// Takes a piece; gives what is certain, and keeps the rest in `held`.
    fn push(&self, held: &mut String, piece: &str, json: bool) -> String {
        held.push_str(piece);
        let names = if json { &self.0.escaped } else { &self.0.names };
        let (mut out, mut at) = (String::with_capacity(held.len()), 0);
        for m in self.0.finder.find_iter(held.as_str()) {
            out.push_str(&held[at..m.start()]);
            out.push_str(&names[m.pattern().as_usize()]);
            at = m.end();
        }
        let keep = self.beginning(&held[at..]);
        let cut = held.len() - keep;
        out.push_str(&held[at..cut]);
        held.drain(..cut);
        out
    }

    /// How long the longest end of the text is that a pseudonym begins with.
    fn beginning(&self, text: &str) -> usize {
        let most = text.len().min(self.0.longest - 1);
        let begins = |n: &usize| {
            let Some(end) = text.get(text.len() - n..) else { return false };
            let at = self.0.sorted.partition_point(|p| p.as_str() < end);
            self.0.sorted.get(at).is_some_and(|p| p.starts_with(end))
        };
        (1..=most).rev().find(begins).unwrap_or(0)
    }
}

/// Which text of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Text,
    Reasoning,
    Call(u32),
}

struct Restoring {
    restorer: Restorer,
    inner: Answer,
    held: BTreeMap<Channel, String>,
    ready: VecDeque<Delta>,
    failed: Option<Broken>,
    // How much of the text the caller has got.
    text_bytes: u64,
}

impl Restoring {
    fn push(&mut self, channel: Channel, piece: &str) -> String {
        let held = self.held.entry(channel).or_default();
        self.restorer.push(held, piece, matches!(channel, Channel::Call(_)))
    }

    /// The delta with its names; `None`: all of it is held back.
    fn restored(&mut self, delta: Delta) -> Option<Delta> {
        match delta {
            Delta::Text(text) => Some(Delta::Text(self.push(Channel::Text, &text))).filter(|d| !is_empty(d)),
            Delta::Reasoning(text) => Some(Delta::Reasoning(self.push(Channel::Reasoning, &text))).filter(|d| !is_empty(d)),
            Delta::ToolCall { index, id, name, arguments } => {
                let arguments = self.push(Channel::Call(index), &arguments);
                Some(Delta::ToolCall { index, id, name, arguments }).filter(|d| !is_empty(d))
            }
            // What is held back stays so: the next model goes on where the last one was cut off, perhaps within a pseudonym.
            Delta::Seam(mut seam) => {
                seam.offset = self.text_bytes;
                Some(Delta::Seam(seam))
            }
            Delta::Started | Delta::Answering(_) | Delta::Usage(_) | Delta::Charged(_) => Some(delta),
            Delta::Completed { .. } => {
                self.let_go();
                Some(delta)
            }
        }
    }

    /// What was held back was no pseudonym after all: nothing follows.
    fn let_go(&mut self) {
        for (channel, rest) in std::mem::take(&mut self.held).into_iter().filter(|(_, rest)| !rest.is_empty()) {
            self.ready.push_back(match channel {
                Channel::Text => Delta::Text(rest),
                Channel::Reasoning => Delta::Reasoning(rest),
                Channel::Call(index) => Delta::ToolCall { index, id: String::new(), name: String::new(), arguments: rest },
            });
        }
    }
}

fn is_empty(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) => text.is_empty(),
        Delta::ToolCall { id, name, arguments, .. } => id.is_empty() && name.is_empty() && arguments.is_empty(),
        _ => false,
    }
}

impl Stream for Restoring {
    type Item = Result<Delta, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                if let Delta::Text(text) = &delta {
                    self.text_bytes += text.len() as u64;
                }
                return Poll::Ready(Some(Ok(delta)));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            match self.inner.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.let_go();
                    if self.ready.is_empty() {
                        return Poll::Ready(None);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.let_go();
                    self.failed = Some(error);
                }
                Poll::Ready(Some(Ok(delta))) => {
                    if let Some(delta) = self.restored(delta) {
                        self.ready.push_back(delta);
                    }
                }
            }
        }
    }
}
