//! Carries edits out on files, one after the other, and says of each what was done or why not.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::block::{Block, Edit, LastLine};
use super::elide;
use super::ladder::{self, Rung};
use super::nearest;
use super::path::check_path;
use super::prove::{self, Tail};
use super::refusal::Refusal;
use super::replace;
use super::text::{BOM, Endings, Splice, Text, is_blank, trim_end, unix};
use super::work::{MAX_WORK, Work};

/// The most bytes of a file that edits make.
pub const MAX_EDITED: usize = 3 << 20;

/// What was done for an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The file, by its name afterwards.
    pub path: String,
    /// How its place was found; the one that tolerates most where there were several.
    pub rung: Rung,
    /// The first and last line that it changed, from 1, in the file as it is then; none where no content changed, or none is left.
    pub lines: Option<(usize, usize)>,
    /// How many places it changed.
    pub places: usize,
}

/// What a file holds before and after an edit, where it is there.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Before.
    pub before: Option<&'a Bytes>,
    /// After.
    pub after: Option<&'a Bytes>,
}

/// What edits come to for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum Change {
    /// It gets this content.
    Write { path: String, content: Bytes },
    /// It goes.
    Delete { path: String },
    /// It gets another name.
    Rename { path: String, new_path: String },
}

impl Change {
    fn names(&self, wanted: &str) -> bool {
        match self {
            Change::Write { path, .. } | Change::Delete { path } => path == wanted,
            Change::Rename { path, new_path } => path == wanted || new_path == wanted,
        }
    }
}

/// What came of edits: all were made, or none.
#[derive(Clone, Debug)]
pub struct Batch {
    /// For each edit, in order, up to the first that was refused.
    pub outcomes: Vec<Result<Done, Refusal>>,
    /// The changes to files, in order; empty when an edit was refused.
    pub changes: Vec<Change>,
}

/// Carries edits out on the files that they name: each content, or none for a file that is not there. `tell` sees each edit
/// that was made with the contents, which are not kept.
pub fn apply(files: BTreeMap<String, Option<Bytes>>, edits: &[Edit], tell: &mut dyn FnMut(&Done, Step<'_>)) -> Batch {
    apply_within(files, edits, tell, &Work::new(MAX_WORK))
}

/// As [`apply`], with the work that it may be.
pub(super) fn apply_within(
    files: BTreeMap<String, Option<Bytes>>,
    edits: &[Edit],
    tell: &mut dyn FnMut(&Done, Step<'_>),
    work: &Work,
) -> Batch {
    let mut desk = Desk { files, changes: Vec::new(), tell, work };
    let mut outcomes = Vec::with_capacity(edits.len());
    for edit in edits {
        let outcome = desk.make(edit);
        let refused = outcome.is_err();
        outcomes.push(outcome);
        if refused {
            return Batch { outcomes, changes: Vec::new() };
        }
    }
    Batch { outcomes, changes: desk.changes }
}

struct Desk<'a> {
    files: BTreeMap<String, Option<Bytes>>,
    changes: Vec<Change>,
    tell: &'a mut dyn FnMut(&Done, Step<'_>),
    work: &'a Work,
}

/// What became of a text.
struct Written {
    after: String,
    rung: Rung,
    places: usize,
}

impl Desk<'_> {
    fn make(&mut self, edit: &Edit) -> Result<Done, Refusal> {
        for path in edit.paths() {
            check_path(path).map_err(Refusal::Path)?;
        }
        let path = edit.path();
        let before = self.find(path);
        if !before.as_ref().is_none_or(|content| self.work.spend(cost(content))) {
            return Err(Refusal::Exhausting);
        }
        match edit {
            Edit::Delete { lines, .. } => self.delete(path, before, lines.as_deref()),
            Edit::Rename { new_path, .. } => self.rename(path, before, new_path),
            Edit::Create { content, .. } if before.is_none() => self.write(path, None, whole(content)),
            Edit::Create { .. } => Err(Refusal::FileExists { path: path.to_owned() }),
            Edit::Write { content, .. } => {
                let text = before.as_ref().map(|content| as_text(path, content)).transpose()?;
                let written = text.map_or_else(|| Ok(whole(content)), |text| rewrite(text, content, self.work))?;
                self.write(path, before, written)
            }
            Edit::Patch { blocks, .. } if before.as_ref().is_none_or(|b| b.is_empty()) && fills(blocks) => {
                let content: String = blocks[0].adds().flat_map(|line| [line, "\n"]).collect();
                self.write(path, before, whole(&content))
            }
            Edit::Replace { .. } | Edit::Insert { .. } | Edit::Patch { .. } => {
                let Some(content) = before.clone() else { return Err(Refusal::NoFile { path: path.to_owned() }) };
                let written = change(edit, as_text(path, &content)?, self.work)?;
                self.write(path, before, written)
            }
        }
    }

    fn find(&self, path: &str) -> Option<Bytes> {
        self.files.get(path).cloned().flatten()
    }

    fn delete(&mut self, path: &str, before: Option<Bytes>, lines: Option<&[String]>) -> Result<Done, Refusal> {
        let Some(content) = before else { return Err(Refusal::NoFile { path: path.to_owned() }) };
        if let Some(lines) = lines {
            let file = Text::of(as_text(path, &content)?);
            let there = file.contents();
            if there.len() != lines.len() || there.iter().zip(lines).any(|(a, b)| trim_end(a) != trim_end(b)) {
                let olds: Vec<&str> = lines.iter().map(String::as_str).collect();
                let candidates = nearest::candidates(&olds, &there, self.work);
                return Err(Refusal::NotFound { path: path.to_owned(), candidates, already: None });
            }
        }
        self.files.insert(path.to_owned(), None);
        self.changes.push(Change::Delete { path: path.to_owned() });
        Ok(self.told(path, Some(&content), None, Rung::Exact, 1))
    }

    fn rename(&mut self, path: &str, before: Option<Bytes>, new_path: &str) -> Result<Done, Refusal> {
        let Some(content) = before else { return Err(Refusal::NoFile { path: path.to_owned() }) };
        if self.find(new_path).is_some() {
            return Err(Refusal::FileExists { path: new_path.to_owned() });
        }
        self.files.insert(path.to_owned(), None);
        self.files.insert(new_path.to_owned(), Some(content.clone()));
        self.changes.push(Change::Rename { path: path.to_owned(), new_path: new_path.to_owned() });
        Ok(self.told(new_path, Some(&content), Some(&content), Rung::Exact, 1))
    }

    fn write(&mut self, path: &str, before: Option<Bytes>, written: Written) -> Result<Done, Refusal> {
        let Written { after, rung, places } = written;
        if after.len() > MAX_EDITED {
            return Err(Refusal::TooLarge { path: path.to_owned(), bytes: after.len(), limit: MAX_EDITED });
        }
        if after.contains('\0') {
            return Err(Refusal::malformed(1, "the text holds a NUL character"));
        }
        let after = Bytes::from(after);
        if before.as_ref() == Some(&after) {
            return Err(Refusal::NothingChanges { path: path.to_owned() });
        }
        self.files.insert(path.to_owned(), Some(after.clone()));
        // What is written again is kept once.
        match self.changes.iter_mut().rev().find(|change| change.names(path)) {
            Some(Change::Write { content, .. }) => *content = after.clone(),
            _ => self.changes.push(Change::Write { path: path.to_owned(), content: after.clone() }),
        }
        Ok(self.told(path, before.as_ref(), Some(&after), rung, places))
    }

    fn told(&mut self, path: &str, before: Option<&Bytes>, after: Option<&Bytes>, rung: Rung, places: usize) -> Done {
        let nothing = Bytes::new();
        let lines = after.and_then(|after| changed_lines(before.unwrap_or(&nothing), after));
        let done = Done { path: path.to_owned(), rung, lines, places };
        (self.tell)(&done, Step { before, after });
        done
    }
}

/// What reading and writing a content costs: it is looked at several times, by its lines.
fn cost(content: &[u8]) -> u64 {
    let lines = content.iter().filter(|b| **b == b'\n').count();
    (content.len() / 64 + 4 * lines) as u64
}

/// The lines between what both contents begin and end with.
fn changed_lines(before: &[u8], after: &[u8]) -> Option<(usize, usize)> {
    if before == after {
        return None;
    }
    let (old, new): (Vec<&[u8]>, Vec<&[u8]>) =
        (before.split_inclusive(|b| *b == b'\n').collect(), after.split_inclusive(|b| *b == b'\n').collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    Some((head + 1, (new.len() - tail).max(head + 1)))
}

/// A content as text, if it is one.
pub fn as_text<'a>(path: &str, content: &'a Bytes) -> Result<&'a str, Refusal> {
    let unreadable = |why| Refusal::Unreadable { path: path.to_owned(), why };
    if content.len() > MAX_EDITED {
        return Err(Refusal::too_large(path));
    }
    if content.contains(&0) {
        return Err(unreadable("it holds a NUL character, so it is no text"));
    }
    std::str::from_utf8(content).map_err(|_| unreadable("it is not UTF-8 text"))
}

fn whole(content: &str) -> Written {
    Written { after: content.to_owned(), rung: Rung::Exact, places: 1 }
}

/// A patch that brings lines and finds none: the content of a file that is not there yet.
fn fills(blocks: &[Block]) -> bool {
    matches!(blocks, [block] if block.olds().is_empty() && !block.ops.is_empty())
}

/// A whole new content, with the byte order mark, the line ends and the end that the file has.
fn rewrite(before: &str, content: &str, work: &Work) -> Result<Written, Refusal> {
    let file = Text::of(before);
    let content = content.strip_prefix(BOM).unwrap_or(content);
    let news = Text::of(content);
    refuse_gaps(news.contents().into_iter(), &file, 1, work)?;
    let mut after = match file.endings() {
        Endings::Mixed => content.to_owned(),
        _ => file.with_my_endings(content),
    };
    if !after.is_empty() && file.len() > 0 && file.ends_with_newline() != after.ends_with('\n') {
        match file.ends_with_newline() {
            true => after.push_str(file.ending_at(file.len() - 1)),
            false => after.truncate(open(&after)),
        }
    }
    if before.starts_with(BOM) {
        after.insert_str(0, BOM);
    }
    Ok(Written { after, rung: Rung::Exact, places: 1 })
}

/// Added lines that say in words that something is left out, and are not in the file, would take the place of what they leave out.
fn refuse_gaps<'a>(added: impl Iterator<Item = &'a str>, file: &Text<'_>, said_at: usize, work: &Work) -> Result<(), Refusal> {
    let mut there: Option<HashSet<&str>> = None;
    for line in added.filter(|line| elide::is_worded(line)) {
        if there.is_none() && !work.spend(4 * file.len() as u64) {
            return Err(Refusal::Exhausting);
        }
        let there = there.get_or_insert_with(|| file.contents().into_iter().map(str::trim).collect());
        if !there.contains(line.trim()) {
            let what = format!("the new text leaves something out (`{}`); write it in full", line.trim());
            return Err(Refusal::malformed(said_at, what));
        }
    }
    Ok(())
}

fn change(edit: &Edit, before: &str, work: &Work) -> Result<Written, Refusal> {
    let file = Text::of(before);
    let path = edit.path();
    let (splices, rung, tail, last_line) = match edit {
        Edit::Replace { old, new, all, .. } => {
            let olds: HashSet<&str> = old.lines().collect();
            let gaps = new.lines().filter(|line| !olds.contains(line));
            refuse_gaps(gaps, &file, 1, work)?;
            let (splices, rung) = replace::replace(path, &file, old, new, *all, work)?;
            (splices, rung, Tail::Kept, LastLine::AsIs)
        }
        Edit::Insert { line, text, .. } => {
            (vec![insert(path, &file, *line, text, work)?], Rung::Exact, Tail::Kept, LastLine::AsIs)
        }
        Edit::Patch { blocks, .. } => patch(path, &file, blocks, work)?,
        _ => return Err(Refusal::Unproven { path: path.to_owned(), what: "it is no change of lines" }),
    };
    let after = file.apply(&splices);
    let unproven = |what| Refusal::Unproven { path: path.to_owned(), what };
    prove::check(&file, &after, &splices, tail).map_err(unproven)?;
    Ok(Written { after: end_as_told(after, last_line, &file), rung, places: splices.len() })
}

fn insert(path: &str, file: &Text<'_>, line: usize, text: &str, work: &Work) -> Result<Splice, Refusal> {
    if text.is_empty() {
        return Err(Refusal::NothingChanges { path: path.to_owned() });
    }
    if line > file.len() {
        return Err(Refusal::BeyondEnd { path: path.to_owned(), lines: file.len(), line });
    }
    refuse_gaps(text.lines(), file, 1, work)?;
    let text = unix(text);
    let lines: Vec<String> = text.strip_suffix('\n').unwrap_or(&text).split('\n').map(str::to_owned).collect();
    Ok(file.splice_lines(line..line, &lines))
}

type Patched = (Vec<Splice>, Rung, Tail, LastLine);

/// Every block is sought in the file as it was, so that none can be found in what another one brings.
fn patch(path: &str, file: &Text<'_>, blocks: &[Block], work: &Work) -> Result<Patched, Refusal> {
    let mut splices = Vec::new();
    let mut rung = Rung::Exact;
    let mut last_line = LastLine::AsIs;
    for block in blocks {
        if !block.changes() {
            return Err(Refusal::malformed(block.said_at, "it changes nothing"));
        }
        refuse_gaps(block.adds(), file, block.said_at, work)?;
        if block.olds().is_empty() && block.at_end {
            let added: Vec<String> = block.adds().map(str::to_owned).collect();
            splices.push(file.splice_lines(file.len()..file.len(), &added));
            continue;
        }
        let found = ladder::find(path, block, file, work)?;
        let fit = |line: &str| found.reindent.as_ref().map_or_else(|| Some(line.to_owned()), |rule| rule.fit(line));
        let changes = block.splices(file, &found.lines, fit).ok_or_else(|| nearest::not_found(path, block, file, work))?;
        if block.last_line != LastLine::AsIs {
            let rest = &file.contents()[found.end()..];
            if !rest.iter().all(|line| is_blank(line)) {
                return Err(Refusal::malformed(block.said_at, "it says how the file ends, and is not at its end"));
            }
            last_line = block.last_line;
        }
        splices.extend(changes);
        rung = rung.max(found.rung);
    }
    splices.sort_by_key(|s| (s.span.start, s.span.end));
    if splices.windows(2).any(|pair| pair[1].span.start < pair[0].span.end || pair[0].span == pair[1].span) {
        let said_at = blocks.first().map_or(1, |b| b.said_at);
        return Err(Refusal::malformed(said_at, "two of its parts change the same lines"));
    }
    let tail = if last_line == LastLine::AsIs { Tail::Kept } else { Tail::Told };
    Ok((splices, rung, tail, last_line))
}

fn end_as_told(mut after: String, last_line: LastLine, file: &Text<'_>) -> String {
    match last_line {
        LastLine::Closed if !after.is_empty() && !after.ends_with('\n') => {
            after.push_str(file.ending_at(file.len().saturating_sub(1)));
        }
        LastLine::Open => after.truncate(open(&after)),
        _ => {}
    }
    after
}

/// How long a text is without its last line end.
fn open(text: &str) -> usize {
    text.strip_suffix('\n').map_or(text.len(), |rest| rest.strip_suffix('\r').unwrap_or(rest).len())
}
