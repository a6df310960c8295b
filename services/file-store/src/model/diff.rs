//! Differences between two revisions: which files, and for each the unified text that `git apply` takes and the same in
//! structure.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Instant;

use similar::{Algorithm, DiffOp, DiffTag, capture_diff_deadline, group_diff_ops};

use super::{FileEntry, Manifest, Rename};

/// A difference longer than this is shown as binary.
const MAX_UNIFIED: usize = 1 << 20;
/// The most lines between the first and the last change; more would not fit into memory for little use.
const MAX_LINES: usize = 2_000_000;

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileStatus {
    Added,
    Modified,
    Deleted,
    Renamed,
}

/// A file that differs: its entries on both sides. The older one of a renamed file has another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed<'a> {
    pub(crate) path: &'a str,
    pub(crate) old: Option<&'a FileEntry>,
    pub(crate) new: Option<&'a FileEntry>,
    /// Of a renamed file, in percent.
    pub(crate) similarity: Option<u32>,
}

/// One side of a file's difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) content: &'a [u8],
    pub(crate) executable: bool,
}

/// The difference of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileDiff {
    pub(crate) path: String,
    /// Of a renamed file: its name before, and how much of it is the same.
    pub(crate) renamed: Option<(String, u32)>,
    pub(crate) status: FileStatus,
    /// Empty when binary.
    pub(crate) unified: String,
    pub(crate) hunks: Vec<Hunk>,
    pub(crate) binary: bool,
    pub(crate) additions: u32,
    pub(crate) deletions: u32,
}

impl FileDiff {
    /// What is shown of files whose difference is not.
    pub(crate) fn binary(changed: &Changed<'_>) -> Self {
        Self::new(&changed.names(), changed.old.is_some(), changed.new.is_some())
    }

    /// A file that has another name, and maybe another mode, and the same content.
    pub(crate) fn moved(changed: &Changed<'_>) -> Self {
        let side = |entry: Option<&FileEntry>| entry.map(|e| Side { content: &[], executable: e.executable });
        let unified = file_header(&changed.names(), side(changed.old), side(changed.new));
        Self { unified, binary: false, ..Self::binary(changed) }
    }

    fn new(names: &Names, old: bool, new: bool) -> Self {
        let status = match (old, new) {
            (false, _) => FileStatus::Added,
            (_, false) => FileStatus::Deleted,
            _ if names.similarity.is_some() => FileStatus::Renamed,
            _ => FileStatus::Modified,
        };
        let (unified, hunks) = (String::new(), Vec::new());
        let renamed = names.similarity.map(|similarity| (names.old.clone(), similarity));
        Self { path: names.new.clone(), renamed, status, unified, hunks, binary: true, additions: 0, deletions: 0 }
    }

    /// At most how many bytes it takes in a message.
    pub(crate) fn weight(&self) -> usize {
        let field = |text: &str| if text.is_empty() { 0 } else { text.len() + if text.len() < 128 { 2 } else { 5 } };
        let line = |line: &DiffLine| {
            let inner = 2 + field(&line.text) + if line.no_newline { 2 } else { 0 };
            inner + if inner < 128 { 2 } else { 5 }
        };
        let hunk = |hunk: &Hunk| 32 + hunk.lines.iter().map(line).sum::<usize>();
        let old_path = self.renamed.as_ref().map_or(0, |(path, _)| field(path));
        64 + old_path + field(&self.path) + field(&self.unified) + self.hunks.iter().map(hunk).sum::<usize>()
    }
}

/// A run of changed lines with those around them. Starts count from 1; 0 where a side has no lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hunk {
    pub(crate) old_start: u32,
    pub(crate) old_lines: u32,
    pub(crate) new_start: u32,
    pub(crate) new_lines: u32,
    pub(crate) lines: Vec<DiffLine>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Context,
    Added,
    Removed,
}

/// One line of a hunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiffLine {
    pub(crate) kind: LineKind,
    /// Without its `\n`; a `\r` before that is part of the text.
    pub(crate) text: String,
    pub(crate) no_newline: bool,
}

/// What a file is called on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    old: String,
    new: String,
    /// When they differ, in percent.
    similarity: Option<u32>,
}

impl Names {
    /// The same on both sides.
    pub(crate) fn same(path: &str) -> Self {
        Self { old: path.to_owned(), new: path.to_owned(), similarity: None }
    }
}

impl Changed<'_> {
    pub(crate) fn names(&self) -> Names {
        let old = self.old.map_or(self.path, |entry| &entry.path);
        Names { old: old.to_owned(), new: self.path.to_owned(), similarity: self.similarity }
    }
}

/// The files that differ, by path. Those that were renamed are one file, under the new name.
pub(crate) fn changed_files<'a>(old: &'a Manifest, new: &'a Manifest, renames: &'a [Rename]) -> Vec<Changed<'a>> {
    let gone: HashSet<&str> = renames.iter().map(|rename| rename.from.path.as_str()).collect();
    let by_new: HashMap<&str, &Rename> = renames.iter().map(|rename| (rename.to.path.as_str(), rename)).collect();
    let mut changed = differing_paths(old, new);
    changed.retain(|file| file.new.is_some() || !gone.contains(file.path));
    for file in changed.iter_mut().filter(|file| file.old.is_none()) {
        if let Some(rename) = by_new.get(file.path) {
            (file.old, file.similarity) = (Some(&rename.from), Some(rename.similarity));
        }
    }
    changed
}

fn differing_paths<'a>(old: &'a Manifest, new: &'a Manifest) -> Vec<Changed<'a>> {
    let mut changed = Vec::new();
    let (mut olds, mut news) = (old.entries().iter().peekable(), new.entries().iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return changed,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(o), Some(n)) => o.path.cmp(&n.path),
        };
        let o = if order.is_le() { olds.next() } else { None };
        let n = if order.is_ge() { news.next() } else { None };
        if let Some(path) = n.or(o).map(|e| e.path.as_str()).filter(|_| o != n) {
            changed.push(Changed { path, old: o, new: n, similarity: None });
        }
    }
}

/// Larger files are not compared, however little they differ.
const MAX_COMPARED: u64 = 64 << 20;

/// True when the sizes alone say that the difference passes its limit, so that nobody needs to read the files.
pub(crate) fn too_large_to_diff(changed: &Changed<'_>) -> bool {
    let size = |e: Option<&FileEntry>| e.map_or(0, |e| e.size);
    let (old, new) = (size(changed.old), size(changed.new));
    old.abs_diff(new) > MAX_UNIFIED as u64 || old.max(new) > MAX_COMPARED
}

/// The difference of one file. After `deadline` it is still right, but no longer the shortest.
pub(crate) fn diff_file(
    names: &Names,
    old: Option<Side<'_>>,
    new: Option<Side<'_>>,
    context: usize,
    deadline: Option<Instant>,
) -> FileDiff {
    let mut diff = FileDiff::new(names, old.is_some(), new.is_some());
    let (Some(old_text), Some(new_text)) = (text(old), text(new)) else { return diff };
    let Some(window) = Window::new(old_text, new_text, context) else { return diff };

    if old_text == new_text {
        diff.unified = file_header(names, old, new);
        diff.binary = false;
        return diff;
    }
    let ops = window.ops(deadline);
    for op in &ops {
        if op.tag() != DiffTag::Equal {
            diff.deletions += count(op.old_range().len());
            diff.additions += count(op.new_range().len());
        }
    }
    diff.unified = file_header(names, old, new);
    diff.unified.push_str(&name_header("---", "a", &names.old, old.is_some()));
    diff.unified.push_str(&name_header("+++", "b", &names.new, new.is_some()));
    for group in group_diff_ops(ops, context) {
        window.write_hunk(&group, &mut diff);
        if diff.unified.len() > MAX_UNIFIED {
            diff.unified.clear();
            diff.hunks.clear();
            return diff;
        }
    }
    diff.binary = false;
    diff
}

/// A side's text: UTF-8 without NUL, as git has it. A side that does not exist has none.
fn text(side: Option<Side<'_>>) -> Option<&str> {
    let Some(side) = side else { return Some("") };
    if side.content.contains(&0) {
        return None;
    }
    std::str::from_utf8(side.content).ok()
}

/// The lines from the first change to the last, with those around them.
struct Window<'a> {
    /// How many equal lines come before.
    skipped: usize,
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    /// How many lines at the start are equal.
    lead: usize,
    /// How many lines at the end are equal.
    trail: usize,
}

impl<'a> Window<'a> {
    /// `None` when there are too many lines.
    fn new(old: &'a str, new: &'a str, context: usize) -> Option<Self> {
        let shared = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
        let changed = line_start(old, shared);
        let mut start = changed;
        for _ in 0..context.min(changed) {
            start = line_start(old, start.saturating_sub(1));
        }
        // What both end with and is not part of what they start with.
        let (old_rest, new_rest) = (&old[start..], &new[start..]);
        let most = old_rest.len().min(new_rest.len()) - (shared - start);
        let same = old_rest.bytes().rev().zip(new_rest.bytes().rev()).take_while(|(a, b)| a == b);
        let tail = &old_rest.as_bytes()[old_rest.len() - same.take(most).count()..];
        // It may start within a changed line; after that come the lines that are equal.
        let mut ends = tail.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
        let first = ends.next().unwrap_or(tail.len());
        let last = if context == 0 { first } else { ends.nth(context - 1).unwrap_or(tail.len()) };
        let cut = tail.len() - last;
        Some(Self {
            skipped: count_lines(&old.as_bytes()[..start]),
            lead: count_lines(&old.as_bytes()[start..changed]),
            trail: count_lines(&tail[first..last]),
            old: lines(&old_rest[..old_rest.len() - cut])?,
            new: lines(&new_rest[..new_rest.len() - cut])?,
        })
    }

    /// Compares what lies between the equal lines. Since only that is compared, no change moves to where its context ends.
    fn ops(&self, deadline: Option<Instant>) -> Vec<DiffOp> {
        let old_end = self.old.len() - self.trail;
        let new_end = self.new.len() - self.trail;
        let core = capture_diff_deadline(
            Algorithm::Myers,
            self.old.as_slice(),
            self.lead..old_end,
            self.new.as_slice(),
            self.lead..new_end,
            deadline,
        );
        let lead = DiffOp::Equal { old_index: 0, new_index: 0, len: self.lead };
        let trail = DiffOp::Equal { old_index: old_end, new_index: new_end, len: self.trail };
        let mut ops: Vec<DiffOp> = Vec::with_capacity(core.len() + 2);
        for op in [lead].into_iter().chain(core).chain([trail]) {
            match (ops.last_mut(), op) {
                (_, DiffOp::Equal { len: 0, .. }) => {}
                (Some(DiffOp::Equal { len, .. }), DiffOp::Equal { len: more, .. }) => *len += more,
                _ => ops.push(op),
            }
        }
        ops
    }

    fn write_hunk(&self, group: &[DiffOp], diff: &mut FileDiff) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
        let old = first.old_range().start..last.old_range().end;
        let new = first.new_range().start..last.new_range().end;
        let header = format!("@@ -{} +{} @@\n", self.unified_range(&old), self.unified_range(&new));
        diff.unified.push_str(&header);
        let start = |range: &Range<usize>| if range.is_empty() { 0 } else { count(self.skipped + range.start + 1) };
        let mut hunk = Hunk {
            old_start: start(&old),
            old_lines: count(old.len()),
            new_start: start(&new),
            new_lines: count(new.len()),
            lines: Vec::new(),
        };
        for op in group {
            if op.tag() == DiffTag::Equal {
                put_lines(&self.old[op.old_range()], LineKind::Context, &mut hunk, &mut diff.unified);
                continue;
            }
            put_lines(&self.old[op.old_range()], LineKind::Removed, &mut hunk, &mut diff.unified);
            put_lines(&self.new[op.new_range()], LineKind::Added, &mut hunk, &mut diff.unified);
        }
        diff.hunks.push(hunk);
    }

    /// A range as the unified format has it: an empty one names the line before.
    fn unified_range(&self, range: &Range<usize>) -> String {
        let start = self.skipped + range.start + usize::from(!range.is_empty());
        format!("{start},{}", range.len())
    }
}

fn put_lines(lines: &[&str], kind: LineKind, hunk: &mut Hunk, unified: &mut String) {
    for line in lines {
        unified.push(match kind {
            LineKind::Context => ' ',
            LineKind::Added => '+',
            LineKind::Removed => '-',
        });
        unified.push_str(line);
        let text = line.strip_suffix('\n');
        if text.is_none() {
            unified.push_str("\n\\ No newline at end of file\n");
        }
        hunk.lines.push(DiffLine { kind, text: text.unwrap_or(line).to_owned(), no_newline: text.is_none() });
    }
}

/// Where the line with this byte starts.
fn line_start(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1)
}

/// How many lines there are; the last may have no end.
fn count_lines(bytes: &[u8]) -> usize {
    let ends = bytes.iter().filter(|b| **b == b'\n').count();
    ends + usize::from(bytes.last().is_some_and(|b| *b != b'\n'))
}

fn lines(text: &str) -> Option<Vec<&str>> {
    (count_lines(text.as_bytes()) <= MAX_LINES).then(|| text.split_inclusive('\n').collect())
}

fn file_header(names: &Names, old: Option<Side<'_>>, new: Option<Side<'_>>) -> String {
    let mode = |side: Side<'_>| if side.executable { "100755" } else { "100644" };
    let mut header = format!("diff --git {} {}\n", quote("a/", &names.old), quote("b/", &names.new));
    let _ = match (old, new) {
        (None, Some(new)) => writeln!(header, "new file mode {}", mode(new)),
        (Some(old), None) => writeln!(header, "deleted file mode {}", mode(old)),
        (Some(old), Some(new)) if old.executable != new.executable => {
            writeln!(header, "old mode {}\nnew mode {}", mode(old), mode(new))
        }
        _ => Ok(()),
    };
    if let Some(similarity) = names.similarity {
        let (from, to) = (quote("", &names.old), quote("", &names.new));
        let _ = write!(header, "similarity index {similarity}%\nrename from {from}\nrename to {to}\n");
    }
    header
}

fn name_header(mark: &str, side: &str, path: &str, exists: bool) -> String {
    if !exists {
        return format!("{mark} /dev/null\n");
    }
    // As git does: a tab ends a name with blanks, so that no reader takes the rest for a time.
    let end = if path.contains(' ') { "\t" } else { "" };
    format!("{mark} {}{end}\n", quote(&format!("{side}/"), path))
}

/// A name as git writes it. Backslashes and control characters cannot be in a path.
fn quote(side: &str, path: &str) -> String {
    if path.contains('"') { format!("\"{side}{}\"", path.replace('"', "\\\"")) } else { format!("{side}{path}") }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
