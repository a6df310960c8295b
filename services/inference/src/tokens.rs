//! Counting tokens exactly and offline, with the vocabularies that OpenAI's models have; for other models the nearest one
//! is an estimate. A vocabulary is read when it is first needed. Text that looks like a special token is text.

use std::sync::atomic::{AtomicBool, Ordering};

use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use crate::model::{IMAGE_TOKENS, Request, Tool};

mod tools;

// What stands around each message, and before the answer.
const MESSAGE: u64 = 4;
const ANSWER: u64 = 3;
// A text is split where words end, so that what is looked at in one go stays short; one without words is cut.
const PIECE: usize = 32 << 10;
const LONGEST_PIECE: usize = 64 << 10;

/// How a model splits text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// Of GPT-4o and everything since.
    O200k,
    /// Of GPT-4 and GPT-3.5.
    Cl100k,
}

/// Tokens, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// How many.
    pub(crate) tokens: u64,
    /// True when the model may count otherwise.
    pub(crate) estimated: bool,
    /// What was counted with.
    pub(crate) vocabulary: Vocabulary,
}

impl Vocabulary {
    /// The vocabulary of a model, and whether it is only the nearest one.
    pub(crate) fn of(model: &str) -> (Self, bool) {
        // Resellers put the seller before the name.
        let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        match get_tokenizer(&name) {
            Some(Tokenizer::O200kBase | Tokenizer::O200kHarmony) => (Self::O200k, false),
            Some(Tokenizer::Cl100kBase) => (Self::Cl100k, false),
            _ => (Self::O200k, true),
        }
    }

    /// Its name in OpenAI's list.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::O200k => "o200k_base",
            Self::Cl100k => "cl100k_base",
        }
    }

    /// True once it has been read, which takes a while.
    pub(crate) fn is_ready(self) -> bool {
        self.ready().load(Ordering::Relaxed)
    }

    fn ready(self) -> &'static AtomicBool {
        static O200K: AtomicBool = AtomicBool::new(false);
        static CL100K: AtomicBool = AtomicBool::new(false);
        match self {
            Self::O200k => &O200K,
            Self::Cl100k => &CL100K,
        }
    }

    fn get(self) -> &'static CoreBPE {
        let read = match self {
            Self::O200k => o200k_base_singleton(),
            Self::Cl100k => cl100k_base_singleton(),
        };
        self.ready().store(true, Ordering::Relaxed);
        read
    }

    /// The tokens of a text, and whether it had to be cut where a token may have been.
    pub(crate) fn count(self, text: &str) -> (u64, bool) {
        let (mut tokens, mut inexact, mut rest) = (0, false, text);
        while !rest.is_empty() {
            let (length, clean) = piece(rest);
            tokens += self.get().count_ordinary(&rest[..length]) as u64;
            inexact |= !clean;
            rest = &rest[length..];
        }
        (tokens, inexact)
    }
}

/// How much of a text is looked at in one go: up to a space between two words, where no token goes across.
fn piece(text: &str) -> (usize, bool) {
    if text.len() <= LONGEST_PIECE {
        return (text.len(), true);
    }
    let bytes = text.as_bytes();
    let between = |n: &usize| bytes[*n] == b' ' && bytes[n - 1].is_ascii_alphabetic() && bytes[n + 1].is_ascii_alphabetic();
    if let Some(n) = (PIECE..LONGEST_PIECE).find(between) {
        return (n, true);
    }
    let mut cut = LONGEST_PIECE;
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    (cut, false)
}

/// The tokens of a request to the model that it names.
pub(crate) fn count(request: &Request) -> Counted {
    count_for(&request.model, request)
}

/// The tokens of a request to a model, with or without its provider. Texts are counted; what providers put around messages is
/// known, what they make of tools and images is known about, so that a request with those is an estimate.
pub(crate) fn count_for(model: &str, request: &Request) -> Counted {
    let (vocabulary, mut estimated) = Vocabulary::of(model);
    let openai = !estimated;
    let mut tokens = ANSWER;
    let mut add = |text: &str| {
        let (more, inexact) = vocabulary.count(text);
        tokens += more;
        estimated |= inexact;
    };
    for message in &request.messages {
        add(&message.text);
        message.tool_calls.iter().for_each(|call| {
            add(&call.name);
            add(&call.arguments);
        });
    }
    if let Some(format) = &request.json {
        add(&format.schema.to_string());
    }
    tokens += tools(vocabulary, openai, model, &request.tools);
    let images = request.messages.iter().map(|m| m.images.len() as u64).sum::<u64>();
    let calls = request.messages.iter().map(|m| m.tool_calls.len() as u64).sum::<u64>();
    tokens += MESSAGE * (request.messages.len() as u64 + calls) + IMAGE_TOKENS * images;
    let about = images + calls > 0 || request.json.is_some() || !request.tools.is_empty();
    Counted { tokens, estimated: estimated || about, vocabulary }
}

/// What the model reads of tools: OpenAI's models a declaration, others JSON.
fn tools(vocabulary: Vocabulary, openai: bool, model: &str, tools: &[Tool]) -> u64 {
    if tools.is_empty() {
        return 0;
    }
    if openai {
        return tools::declared(vocabulary, tools);
    }
    let json = |tool: &Tool| {
        let texts = [&tool.name, &tool.description, &tool.parameters.to_string()];
        MESSAGE + texts.into_iter().map(|text| vocabulary.count(text).0).sum::<u64>()
    };
    let preface = if model.contains("claude") { tools::CLAUDE_PREFACE } else { 0 };
    preface + tools.iter().map(json).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::model::{Message, Role};

    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<(String, u64, u64)>,
    }

    #[test]
    fn counts_are_those_of_the_reference() {
        let vectors: Vectors = serde_json::from_str(include_str!("../data/token-vectors.json")).unwrap();
        assert!(vectors.vectors.len() > 40);
        for (text, o200k, cl100k) in vectors.vectors {
            assert_eq!(Vocabulary::O200k.count(&text), (o200k, false), "{text:?}");
            assert_eq!(Vocabulary::Cl100k.count(&text), (cl100k, false), "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_counted_in_pieces() {
        let words = "some words of a text that goes on ".repeat(6_000);
        let whole = Vocabulary::O200k.get().count_ordinary(&words) as u64;
        assert_eq!(Vocabulary::O200k.count(&words), (whole, false));
        for run in ["a", " ", "\n", "漢"] {
            let run = run.repeat((1 << 20) / run.len());
            let (tokens, inexact) = Vocabulary::O200k.count(&run);
            assert!(tokens > 0 && inexact);
        }
    }

    #[test]
    fn models_have_their_vocabularies() {
        for (model, vocabulary, estimated) in [
            ("gpt-4o-mini", Vocabulary::O200k, false),
            ("openai/gpt-4.1", Vocabulary::O200k, false),
            ("gpt-4-turbo", Vocabulary::Cl100k, false),
            ("gpt-oss-20b", Vocabulary::O200k, false),
            ("claude-sonnet-4-5", Vocabulary::O200k, true),
            ("llama3:8b", Vocabulary::O200k, true),
        ] {
            assert_eq!(Vocabulary::of(model), (vocabulary, estimated), "{model}");
        }
    }

    #[test]
    fn a_request_is_its_texts_and_what_stands_around_them() {
        let messages = vec![Message::new(Role::System, "hello world"), Message::new(Role::User, "hello world")];
        let request = Request { model: "gpt-4o".into(), messages, ..Request::default() };
        let counted = count(&request);
        assert_eq!((counted.tokens, counted.estimated), (2 * (2 + MESSAGE) + ANSWER, false));
    }
}
