//! What a call will cost, before it is made: the request's tokens, and an answer as long as this model's usually are.
//!
//! Tokens of a request are counted with the nearest vocabulary where the number matters, and else guessed by the length of its
//! words. Both are set right by what providers report of the same model: the ratio of reported to found tokens, of late.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokio::task::JoinHandle;

use super::cost::cost;
use super::prices::Quote;
use crate::model::{Request, Usage, estimate_request};
use crate::tokens::{self, Vocabulary};

/// How long answers are before any has been seen, in tokens.
const USUAL: f64 = 400.0;
/// How much an answer moves what is usual.
const WEIGHT: f64 = 0.1;
/// What is reserved for an answer that the caller does not limit, at least.
const LONGEST: u64 = 4_096;
/// How many usual answers fit into what is reserved.
const TIMES: f64 = 4.0;
/// Models whose answers are remembered; others are as usual.
const MAX_MODELS: usize = 1_000;
/// How much of the sums of tokens stays with every call.
const FADE: f64 = 0.98;
/// A ratio beyond this is no way of counting but a mistake.
const MAX_RATIO: f64 = 5.0;
/// Requests that are counted to learn a model's ratio, though nothing depends on the number.
const SAMPLES: u32 = 16;
/// The longest request that is counted where it is: a tenth of a millisecond for each kilobyte. Longer ones have a thread.
const INLINE_BYTES: usize = 4 << 10;

/// What a call is expected to use and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Tokens of the request.
    pub(crate) input: u64,
    /// Tokens of an answer of the usual length.
    pub(crate) output: u64,
    /// Tokens of the longest answer to be ready for.
    pub(crate) longest: u64,
    /// What it will cost.
    pub(crate) cost: i64,
    /// What it may cost: what budgets must have room for.
    pub(crate) reserve: i64,
}

/// The tokens of a request as they were found, before anything that was learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// By the length of its words.
    pub(crate) guessed: u64,
    /// With a vocabulary.
    pub(crate) counted: Option<u64>,
}

impl Size {
    /// The tokens of a request, by the length of its words alone.
    pub(crate) fn guess(request: &Request) -> Self {
        Self { guessed: estimate_request(request), counted: None }
    }

    /// The tokens of a request, counted with the vocabulary of a model.
    pub(crate) async fn count(model: &str, request: &Request) -> Self {
        let counted = if bytes(request) <= INLINE_BYTES && Vocabulary::of(model).0.is_ready() {
            Some(tokens::count_for(model, request).tokens)
        } else {
            count_apart(model, request).await.ok()
        };
        Self { counted, ..Self::guess(request) }
    }
}

/// Counts the tokens of a request while others go on.
pub(crate) fn count_apart(model: &str, request: &Request) -> JoinHandle<u64> {
    let (model, request) = (model.to_owned(), request.clone());
    tokio::task::spawn_blocking(move || tokens::count_for(&model, &request).tokens)
}

/// About how much text there is to count.
fn bytes(request: &Request) -> usize {
    let message = |m: &crate::model::Message| m.text.len() + m.tool_calls.iter().map(|c| c.arguments.len()).sum::<usize>();
    // A schema as text is several times its names.
    request.messages.iter().map(message).sum::<usize>() + 1_024 * request.tools.len()
}

/// What is known of the calls of models so far.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    models: RwLock<HashMap<String, Habit>>,
}

#[derive(Clone, Copy, Debug)]
struct Habit {
    output: f64,
    guessed: Scale,
    counted: Scale,
    /// How many requests were counted.
    samples: u32,
}

impl Habit {
    fn new(output: f64) -> Self {
        Self { output, guessed: Scale::default(), counted: Scale::default(), samples: 0 }
    }
}

/// How a way to find tokens compares with what providers report.
#[derive(Clone, Copy, Debug, Default)]
struct Scale {
    found: f64,
    reported: f64,
}

impl Scale {
    fn learn(&mut self, found: u64, reported: u64) {
        self.found = self.found * FADE + found as f64;
        self.reported = self.reported * FADE + reported as f64;
    }

    fn apply(&self, found: u64) -> u64 {
        if self.found <= 0.0 || self.reported <= 0.0 {
            return found;
        }
        (found as f64 * (self.reported / self.found).clamp(1.0 / MAX_RATIO, MAX_RATIO)).round() as u64
    }
}

impl Habits {
    /// Takes an answer into account. `size`: what was found of its request.
    pub(crate) fn learn(&self, model: &str, size: Size, usage: &Usage) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MAX_MODELS && !models.contains_key(model) {
            return;
        }
        let output = usage.output as f64;
        // The first answer says more than a guess does.
        let grown = |habit: &mut Habit| habit.output += (output - habit.output) * WEIGHT;
        let habit = models.entry(model.to_owned()).and_modify(grown).or_insert(Habit::new(output));
        habit.samples += u32::from(size.counted.is_some());
        // A picture's tokens say nothing of words.
        if usage.estimated || usage.input == 0 || usage.images > 0 || size.guessed == 0 {
            return;
        }
        habit.guessed.learn(size.guessed, usage.input);
        if let Some(counted) = size.counted {
            habit.counted.learn(counted, usage.input);
        }
    }

    /// True as long as too little is known of a model to set counts right.
    pub(crate) fn wants_samples(&self, model: &str) -> bool {
        self.find(model).is_none_or(|habit| habit.samples < SAMPLES)
    }

    fn find(&self, model: &str) -> Option<Habit> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    /// What a request of a size will use and cost.
    pub(crate) fn estimate(&self, model: &str, request: &Request, size: Size, price: Option<&Quote>) -> Estimate {
        let habit = self.find(model).unwrap_or(Habit::new(USUAL));
        let input = match size.counted {
            Some(counted) => habit.counted.apply(counted),
            None => habit.guessed.apply(size.guessed),
        };
        let limit = Some(u64::from(request.max_output_tokens)).filter(|limit| *limit > 0);
        let output = (habit.output.round() as u64).min(limit.unwrap_or(u64::MAX));
        let longest = limit.unwrap_or_else(|| LONGEST.max((habit.output * TIMES) as u64));
        let priced = |output| {
            let usage = Usage { input, output, ..Usage::default() };
            price.map_or(0, |quote| cost(quote.price.rates(input), &usage))
        };
        Estimate { input, output, longest, cost: priced(output), reserve: priced(longest) }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::catalogue::{Price, Rates};
    use crate::model::{Message, Role, Tool};
    use crate::money::prices::Source;

    fn request(max_output_tokens: u32) -> Request {
        Request { messages: vec![Message::new(Role::User, "one two three")], max_output_tokens, ..Request::default() }
    }

    fn price() -> Quote {
        let rates = Rates { input: 1_000_000, output: 2_000_000, ..Rates::default() };
        Quote { price: Price { version: "t".into(), from: time::Date::MIN, rates, above: None }, source: Source::List }
    }

    fn used(input: u64, output: u64) -> Usage {
        Usage { input, output, ..Usage::default() }
    }

    #[test]
    fn the_longest_answer_is_what_the_caller_allows() {
        let (habits, size) = (Habits::default(), Size::guess(&request(0)));
        let estimate = habits.estimate("m", &request(100), size, Some(&price()));
        assert_eq!((estimate.output, estimate.longest), (100, 100));
        assert_eq!(estimate.reserve, estimate.input as i64 + 200);
        let free = habits.estimate("m", &request(0), size, None);
        assert_eq!((free.longest, free.cost, free.reserve), (LONGEST, 0, 0));
    }

    #[test]
    fn answers_teach_how_long_answers_are() {
        let habits = Habits::default();
        for _ in 0..100 {
            habits.learn("m", Size::default(), &used(0, 2_000));
        }
        let estimate = habits.estimate("m", &request(0), Size::default(), Some(&price()));
        assert_eq!((estimate.output, estimate.longest), (2_000, 8_000));
        assert_eq!(habits.estimate("other", &request(0), Size::default(), None).output, USUAL as u64);
    }

    #[test]
    fn reports_set_each_way_of_counting_right_by_itself() {
        let habits = Habits::default();
        let input = |size| habits.estimate("m", &request(0), size, None).input;
        let (guessed, counted) = (Size { guessed: 100, counted: None }, Size { guessed: 100, counted: Some(80) });
        assert_eq!((input(guessed), input(counted)), (100, 80));
        habits.learn("m", guessed, &used(120, 1));
        assert_eq!((input(guessed), input(counted)), (120, 80));
        assert!(habits.wants_samples("m"));
        for _ in 0..SAMPLES {
            habits.learn("m", counted, &used(120, 1));
        }
        assert_eq!((input(guessed), input(counted)), (120, 120));
        assert!(!habits.wants_samples("m") && habits.wants_samples("n"));
        // Nothing is learned from what nobody counted, or what had pictures.
        habits.learn("m", counted, &Usage { estimated: true, ..used(1_000_000, 1) });
        habits.learn("m", counted, &Usage { images: 900_000, ..used(1_000_000, 1) });
        assert_eq!(input(counted), 120);
        habits.learn("n", Size { guessed: 10, counted: None }, &used(1_000_000, 1));
        assert_eq!(habits.estimate("n", &request(0), guessed, None).input, 500, "a mistake has its limit");
    }

    /// Requests with the tokens that OpenAI's API counted for them.
    #[derive(Deserialize)]
    struct Corpus {
        requests: Vec<Counted>,
    }

    #[derive(Deserialize)]
    struct Counted {
        source: String,
        model: String,
        messages: Vec<(String, String)>,
        #[serde(default)]
        tools: Vec<Declared>,
        input_tokens: u64,
    }

    #[derive(Deserialize)]
    struct Declared {
        name: String,
        description: String,
        parameters: serde_json::Value,
    }

    impl Counted {
        fn request(&self) -> Request {
            let role = |role: &str| match role {
                "system" => Role::System,
                "assistant" => Role::Assistant,
                _ => Role::User,
            };
            let messages = self.messages.iter().map(|(who, text)| Message::new(role(who), text)).collect();
            let tool = |t: &Declared| Tool {
                name: t.name.clone(),
                description: t.description.clone(),
                parameters: t.parameters.clone(),
            };
            Request { messages, tools: self.tools.iter().map(tool).collect(), ..Request::default() }
        }
    }

    #[tokio::test]
    async fn the_input_of_openais_models_is_within_fifteen_percent_call_by_call() {
        let corpus: Corpus = serde_json::from_str(include_str!("../../data/request-tokens.json")).unwrap();
        assert!(corpus.requests.len() >= 8);
        let (habits, price) = (Habits::default(), price());
        for one in corpus.requests {
            let request = one.request();
            let size = Size::count(&one.model, &request).await;
            let estimate = habits.estimate(&one.model, &request, size, Some(&price));
            let input_cost = cost(price.price.rates(0), &used(estimate.input, 0)) as f64;
            let exact = cost(price.price.rates(0), &used(one.input_tokens, 0)) as f64;
            let off = input_cost / exact - 1.0;
            assert!(off.abs() <= 0.15, "{} of {}: {input_cost} for {exact}", one.model, one.source);
        }
    }

    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<(String, u64, u64)>,
    }

    // A model whose vocabulary is another one than we count with, and that adds something to every message: what the other
    // column of the reference says, times a tenth more, and twelve.
    #[tokio::test]
    async fn the_sum_of_other_models_input_is_within_fifteen_percent_once_calls_have_come_back() {
        let Vectors { vectors } = serde_json::from_str(include_str!("../../data/token-vectors.json")).unwrap();
        let texts: Vec<_> = vectors.iter().filter(|(text, ..)| text.len() > 8).collect();
        let model = "claude-sonnet-4-5";
        let habits = Habits::default();
        let (mut estimated, mut reported, mut found) = (0, 0, 0);
        // Every second text teaches, the others are judged.
        for (n, (text, _, cl100k)) in texts.iter().enumerate() {
            let messages =
                vec![Message::new(Role::System, "You answer questions about manifests."), Message::new(Role::User, text)];
            let request = Request { messages, ..Request::default() };
            let size = Size::count(model, &request).await;
            let told = (*cl100k as f64 * 1.1) as u64 + 2 * 12 + 7;
            if n % 2 == 0 {
                habits.learn(model, size, &used(told, 1));
                continue;
            }
            estimated += habits.estimate(model, &request, size, None).input;
            reported += told;
            found += size.counted.unwrap();
        }
        let off = |tokens: u64| tokens as f64 / reported as f64 - 1.0;
        assert!(off(found).abs() > 0.15, "there is something to learn: {found} for {reported}");
        assert!(off(estimated).abs() <= 0.15, "{estimated} for {reported}");
    }
}
