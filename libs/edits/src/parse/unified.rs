//! Unified diffs, with or without git's headers.

use super::super::block::{Block, Edit, LastLine, Op};
use super::super::refusal::Refusal;
use super::fence::{self, Fence};
use super::{hunk, name};

/// True where a diff begins.
pub(super) fn is_mark(lines: &[&str], at: usize) -> bool {
    lines[at].starts_with("diff --git ") || names_begin(lines, at) || lines[at].starts_with("@@ -")
}

fn names_begin(lines: &[&str], at: usize) -> bool {
    lines[at].starts_with("--- ") && lines.get(at + 1).is_some_and(|next| next.starts_with("+++ "))
}

/// What is known of the file that hunks are for.
#[derive(Default)]
struct Section {
    at: usize,
    /// It has a line `diff --git`, so its names have `a/` and `b/`.
    git: bool,
    old: Option<String>,
    new: Option<String>,
    renamed: (Option<String>, Option<String>),
    created: bool,
    deleted: bool,
    /// The name that stood above, where there is none in a header.
    hint: Option<String>,
    blocks: Vec<Block>,
}

pub(super) fn parse(lines: &[&str], about: Option<&str>) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    let mut fence: Option<(Fence<'_>, usize)> = None;
    let mut section: Option<Section> = None;
    let mut hint: Option<String> = about.map(str::to_owned);
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        match (&fence, fence::open(line)) {
            (Some((open, _)), _) if open.is_closed_by(line) => {
                close(&mut section, &mut edits)?;
                fence = None;
            }
            (None, Some(opened)) => {
                close(&mut section, &mut edits)?;
                if let Some(named) = name::in_info(opened.info) {
                    hint = Some(named);
                }
                fence = Some((opened, at));
            }
            _ if line.starts_with("diff --git ") => {
                close(&mut section, &mut edits)?;
                section = Some(git_section(line, at));
            }
            _ if names_begin(lines, at - 1) => {
                if section.as_ref().is_none_or(|s| s.old.is_some() || !s.blocks.is_empty()) {
                    close(&mut section, &mut edits)?;
                }
                let section = section.get_or_insert_with(|| Section { at, ..Section::default() });
                (section.old, section.new) = (Some(file_name(&line[4..], at)?), Some(file_name(&lines[at][4..], at + 1)?));
                at += 1;
            }
            _ if line.starts_with("@@@") => return Err(Refusal::malformed(at, "a combined diff of a merge cannot be applied")),
            _ if hunk::is_header(line) => {
                let end = (at..lines.len()).find(|next| ends_hunk(lines, *next, fence.as_ref())).unwrap_or(lines.len());
                let anchors = hunk::heading(line).into_iter().collect();
                let block = hunk::body(&lines[at..end], anchors, at)?;
                let section = section.get_or_insert_with(|| Section { at, hint: hint.clone(), ..Section::default() });
                section.blocks.push(block);
                at = end;
            }
            _ => match &mut section {
                Some(section) if section.blocks.is_empty() => header(section, line, at)?,
                _ => {
                    if let Some(named) = name::in_line(line).filter(|n| n.contains(['.', '/'])) {
                        close(&mut section, &mut edits)?;
                        hint = Some(named);
                    }
                }
            },
        }
    }
    if let Some((_, at)) = fence {
        return Err(Refusal::malformed(at, "the fence that opens here is not closed: the text is cut off"));
    }
    close(&mut section, &mut edits)?;
    Ok(edits)
}

/// True where no line of a hunk can be.
fn ends_hunk(lines: &[&str], at: usize, fence: Option<&(Fence<'_>, usize)>) -> bool {
    let line = lines[at];
    let fenced = match fence {
        Some((open, _)) => open.is_closed_by(line) && !line.starts_with(' '),
        None => line.starts_with("```") || line.starts_with("~~~"),
    };
    // What git puts at the end of a mail.
    let version = |l: &str| l.starts_with(|c: char| c.is_ascii_digit()) && l.contains('.');
    let signature = line.trim_end() == "--" && lines.get(at + 1).is_some_and(|next| version(next));
    // A line that was removed may begin with two dashes; a hunk's header after it and one more does not come by chance.
    let names = names_begin(lines, at) && lines.get(at + 2).is_none_or(|next| hunk::is_header(next));
    fenced || signature || names || hunk::is_header(line) || line.starts_with("diff --git ")
}

fn git_section(line: &str, at: usize) -> Section {
    // `a/x b/x`: both halves are the same but for the first letter, unless the header says what was renamed.
    let names = &line["diff --git ".len()..];
    let half = names.len() / 2;
    let same = names.is_char_boundary(half) && names.as_bytes().get(half) == Some(&b' ');
    let halves = if same { Some((&names[..half], &names[half + 1..])) } else { None };
    let path = halves.and_then(|(a, b)| Some((a.strip_prefix("a/")?, b.strip_prefix("b/")?))).filter(|(a, b)| a == b);
    Section { at, git: true, renamed: (None, None), new: path.map(|(a, _)| format!("b/{a}")), ..Section::default() }
}

/// A line between the names of a file and its first hunk.
fn header(section: &mut Section, line: &str, at: usize) -> Result<(), Refusal> {
    if let Some(from) = line.strip_prefix("rename from ") {
        section.renamed.0 = name::clean(&unquote(from));
    } else if let Some(to) = line.strip_prefix("rename to ") {
        section.renamed.1 = name::clean(&unquote(to));
    } else if line.starts_with("new file mode") {
        section.created = true;
    } else if line.starts_with("deleted file mode") {
        section.deleted = true;
    } else if line.starts_with("Binary files ") || line.starts_with("GIT binary patch") {
        return Err(Refusal::malformed(at, "a binary file cannot be changed by a diff"));
    } else if line.starts_with("copy from ") || line.starts_with("copy to ") {
        return Err(Refusal::malformed(at, "a diff cannot copy a file here; create it"));
    }
    Ok(())
}

/// The name of a header line, without the time that some write behind it.
fn file_name(rest: &str, at: usize) -> Result<String, Refusal> {
    let name = unquote(rest.split('\t').next().unwrap_or_default().trim());
    if name.is_empty() { Err(Refusal::malformed(at, "the header names no file")) } else { Ok(name) }
}

/// A name as git quotes it.
fn unquote(name: &str) -> String {
    let Some(inner) = name.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return name.trim().to_owned();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = |b: &[u8]| std::str::from_utf8(b).ok().and_then(|text| u8::from_str_radix(text, 8).ok());
        match (first, tail) {
            (b'\\', [a, b, c, more @ ..]) if octal(&[*a, *b, *c]).is_some() => {
                bytes.extend(octal(&[*a, *b, *c]));
                rest = more;
            }
            (b'\\', [escaped, more @ ..]) => {
                bytes.push(*escaped);
                rest = more;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The edits of a section.
fn close(section: &mut Option<Section>, edits: &mut Vec<Edit>) -> Result<(), Refusal> {
    let Some(section) = section.take() else { return Ok(()) };
    let (at, blocks) = (section.at, section.blocks.clone());
    if let (Some(from), Some(to)) = (&section.renamed.0, &section.renamed.1) {
        edits.push(Edit::Rename { path: from.clone(), new_path: to.clone() });
        if !blocks.is_empty() {
            edits.push(Edit::Patch { path: to.clone(), blocks });
        }
        return Ok(());
    }
    let (path, created, deleted) = section.file()?;
    edits.push(match (created, deleted) {
        (true, true) => return Err(Refusal::malformed(at, "the file is made and deleted at once")),
        (true, false) => Edit::Create { path, content: content(&blocks, at)? },
        (false, true) => Edit::Delete { path, lines: removed(&blocks, at)? },
        (false, false) if blocks.is_empty() => return Err(Refusal::malformed(at, format!("there is no hunk for {path:?}"))),
        (false, false) => Edit::Patch { path, blocks },
    });
    Ok(())
}

impl Section {
    /// The one file that it is about, and whether it is made or deleted.
    fn file(&self) -> Result<(String, bool, bool), Refusal> {
        const NOTHING: &str = "/dev/null";
        let malformed = |what: String| Refusal::malformed(self.at, what);
        let is = |name: &Option<String>, prefix: &str| name.as_deref().is_some_and(|n| n == NOTHING || n.starts_with(prefix));
        let prefixed = self.git || is(&self.old, "a/") && is(&self.new, "b/");
        let strip = |name: &str, prefix: &str| {
            let name = if prefixed { name.strip_prefix(prefix).unwrap_or(name) } else { name };
            name::clean(name).ok_or_else(|| malformed(format!("{name:?} is no path of a file here")))
        };
        let created = self.created || self.old.as_deref() == Some(NOTHING);
        let deleted = self.deleted || self.new.as_deref() == Some(NOTHING);
        let some = |name: &Option<String>| name.clone().filter(|n| n != NOTHING);
        match (some(&self.old), some(&self.new)) {
            (Some(old), Some(new)) => {
                let (old, new) = (strip(&old, "a/")?, strip(&new, "b/")?);
                if old != new {
                    return Err(malformed(format!(
                        "{old:?} and {new:?} are not the same file; to rename it, say `rename from` and `rename to`"
                    )));
                }
                Ok((new, created, deleted))
            }
            (Some(old), None) => Ok((strip(&old, "a/")?, created, deleted)),
            (None, Some(new)) => Ok((strip(&new, "b/")?, created, deleted)),
            (None, None) => match &self.hint {
                Some(path) => Ok((path.clone(), created, deleted)),
                None => Err(malformed("the diff names no file; write `--- a/PATH` and `+++ b/PATH` above the hunks".to_owned())),
            },
        }
    }
}

/// What a new file holds.
fn content(blocks: &[Block], at: usize) -> Result<String, Refusal> {
    let mut content = String::new();
    for op in blocks.iter().flat_map(|block| &block.ops) {
        let Op::Add(line) = op else {
            return Err(Refusal::malformed(at, "the diff of a new file holds lines that are not new"));
        };
        content.push_str(line);
        content.push('\n');
    }
    if blocks.last().is_some_and(|block| block.last_line == LastLine::Open) {
        content.pop();
    }
    Ok(content)
}

/// What a deleted file is said to hold.
fn removed(blocks: &[Block], at: usize) -> Result<Option<Vec<String>>, Refusal> {
    let mut lines = Vec::new();
    for op in blocks.iter().flat_map(|block| &block.ops) {
        let Op::Remove(line) = op else {
            return Err(Refusal::malformed(at, "the diff of a deleted file holds lines that are not removed"));
        };
        lines.push(line.clone());
    }
    Ok((!blocks.is_empty()).then_some(lines))
}
