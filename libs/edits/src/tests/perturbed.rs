//! Thousands of edits of real files, written as models get them wrong. For each it is known what was meant: the result is
//! that, byte for byte, or a refusal. What the ladder is there for must also be accepted nearly always.

use std::cell::RefCell;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::*;

/// What is larger costs more than it tells.
const MAX_FILE: u64 = 20_000;

/// The texts of this repository: charts, code in several languages, documentation, settings.
pub(super) fn files() -> &'static [(String, String)] {
    static FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = Vec::new();
        for folder in ["docs", "gateway", "infra", "libs", "proto", "scripts", "services", "slipway", "tests"] {
            collect(&root.join(folder), &mut files);
        }
        files.sort();
        assert!(files.len() > 300, "{} files", files.len());
        files
    });
    &FILES
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    const KINDS: [&str; 17] =
        ["yaml", "yml", "tpl", "rs", "md", "proto", "py", "go", "ts", "js", "mjs", "java", "json", "toml", "sh", "tf", "sql"];
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !["target", "node_modules", ".git"].iter().any(|name| path.ends_with(name)) {
            collect(&path, files);
        }
        let known = path.extension().is_some_and(|e| KINDS.iter().any(|kind| e == *kind));
        if !known || !kind.is_file() || entry.metadata().unwrap().len() > MAX_FILE {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.lines().count() > 10 {
            files.push((path.file_name().unwrap().to_string_lossy().into_owned(), text));
        }
    }
}

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
    FileWithMark,
    FileInBoth,
    FileWithOpenEnd,
    OtherCase,
    LinesSwapped,
    OneLineDeeper,
    TwoBlanksWithin,
}

const TOLERABLE: [Wrong; 11] = [
    Wrong::Nothing,
    Wrong::EditInCrLf,
    Wrong::FileInCrLf,
    Wrong::TrailingBlanks,
    Wrong::Deeper,
    Wrong::LessDeep,
    Wrong::TabsForBlanks,
    Wrong::Elided,
    Wrong::FileWithMark,
    Wrong::FileInBoth,
    Wrong::FileWithOpenEnd,
];
const INTOLERABLE: [Wrong; 9] = [
    Wrong::OneCharacter,
    Wrong::CurlyQuotes,
    Wrong::LineLeftOut,
    Wrong::PlaceTwice,
    Wrong::WordsOfAnother,
    Wrong::OtherCase,
    Wrong::LinesSwapped,
    Wrong::OneLineDeeper,
    Wrong::TwoBlanksWithin,
];

impl Wrong {
    /// What is sought is no longer what is at the place; it may be at another.
    fn loses_its_place(self) -> bool {
        matches!(self, Wrong::LineLeftOut | Wrong::WordsOfAnother | Wrong::LinesSwapped | Wrong::OneCharacter | Wrong::OtherCase)
    }
}

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
    /// The line at which the place starts.
    start: usize,
    file: String,
    old: Vec<String>,
    new: Vec<String>,
    meant: String,
}

impl Case {
    fn of(draw: &Draw) -> Option<Case> {
        let (path, file) = &files()[draw.file.index(files().len())];
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
        Some(Case { path, start, file: close(lines), meant: close(meant), old, new })
    }

    /// True where the old lines are in the file just once, however they are indented.
    fn is_unique(&self) -> bool {
        let bare = |l: &str| l.trim().to_owned();
        let lines: Vec<String> = self.file.lines().map(bare).collect();
        let old: Vec<String> = self.old.iter().map(|l| bare(l)).collect();
        lines.windows(old.len()).filter(|there| *there == old).count() == 1
    }

    /// How many bytes lie before the place and behind it.
    fn around(&self) -> Option<(usize, usize)> {
        let lines: Vec<&str> = self.file.split_inclusive('\n').collect();
        let bytes = |lines: &[&str]| lines.iter().map(|line| line.len()).sum();
        Some((bytes(lines.get(..self.start)?), bytes(lines.get(self.start + self.old.len()..)?)))
    }

    /// True where what is sought now is somewhere word for word: then that is what was asked for.
    fn is_asked_for(&self) -> bool {
        let lines: Vec<&str> = self.file.lines().map(str::trim).collect();
        let old: Vec<&str> = self.old.iter().map(|l| l.trim()).collect();
        lines.windows(old.len().max(1)).any(|there| there == old)
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
            Wrong::FileWithMark => {
                self.file.insert(0, '\u{feff}');
                self.meant.insert(0, '\u{feff}');
            }
            Wrong::FileInBoth => {
                // Lines outside of the place end in two ways; what is put in its place ends as its neighbours do.
                let (head, tail) = self.around()?;
                let half = |text: &str| text.replace('\n', "\r\n");
                self.file = half(&self.file[..head]) + &self.file[head..];
                self.meant = half(&self.meant[..head]) + &self.meant[head..];
                (tail > 0 && head > 0).then_some(())?;
            }
            Wrong::FileWithOpenEnd => {
                let (_, tail) = self.around()?;
                (tail > 0).then_some(())?;
                self.file.pop();
                self.meant.pop();
            }
            Wrong::OtherCase => {
                let line = &mut self.old[at];
                let (place, letter) = line.char_indices().filter(|(_, c)| c.is_ascii_lowercase()).nth(draw.changed.index(5))?;
                line.replace_range(place..=place, &letter.to_ascii_uppercase().to_string());
            }
            Wrong::LinesSwapped => {
                let next = at + 1;
                let differ = next < self.old.len() && self.old[at].trim() != self.old[next].trim();
                differ.then(|| self.old.swap(at, next))?;
            }
            Wrong::OneLineDeeper => {
                let others = self.old.iter().enumerate().any(|(i, line)| i != at && !line.trim().is_empty());
                (others && !self.old[at].trim().is_empty()).then_some(())?;
                self.old[at].insert_str(0, "  ");
            }
            Wrong::TwoBlanksWithin => {
                let within = self.old[at].trim_start().find(' ')? + self.old[at].len() - self.old[at].trim_start().len();
                self.old[at].insert(within, ' ');
            }
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
                let (_, other) = &files()[(draw.file.index(files().len()) + 1) % files().len()];
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
        if case.go_wrong(wrong, &draw).is_none() || wrong.loses_its_place() && case.is_asked_for() {
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
        let count = judge(wrong, 400);
        assert!(count.made > 20, "{wrong:?}: {count:?}");
        // What is left of a place of which lines are left out is not always the only one of its kind.
        let expected = if wrong == Wrong::Elided { 80 } else { 95 };
        assert!(count.made * 100 >= (count.made + count.refused) * expected, "{wrong:?}: {count:?}");
    }
}

#[test]
fn what_could_be_meant_otherwise_is_refused_or_made_as_it_was_meant() {
    for wrong in INTOLERABLE {
        let count = judge(wrong, 400);
        assert!(count.refused > 20, "{wrong:?}: {count:?}");
    }
}

/// Models get more than one thing wrong at a time. However it goes, what is made is what was meant.
#[test]
fn two_mistakes_at_once_do_not_make_a_wrong_change() {
    let wrongs = [&TOLERABLE[..], &INTOLERABLE].concat();
    let pairs = (draws(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let config = Config { cases: 4_000, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..Config::default() };
    let count = RefCell::new(Count::default());
    let judged = TestRunner::new(config).run(&pairs, |(draw, first, second)| {
        let Some(mut case) = Case::of(&draw) else { return Ok(()) };
        let form = [Form::StrReplace, Form::SearchReplace, Form::Unified, Form::Patch][usize::from(draw.form)];
        let (first, second) = (*first.get(&wrongs), *second.get(&wrongs));
        // What is there twice is judged by itself, and a file has one kind of ends.
        let of_files = |wrong| matches!(wrong, Wrong::FileInCrLf | Wrong::FileInBoth | Wrong::PlaceTwice | Wrong::Elided);
        if first == second || of_files(first) || second == Wrong::PlaceTwice {
            return Ok(());
        }
        // What is left out in one way, and in the other not, is left out.
        if second == Wrong::Elided && INTOLERABLE.contains(&first) {
            return Ok(());
        }
        if case.go_wrong(first, &draw).is_none() || case.go_wrong(second, &draw).is_none() {
            return Ok(());
        }
        if (first.loses_its_place() || second.loses_its_place()) && case.is_asked_for() {
            return Ok(());
        }
        let both = if first == Wrong::EditInCrLf { first } else { second };
        let mut count = count.borrow_mut();
        match case.edits(both, form).and_then(|edits| make(case.path, &case.file, &edits)) {
            Ok(after) if after == case.meant => count.made += 1,
            Ok(after) => {
                let diff = similar::TextDiff::from_lines(&case.meant, &after).unified_diff().to_string();
                let what = format!("{form:?} {first:?} {second:?} {}\n{:?}\n{:?}\n{diff}", case.path, case.old, case.new);
                return Err(TestCaseError::fail(what));
            }
            Err(_) => count.refused += 1,
        }
        Ok(())
    });
    if let Err(error) = judged {
        panic!("{error}");
    }
    let count = count.into_inner();
    assert!(count.made > 200 && count.refused > 500, "{count:?}");
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
        if case.go_wrong(wrong, &draw).is_none() || wrong.loses_its_place() && case.is_asked_for() {
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
