//! The catalogue as it is now: every file's entries in one table, and how a model is found in it.

use std::collections::{BTreeMap, HashMap};

use super::entry::Entry;
use super::file::File;
use super::name;

const ANY: &str = "*";

/// Whose list a model is looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seller {
    /// The provider's name in the settings.
    pub(crate) name: String,
    /// The families of the catalogue that list what it sells, the best first. Empty: it sells nobody's models, so their
    /// prices do not hold for it.
    pub(crate) families: Vec<String>,
}

/// All entries.
#[derive(Debug)]
pub(super) struct Book {
    exact: HashMap<String, Entry>,
    // By the length of what is fixed, the longest first.
    patterns: Vec<(Pattern, Entry)>,
    // What every seller's model of a name has in common, by the last part of the name.
    traits: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Pattern {
    seller: String,
    start: String,
    end: String,
}

impl Pattern {
    fn of(key: &str) -> Option<Self> {
        let (seller, model) = key.split_once('/')?;
        let (start, end) = model.split_once(ANY)?;
        Some(Self { seller: seller.to_owned(), start: start.to_owned(), end: end.to_owned() })
    }

    fn fixed(&self) -> usize {
        self.start.len() + self.end.len()
    }

    fn fits(&self, model: &str) -> bool {
        model.len() >= self.fixed() && model.starts_with(&self.start) && model.ends_with(&self.end)
    }
}

impl Book {
    /// Files into one table; what a later file says goes before what an earlier one says.
    pub(super) fn of(files: Vec<File>) -> Self {
        let mut all: BTreeMap<String, Entry> = BTreeMap::new();
        for file in files {
            for (key, mut entry) in file.models {
                if let Some(before) = all.get(&key) {
                    entry.fill(before);
                }
                all.insert(key, entry);
            }
        }
        let mut book = Self { exact: HashMap::new(), patterns: Vec::new(), traits: HashMap::new() };
        for (key, entry) in all {
            if let Some(pattern) = Pattern::of(&key) {
                book.patterns.push((pattern, entry));
                continue;
            }
            let bare = key.rsplit('/').next().unwrap_or_default().to_owned();
            book.traits.entry(bare).or_default().fill(&entry.traits());
            book.exact.insert(key, entry);
        }
        book.patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.fixed()));
        book
    }

    /// True when somebody of that name sells something.
    pub(super) fn has_seller(&self, name: &str) -> bool {
        self.exact.keys().any(|key| key.split('/').next() == Some(name)) || self.patterns.iter().any(|(p, _)| p.seller == name)
    }

    /// What is known of a model, put together from the entries that fit, the best first; `None` when nothing is.
    pub(super) fn find(&self, seller: &Seller, model: &str) -> Option<Entry> {
        let model = model.to_lowercase();
        let mut found = Found { entry: Entry::default(), any: false };
        let own = seller.name.to_lowercase();
        let sellers = std::iter::once(own.as_str()).chain(seller.families.iter().map(String::as_str));
        let spellings = name::spellings(&model);
        for seller in sellers {
            self.find_sold(seller, &model, &spellings, &mut found);
        }
        if found.is_whole() {
            return Some(found.entry);
        }
        if let Some((family, rest)) = name::of_maker(&model) {
            let mut makers = Found { entry: Entry::default(), any: false };
            self.find_sold(family, rest, &name::spellings(rest), &mut makers);
            let priced = !seller.families.is_empty();
            found.take(makers.any.then(|| if priced { makers.entry } else { makers.entry.traits() }).as_ref());
        }
        let bare = model.rsplit('/').next().unwrap_or_default();
        let bare = bare.split(':').next().unwrap_or_default();
        for spelling in name::spellings(bare) {
            found.take(self.traits.get(&spelling));
        }
        self.find_patterns(ANY, bare, &mut found);
        found.any.then_some(found.entry)
    }

    fn find_sold(&self, seller: &str, model: &str, spellings: &[String], found: &mut Found) {
        for spelling in spellings {
            found.take(self.exact.get(&format!("{seller}/{spelling}")));
        }
        self.find_patterns(seller, model, found);
    }

    fn find_patterns(&self, seller: &str, model: &str, found: &mut Found) {
        for (_, entry) in self.patterns.iter().filter(|(p, _)| p.seller == seller && p.fits(model)) {
            found.take(Some(entry));
        }
    }
}

struct Found {
    entry: Entry,
    any: bool,
}

impl Found {
    fn take(&mut self, entry: Option<&Entry>) {
        if let Some(entry) = entry {
            self.entry.fill(entry);
            self.any = true;
        }
    }

    fn is_whole(&self) -> bool {
        self.entry.window.is_some() && self.entry.can.is_some() && !self.entry.prices.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn seller(name: &str, families: &[&str]) -> Seller {
        Seller { name: name.into(), families: families.iter().map(|f| (*f).to_owned()).collect() }
    }

    fn book(models: &[&str]) -> Book {
        let files = models.iter().map(|m| file::read(&format!(r#"{{"version":"t","models":{{{m}}}}}"#)).unwrap());
        Book::of(files.collect())
    }

    fn price(input: i64) -> String {
        format!(r#""prices":[{{"from":"2026-01-01","input":{input},"output":1}}]"#)
    }

    fn input(entry: Option<Entry>) -> Option<i64> {
        entry?.prices.first().map(|p| p.rates.input)
    }

    #[test]
    fn a_later_file_goes_first_and_leaves_what_it_does_not_say() {
        let book = book(&[
            &format!(r#""openai/gpt-x":{{"window":10,"can":["tools"],{}}}"#, price(1)),
            &format!(r#""openai/gpt-x":{{{}}}"#, price(2)),
        ]);
        let found = book.find(&seller("mine", &["openai"]), "gpt-x").unwrap();
        assert_eq!((found.window, found.prices[0].rates.input, found.prices.len()), (Some(10), 2, 1));
    }

    #[test]
    fn the_providers_own_name_goes_before_its_family() {
        let book = book(&[&format!(r#""openai/gpt-x":{{{}}},"mine/gpt-x":{{{}}}"#, price(1), price(2))]);
        assert_eq!(input(book.find(&seller("mine", &["openai"]), "gpt-x")), Some(2));
        assert_eq!(input(book.find(&seller("other", &["openai"]), "GPT-x-2026-01-01")), Some(1));
    }

    #[test]
    fn makers_prefixes_lead_to_the_makers_list() {
        let book =
            book(&[&format!(r#""anthropic/claude-x-4-5":{{"window":7,{}}},"openrouter/*:free":{{{}}}"#, price(3), price(0))]);
        let router = seller("openrouter", &["openrouter"]);
        assert_eq!(input(book.find(&router, "anthropic/claude-x-4.5")), Some(3));
        let free = book.find(&router, "anthropic/claude-x-4.5:free").unwrap();
        assert_eq!((free.prices[0].rates.input, free.window), (0, Some(7)));
    }

    #[test]
    fn a_price_holds_only_where_it_is_asked() {
        let book = book(&[&format!(r#""groq/llama-x":{{"window":7,"can":["tools"],{}}}"#, price(3))]);
        let found = book.find(&seller("local", &["openai"]), "meta/llama-x:8b").unwrap();
        assert_eq!((found.window, found.prices.len()), (Some(7), 0));
        let makers = self::book(&[&format!(r#""openai/gpt-x":{{"window":7,{}}}"#, price(3))]);
        assert_eq!(input(makers.find(&seller("local", &[]), "openai/gpt-x")), None);
        assert!(makers.find(&seller("local", &["openai"]), "unheard-of").is_none());
    }

    #[test]
    fn the_longest_pattern_goes_first() {
        let book = book(&[r#""*/gpt-4*":{"window":1},"*/gpt-4o*":{"window":2},"mine/*":{"window":3}"#]);
        let window = |name: &str, model: &str| book.find(&seller(name, &[]), model).and_then(|e| e.window);
        assert_eq!(window("x", "gpt-4-0613"), Some(1));
        assert_eq!(window("x", "openai/gpt-4o-mini"), Some(2));
        assert_eq!(window("mine", "gpt-4o-mini"), Some(3));
    }
}
