//! From Go's regular expressions to ours: the few differences in syntax, and what an expression tells of its matches.

use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

// What most rules of gitleaks begin with. It only lengthens the match to the left, which costs much and decides nothing:
// it is cut off, and the match is lengthened afterwards.
const LEAD: &str = r"[\w.-]{0,50}?";
// What most rules of gitleaks want behind a secret. In logs, URLs and code other marks follow as well.
const END: &str = r#"(?:[\x60'"\s;]|\\[nr]|$)"#;
const WIDER_END: &str = r#"(?:[\x60'"\s;,&<>(){}\[\]|]|\\[nrt"\\]|[.:](?:\s|$)|$)"#;
const NFA_BYTES: usize = 64 << 20;
// How many beginnings of an expression are looked at, and how far.
const MAX_LEADS: usize = 256;
const LEAD_CHARS: usize = 24;

/// How the matches of an expression are found from where its keywords stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Every match begins with a keyword.
    AtKeyword,
    /// Every match holds a keyword and has at most so many bytes.
    Around(usize),
    /// Anything else: the whole text is searched.
    Everywhere,
}

/// An expression of a rule, translated but not compiled.
#[derive(Debug)]
pub(crate) struct Pattern {
    source: String,
    /// The match goes on to the left over the characters of a name.
    pub(crate) lengthened: bool,
}

impl Pattern {
    /// Translates an expression of Go's syntax.
    pub(crate) fn new(go: &str) -> Self {
        let (flags, rest) = go.strip_prefix("(?i)").map_or(("", go), |rest| ("(?i)", rest));
        let (lengthened, rest) = rest.strip_prefix(LEAD).map_or((false, rest), |rest| (true, rest));
        let source = translate(&format!("{flags}{rest}")).replace(END, WIDER_END);
        Self { source, lengthened }
    }

    /// Compiles it. Characters are bytes and classes ASCII, as in Go.
    pub(crate) fn compile(&self) -> Result<Regex, String> {
        meta::Builder::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(meta::Config::new().utf8_empty(false).nfa_size_limit(Some(NFA_BYTES)))
            .build(&self.source)
            .map_err(|e| e.syntax_error().map_or_else(|| e.to_string(), |e| e.to_string()))
    }

    /// How it is searched for, given keywords in lower case.
    pub(crate) fn search(&self, keywords: &[String]) -> Search {
        let Ok(hir) = ParserBuilder::new().unicode(false).utf8(false).build().parse(&self.source) else {
            return Search::Everywhere;
        };
        let begins = |lead: &Lead| keywords.iter().any(|k| lead.text.starts_with(k.as_bytes()));
        if leads(&hir).is_some_and(|leads| leads.iter().all(begins)) {
            return Search::AtKeyword;
        }
        match hir.properties().maximum_len() {
            Some(most) if most <= 1024 && holds(&hir, keywords) => Search::Around(most),
            _ => Search::Everywhere,
        }
    }
}

/// Go takes a brace that begins no repetition for itself, and knows no classes within classes.
fn translate(go: &str) -> String {
    let mut out = String::with_capacity(go.len() + 16);
    let mut rest = go;
    // Where in a class: `None` outside, else how many characters of it were seen.
    let mut class: Option<usize> = None;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (c, class) {
            ('\\', _) => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..taken]);
                class = class.map(|n| n + 1);
            }
            ('[', None) => {
                out.push('[');
                class = Some(0);
                if rest[1..].starts_with('^') {
                    out.push('^');
                    taken += 1;
                }
            }
            ('[', Some(n)) if rest.starts_with("[:") => {
                taken = rest.find(":]").map_or(taken, |end| end + 2);
                out.push_str(&rest[..taken]);
                class = Some(n + 1);
            }
            (']', Some(n)) if n > 0 => {
                out.push(']');
                class = None;
            }
            ('[' | ']' | '&' | '~', Some(n)) => {
                out.push('\\');
                out.push(c);
                class = Some(n + 1);
            }
            ('{', None) if !is_repetition(rest) => out.push_str("\\{"),
            _ => {
                out.push(c);
                class = class.map(|n| n + 1);
            }
        }
        rest = &rest[taken..];
    }
    out
}

fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())
}

/// A way in which a match can begin, in lower case.
#[derive(Clone)]
struct Lead {
    text: Vec<u8>,
    // The expression may go on right behind it.
    open: bool,
}

impl Lead {
    fn of(text: &[u8], open: bool) -> Self {
        Self { text: text.to_ascii_lowercase(), open: open && text.len() < LEAD_CHARS }
    }
}

/// All ways in which a match can begin; `None`: too many to say.
fn leads(hir: &Hir) -> Option<Vec<Lead>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Lead::of(b"", true)]),
        HirKind::Literal(literal) => Some(vec![Lead::of(&literal.0, true)]),
        HirKind::Class(class) => Some(match letters(class) {
            Some(letters) => letters.into_iter().map(|l| Lead::of(&[l], true)).collect(),
            None => vec![Lead::of(b"", false)],
        }),
        HirKind::Capture(capture) => leads(&capture.sub),
        HirKind::Repetition(repetition) => {
            let mut found = leads(&repetition.sub)?;
            if (repetition.min, repetition.max) != (1, Some(1)) {
                let once = repetition.max == Some(1);
                found.iter_mut().for_each(|lead| lead.open &= once);
            }
            if repetition.min == 0 {
                found.push(Lead::of(b"", true));
            }
            Some(found)
        }
        HirKind::Alternation(parts) => {
            let mut found = Vec::new();
            for part in parts {
                found.append(&mut leads(part)?);
            }
            (found.len() <= MAX_LEADS).then_some(found)
        }
        HirKind::Concat(parts) => {
            let mut found = vec![Lead::of(b"", true)];
            for part in parts {
                if found.iter().all(|lead| !lead.open) {
                    break;
                }
                let next = leads(part)?;
                let (open, mut closed): (Vec<_>, Vec<_>) = found.into_iter().partition(|lead| lead.open);
                for lead in &open {
                    closed.extend(next.iter().map(|n| Lead::of(&[lead.text.as_slice(), &n.text].concat(), n.open)));
                }
                found = closed;
                if found.len() > MAX_LEADS {
                    return None;
                }
            }
            Some(found)
        }
    }
}

/// True when every match holds one of the keywords in what the expression spells out.
fn holds(hir: &Hir, keywords: &[String]) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => holds(&capture.sub, keywords),
        HirKind::Repetition(repetition) => repetition.min > 0 && holds(&repetition.sub, keywords),
        HirKind::Alternation(parts) => parts.iter().all(|part| holds(part, keywords)),
        HirKind::Concat(parts) => parts.iter().any(|part| holds(part, keywords)) || spelled(parts, keywords),
        HirKind::Literal(_) | HirKind::Class(_) => spelled(std::slice::from_ref(hir), keywords),
        HirKind::Empty | HirKind::Look(_) => false,
    }
}

/// True when neighbours that each stand for one character, in whatever case, spell a keyword.
fn spelled(parts: &[Hir], keywords: &[String]) -> bool {
    let mut run = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => run.extend(literal.0.to_ascii_lowercase()),
            HirKind::Class(class) => match letters(class).as_deref() {
                Some([letter]) => run.push(*letter),
                _ => run.push(0),
            },
            _ => run.push(0),
        }
    }
    keywords.iter().any(|k| run.windows(k.len()).any(|w| w == k.as_bytes()))
}

/// The letters of a class without regard to case, if they are few.
fn letters(class: &Class) -> Option<Vec<u8>> {
    let mut found: Vec<u8> = match class {
        Class::Bytes(class) => class.iter().flat_map(|r| (r.start()..=r.end()).take(8)).collect(),
        Class::Unicode(class) if class.is_ascii() => {
            class.iter().flat_map(|r| (r.start()..=r.end()).take(8)).map(|c| c as u8).collect()
        }
        Class::Unicode(_) => return None,
    };
    found.iter_mut().for_each(u8::make_ascii_lowercase);
    found.sort_unstable();
    found.dedup();
    (found.len() <= 4).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_for_itself_is_escaped() {
        assert_eq!(translate(r"a{2,}{{x}}[^[a]{3}[]b][[:alnum:]&&]"), r"a{2,}\{\{x}}[^\[a]{3}[\]b][[:alnum:]\&\&]");
        assert_eq!(translate(r"\{\[[\]\w]"), r"\{\[[\]\w]");
    }

    #[test]
    fn the_search_follows_from_the_expression() {
        let keys = |k: &[&str]| k.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>();
        let search = |go: &str, k: &[&str]| Pattern::new(go).search(&keys(k));
        assert_eq!(search(r"\b((?:AKIA|ASIA)[A-Z]{16})\b", &["akia", "asia"]), Search::AtKeyword);
        assert_eq!(search(r"(?i)[\w.-]{0,50}?(?:passw(?:or)?d|key)=x", &["passwd", "password", "key"]), Search::AtKeyword);
        assert_eq!(search(r"[a-z]{3}\dq~[a-z]{30}", &["q~"]), Search::Around(36));
        assert_eq!(search(r"\b(pat[a-z]{14})\b", &["airtable"]), Search::Everywhere);
        assert_eq!(search(r"x.*key", &["key"]), Search::Everywhere);
    }
}
