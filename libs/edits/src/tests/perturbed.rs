//! Thousands of edits of real files, written as models get them wrong. For each it is known what was meant: the result is
//! that, byte for byte, or a refusal. What the ladder is there for must also be accepted nearly always.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::*;

const FILES: [(&str, &str); 6] = [
    ("values.yaml", include_str!("../../../../infra/helm/slipway/values.yaml")),
    ("CONTRIBUTING.md", include_str!("../../../../CONTRIBUTING.md")),
    ("main_job.py", include_str!("../../../../tests/clients/python/main_job.py")),
    ("Makefile", include_str!("../../../../Makefile")),
    ("text.rs", include_str!("../text.rs")),
    ("indent.rs", include_str!("../indent.rs")),
];

/// How an edit is got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    EditInCrLf,
    FileInCrLf,
    TrailingBlanks,
    Deeper,
    LessDeep,
    TabsForBlanks,
    Elided,
    OneCharacter,
    CurlyQuotes,
    LineLeftOut,
    PlaceTwice,
    WordsOfAnother,
}

const TOLERABLE: [Wrong; 8] = [
    Wrong::Nothing,
    Wrong::EditInCrLf,
    Wrong::FileInCrLf,
    Wrong::TrailingBlanks,
    Wrong::Deeper,
    Wrong::LessDeep,
    Wrong::TabsForBlanks,
    Wrong::Elided,
];
const INTOLERABLE: [Wrong; 5] =
    [Wrong::OneCharacter, Wrong::CurlyQuotes, Wrong::LineLeftOut, Wrong::PlaceTwice, Wrong::WordsOfAnother];

/// How it is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    StrReplace,
    SearchReplace,
    Unified,
    Patch,
}

/// One edit: the draws that it is made of.
#[derive(Clone, Copy, Debug)]
struct Draw {
    file: prop::sample::Index,
    start: prop::sample::Index,
    len: usize,
    changed: prop::sample::Index,
    at: prop::sample::Index,
    kind: u8,
    form: u8,
}

fn draws() -> impl Strategy<Value = Draw> {
    let index = || any::<prop::sample::Index>();
    (index(), index(), 2..9_usize, index(), index(), 0..3_u8, 0..4_u8)
        .prop_map(|(file, start, len, changed, at, kind, form)| Draw { file, start, len, changed, at, kind, form })
}

/// A file, the lines that are sought in it, the lines that are to be there, and what the file is to be.
struct Case {
    path: &'static str,
    file: String,
    old: Vec<String>,
    new: Vec<String>,
    meant: String,
}

impl Case {
    fn of(draw: &Draw) -> Option<Case> {
        let (path, file) = FILES[draw.file.index(FILES.len())];
        let lines: Vec<&str> = file.lines().collect();
        let len = draw.len.min(lines.len());
        let start = draw.start.index(lines.len() - len + 1);
        let old: Vec<String> = lines[start..start + len].iter().map(|l| (*l).to_owned()).collect();
        // A place that starts or ends with nothing is no place that anybody names.
        if old.first()?.trim().is_empty() || old.last()?.trim().is_empty() {
            return None;
        }
        let mut new = old.clone();
        let at = draw.changed.index(len);
        let indent = &old[at][..old[at].len() - old[at].trim_start().len()];
        match draw.kind {
            0 => new[at].push_str(" changed"),
            1 => new.insert(at + 1, format!("{indent}added")),
            _ => drop(new.remove(at)),
        }
        let meant = [&lines[..start], &new.iter().map(String::as_str).collect::<Vec<_>>(), &lines[start + len..]].concat();
        let close = |lines: Vec<&str>| lines.iter().flat_map(|l| [*l, "\n"]).collect::<String>();
        Some(Case { path, file: close(lines), meant: close(meant), old, new })
    }

    /// True where the old lines are in the file just once, however they are indented.
    fn is_unique(&self) -> bool {
        let bare = |l: &str| l.trim().to_owned();
        let lines: Vec<String> = self.file.lines().map(bare).collect();
        let old: Vec<String> = self.old.iter().map(|l| bare(l)).collect();
        lines.windows(old.len()).filter(|there| *there == old).count() == 1
    }

    /// `None` when it cannot be got wrong in this way.
    fn go_wrong(&mut self, wrong: Wrong, draw: &Draw) -> Option<()> {
        let at = draw.at.index(self.old.len());
        let both = |case: &mut Case, change: fn(&str) -> Option<String>| {
            for lines in [&mut case.old, &mut case.new] {
                *lines =
                    lines.iter().map(|l| if l.is_empty() { Some(String::new()) } else { change(l) }).collect::<Option<_>>()?;
            }
            Some(())
        };
        match wrong {
            Wrong::Nothing | Wrong::EditInCrLf => {}
            Wrong::FileInCrLf => {
                self.file = self.file.replace('\n', "\r\n");
                self.meant = self.meant.replace('\n', "\r\n");
            }
            Wrong::TrailingBlanks => {
                let line = self.old[at].clone();
                if self.old.iter().filter(|l| **l == line).count() > 1 {
                    return None;
                }
                self.old[at].push_str("  ");
                // Whoever copies a line wrongly copies it twice.
                if let Some(same) = self.new.iter_mut().find(|l| **l == line) {
                    same.push_str("  ");
                }
            }
            Wrong::Deeper => both(self, |l| Some(format!("    {l}")))?,
            Wrong::LessDeep => both(self, |l| l.strip_prefix("  ").map(str::to_owned))?,
            Wrong::TabsForBlanks => both(self, |l| {
                let blanks = l.len() - l.trim_start_matches(' ').len();
                (blanks % 2 == 0).then(|| format!("{}{}", "\t".repeat(blanks / 2), &l[blanks..]))
            })?,
            Wrong::Elided => {
                // The first two and the last two lines stay; the change must be in one of them.
                let (old, new) = (&self.old, &self.new);
                let middle = old.get(2..old.len().checked_sub(2)?).filter(|m| m.len() >= 2)?.to_vec();
                let head = new.windows(middle.len()).position(|w| w == middle)?;
                self.new = [&new[..head], &["...".to_owned()], &new[head + middle.len()..]].concat();
                self.old = [&old[..2], &["...".to_owned()], &old[old.len() - 2..]].concat();
            }
            Wrong::OneCharacter => {
                let line = &mut self.old[at];
                let (place, letter) = line.char_indices().filter(|(_, c)| c.is_alphanumeric()).nth(draw.changed.index(3))?;
                line.replace_range(place..place + letter.len_utf8(), if letter == 'q' { "w" } else { "q" });
            }
            Wrong::CurlyQuotes => {
                let curly = |l: &String| l.replace(['"', '\''], "\u{2019}");
                let old: Vec<String> = self.old.iter().map(curly).collect();
                if old == self.old {
                    return None;
                }
                self.new = self.new.iter().map(curly).collect();
                self.old = old;
            }
            Wrong::LineLeftOut => {
                if at == 0 || at + 1 == self.old.len() || self.old[at].trim().is_empty() {
                    return None;
                }
                self.old.remove(at);
            }
            Wrong::PlaceTwice => self.file.extend(self.old.iter().flat_map(|l| [l.as_str(), "\n"])),
            Wrong::WordsOfAnother => {
                let (_, other) = FILES[(draw.file.index(FILES.len()) + 1) % FILES.len()];
                self.old[at] = other.lines().filter(|l| l.trim().len() > 3).nth(draw.changed.index(20))?.to_owned();
            }
        }
        Some(())
    }

    /// The edits, by way of the text in which they are written.
    fn edits(&self, wrong: Wrong, form: Form) -> Result<Vec<Edit>, Refusal> {
        let end = if wrong == Wrong::EditInCrLf { "\r\n" } else { "\n" };
        let join = |lines: &[String]| lines.iter().flat_map(|l| [l.as_str(), end]).collect::<String>();
        let (path, old, new) = (self.path, join(&self.old), join(&self.new));
        let hunk: String = similar::TextDiff::from_slices(&slices(&self.old), &slices(&self.new))
            .iter_all_changes()
            .map(|change| format!("{}{}{end}", change.tag(), change.value()))
            .collect();
        match form {
            Form::StrReplace => Ok(vec![replace(path, &old, &new)]),
            Form::SearchReplace => {
                let text = format!("{path}{end}<<<<<<< SEARCH{end}{old}======={end}{new}>>>>>>> REPLACE{end}");
                read(Format::SearchReplace, None, &text)
            }
            Form::Unified => {
                let text = format!("--- a/{path}{end}+++ b/{path}{end}@@ -9999,7 +3 @@{end}{hunk}");
                read(Format::UnifiedDiff, None, &text)
            }
            Form::Patch => {
                let text = format!("*** Begin Patch{end}*** Update File: {path}{end}@@{end}{hunk}*** End Patch{end}");
                read(Format::ApplyPatch, None, &text)
            }
        }
    }
}

fn slices(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

/// How many edits were made, and how many refused.
#[derive(Debug, Default)]
struct Count {
    made: usize,
    refused: usize,
}

fn judge(wrong: Wrong, cases: u32) -> Count {
    let count = RefCell::new(Count::default());
    let config = Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Config::default() };
    let judged = TestRunner::new(config).run(&draws(), |draw| {
        let Some(mut case) = Case::of(&draw) else { return Ok(()) };
        let form = [Form::StrReplace, Form::SearchReplace, Form::Unified, Form::Patch][usize::from(draw.form)];
        let unique = case.is_unique();
        if case.go_wrong(wrong, &draw).is_none() {
            return Ok(());
        }
        let after = case.edits(wrong, form).and_then(|edits| make(case.path, &case.file, &edits));
        let mut count = count.borrow_mut();
        match after {
            Ok(after) if wrong == Wrong::PlaceTwice => Err(TestCaseError::fail(format!("there were two places:\n{after}"))),
            Ok(after) if after == case.meant => {
                count.made += 1;
                Ok(())
            }
            Ok(after) => {
                let diff = similar::TextDiff::from_lines(&case.meant, &after).unified_diff().to_string();
                Err(TestCaseError::fail(format!(
                    "{form:?} {wrong:?}: not what was meant\n{:?}\n{:?}\n{diff}",
                    case.old, case.new
                )))
            }
            Err(_) => {
                // Where there are several such places, a refusal is what is right.
                count.refused += usize::from(unique);
                Ok(())
            }
        }
    });
    if let Err(error) = judged {
        panic!("{wrong:?}: {error}");
    }
    count.into_inner()
}

#[test]
fn what_the_ladder_tolerates_is_made_and_nothing_else_is_changed() {
    for wrong in TOLERABLE {
        let count = judge(wrong, 500);
        assert!(count.made > 20, "{wrong:?}: {count:?}");
        // What is left of a place of which lines are left out is not always the only one of its kind.
        let expected = if wrong == Wrong::Elided { 80 } else { 95 };
        assert!(count.made * 100 >= (count.made + count.refused) * expected, "{wrong:?}: {count:?}");
    }
}

#[test]
fn what_could_be_meant_otherwise_is_refused_or_made_as_it_was_meant() {
    for wrong in INTOLERABLE {
        let count = judge(wrong, 500);
        assert!(count.refused > 20, "{wrong:?}: {count:?}");
    }
}

#[test]
#[ignore = "a minute long"]
fn fuzz_edits_for_a_minute() {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let config = Config { failure_persistence: None, ..Config::default() };
    let text = prop_oneof![
        "\\PC*",
        "(<<<<<<< SEARCH|=======|>>>>>>> REPLACE|@@|[-+ ]a|--- a/f|\\+\\+\\+ b/f|\\*\\*\\* Begin Patch|```|f|\n){0,40}"
    ];
    while std::time::Instant::now() < end {
        let read_all = |(text, file): (String, String)| {
            if let Ok(edits) = read(Format::Auto, Some("f"), &text) {
                let _ = make("f", &file, &edits);
            }
            Ok(())
        };
        TestRunner::new(config.clone()).run(&(text.clone(), "(a|b| a|\n|\r\n){0,30}"), read_all).unwrap();
        for wrong in TOLERABLE.into_iter().chain(INTOLERABLE) {
            judge_any(wrong);
        }
    }
}

/// As [`judge`], with draws of its own.
fn judge_any(wrong: Wrong) {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let judged = TestRunner::new(config).run(&draws(), |draw| {
        let Some(mut case) = Case::of(&draw) else { return Ok(()) };
        let form = [Form::StrReplace, Form::SearchReplace, Form::Unified, Form::Patch][usize::from(draw.form)];
        if case.go_wrong(wrong, &draw).is_none() {
            return Ok(());
        }
        let after = case.edits(wrong, form).and_then(|edits| make(case.path, &case.file, &edits));
        match after {
            Ok(after) if after != case.meant || wrong == Wrong::PlaceTwice => {
                Err(TestCaseError::fail("a write in a wrong place"))
            }
            _ => Ok(()),
        }
    });
    judged.unwrap();
}
