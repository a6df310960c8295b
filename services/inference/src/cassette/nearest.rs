//! The recording that comes nearest to a request that has none, and where the two part.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use similar::{DiffTag, TextDiff};

// A comparison that takes longer is good enough as far as it came.
const COMPARE_FOR: Duration = Duration::from_millis(50);
const SHOWN: usize = 80;
// Characters before the difference that are shown with it.
const BEFORE: usize = 24;

/// Where two requests part first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    place: String,
    recorded: Option<String>,
    asked: Option<String>,
}

/// How near a recording is.
#[derive(Debug)]
pub(super) struct Nearness {
    /// 0 to 1; 1 is the same.
    pub(super) ratio: f32,
    /// Where they part first.
    pub(super) difference: Option<Difference>,
}

/// Compares a recorded request with the one that was asked, line by line: a line is a value with its place.
pub(super) fn compare(recorded: &Value, asked: &Value) -> Nearness {
    let (recorded, asked) = (lines(recorded), lines(asked));
    let old: Vec<&str> = recorded.iter().map(|l| l.whole.as_str()).collect();
    let new: Vec<&str> = asked.iter().map(|l| l.whole.as_str()).collect();
    let diff = TextDiff::configure().timeout(COMPARE_FOR).diff_slices(&old, &new);
    let Some(op) = diff.ops().iter().find(|op| op.tag() != DiffTag::Equal) else {
        return Nearness { ratio: 1.0, difference: None };
    };
    let at = |lines: &[Line], range: std::ops::Range<usize>| (!range.is_empty()).then(|| lines[range.start].clone());
    let (old, new) = (at(&recorded, op.old_range()), at(&asked, op.new_range()));
    let (within, difference) = part(old, new);
    // Of two with as many equal lines the one whose first other line is more alike is nearer.
    let lines = recorded.len().max(asked.len()).max(1) as f32;
    Nearness { ratio: (diff.ratio() + within / lines).min(0.999), difference: Some(difference) }
}

fn part(old: Option<Line>, new: Option<Line>) -> (f32, Difference) {
    let place = new.as_ref().or(old.as_ref()).map(|l| l.place.clone()).unwrap_or_default();
    match (old, new) {
        (Some(old), Some(new)) if old.place == new.place => {
            let ratio = TextDiff::configure().timeout(COMPARE_FOR).diff_chars(old.text(), new.text()).ratio();
            let same = old.text().chars().zip(new.text().chars()).take_while(|(a, b)| a == b).count();
            let (recorded, asked) = (excerpt(old.text(), same), excerpt(new.text(), same));
            (ratio, Difference { place, recorded: Some(recorded), asked: Some(asked) })
        }
        (old, Some(new)) if old.is_none() => (0.0, Difference { place, recorded: None, asked: Some(excerpt(new.text(), 0)) }),
        (Some(old), _) => {
            let place = old.place.clone();
            (0.0, Difference { place, recorded: Some(excerpt(old.text(), 0)), asked: None })
        }
        (None, _) => (0.0, Difference { place, recorded: None, asked: None }),
    }
}

// The part of a long line where the two begin to differ.
fn excerpt(text: &str, same: usize) -> String {
    let skipped = same.saturating_sub(BEFORE);
    let mut shown: String = text.chars().skip(skipped).take(SHOWN).collect();
    if skipped > 0 {
        shown.insert(0, '…');
    }
    if text.chars().count() > skipped + SHOWN {
        shown.push('…');
    }
    shown
}

#[derive(Clone)]
struct Line {
    place: String,
    // The place, a tab, the text: what is compared.
    whole: String,
}

impl Line {
    fn new(place: String, text: &str) -> Self {
        let whole = format!("{place}\t{text}");
        Self { place, whole }
    }

    fn text(&self) -> &str {
        self.whole.get(self.place.len() + 1..).unwrap_or_default()
    }
}

/// A document as lines. A text of several lines is several, all with the text's place, so that a line that was put in does
/// not make all that follow differ.
fn lines(value: &Value) -> Vec<Line> {
    fn walk(place: &str, value: &Value, into: &mut Vec<Line>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    walk(&place, value, into);
                }
            }
            Value::Array(items) => {
                for (n, value) in items.iter().enumerate() {
                    walk(&format!("{place}[{n}]"), value, into);
                }
            }
            Value::String(text) if text.contains('\n') => {
                into.extend(text.split('\n').map(|line| Line::new(place.to_owned(), line)));
            }
            Value::String(text) => into.push(Line::new(place.to_owned(), text)),
            other => into.push(Line::new(place.to_owned(), &other.to_string())),
        }
    }
    let mut all = Vec::new();
    walk("", value, &mut all);
    all
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, recorded, asked } = self;
        match (recorded, asked) {
            (Some(recorded), Some(asked)) => write!(f, "{place}: recorded {recorded:?}, asked {asked:?}"),
            (Some(recorded), None) => write!(f, "{place}: recorded {recorded:?}, not asked"),
            (None, Some(asked)) => write!(f, "{place}: asked {asked:?}, not recorded"),
            (None, None) => f.write_str(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(system: &str, user: &str) -> Value {
        json!({"model": "m", "messages": [{"role": "system", "text": system}, {"role": "user", "text": user}]})
    }

    #[test]
    fn the_first_difference_is_named_with_both_sides() {
        let near = compare(&asked("be brief", "list the pods"), &asked("be brief", "list the nodes"));
        let shown = near.difference.unwrap().to_string();
        assert_eq!(shown, "messages[1].text: recorded \"list the pods\", asked \"list the nodes\"");
        assert!(near.ratio < 1.0);
    }

    #[test]
    fn a_line_more_is_one_difference() {
        let (short, long) = (asked("a\nb\nc\nd", "x"), asked("a\nb\nnew\nc\nd", "x"));
        let near = compare(&short, &long);
        assert_eq!(near.difference.unwrap().to_string(), "messages[0].text: asked \"new\", not recorded");
        let back = compare(&long, &short);
        assert_eq!(back.difference.unwrap().to_string(), "messages[0].text: recorded \"new\", not asked");
        assert!(near.ratio > 0.8, "{}", near.ratio);
    }

    #[test]
    fn nearer_is_more_alike() {
        let question = asked("be brief", "list the nodes of the cluster");
        let near = compare(&asked("be brief", "list the pods of the cluster"), &question);
        let far = compare(&asked("be brief", "write me a poem"), &question);
        let farther = compare(&asked("be long", "write me a poem"), &question);
        assert!(near.ratio > far.ratio && far.ratio > farther.ratio, "{near:?} {far:?} {farther:?}");
        assert_eq!(compare(&question, &question).ratio, 1.0);
    }

    #[test]
    fn a_long_line_is_shown_where_it_differs() {
        let long = "word ".repeat(200);
        let shown = compare(&asked("", &format!("{long}one")), &asked("", &format!("{long}two"))).difference.unwrap().to_string();
        assert!(shown.contains("one\"") && shown.contains("two\"") && shown.len() < 200, "{shown}");
    }
}
