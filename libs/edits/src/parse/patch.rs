//! `*** Begin Patch`: the format that OpenAI's models are taught.

use super::super::block::{Block, Edit};
use super::super::refusal::Refusal;
use super::{hunk, name};

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const END_OF_FILE: &str = "*** End of File";
const MOVE: &str = "*** Move to:";

/// What is to become of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Update,
    Add,
    Delete,
}

/// True where a patch begins.
pub(super) fn is_mark(line: &str) -> bool {
    line.trim_end() == BEGIN || action(line).is_some()
}

fn action(line: &str) -> Option<(Action, &str)> {
    let of = |label: &str, action| Some((action, line.strip_prefix(label)?.trim()));
    of("*** Update File:", Action::Update)
        .or_else(|| of("*** Add File:", Action::Add))
        .or_else(|| of("*** Delete File:", Action::Delete))
}

pub(super) fn parse(lines: &[&str]) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    let mut begun: Option<usize> = None;
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_end();
        at += 1;
        if line == BEGIN {
            if begun.is_some() {
                return Err(Refusal::malformed(at, "a patch begins within a patch"));
            }
            begun = Some(at);
        } else if line == END {
            begun = None;
        } else if let Some((action, path)) = action(line) {
            let Some(path) = name::clean(path) else {
                return Err(Refusal::malformed(at, format!("{path:?} is no path of a file here")));
            };
            let end = (at..lines.len()).find(|next| ends(lines[*next], begun.is_some())).unwrap_or(lines.len());
            file(action, path, &lines[at..end], at, &mut edits)?;
            at = end;
        } else if begun.is_some() && !line.is_empty() {
            return Err(Refusal::malformed(at, "here should be `*** Update File:`, `*** Add File:` or `*** Delete File:`"));
        }
    }
    match begun {
        Some(at) => Err(Refusal::malformed(at, "the patch that begins here has no `*** End Patch`: the text is cut off")),
        None => Ok(edits),
    }
}

/// True where no line of a file's part can be. A patch that does not say where it begins ends with its fence.
fn ends(line: &str, begun: bool) -> bool {
    let line = line.trim_end();
    line == END || line == BEGIN || action(line).is_some() || !begun && line.starts_with("```")
}

fn file(action: Action, path: String, lines: &[&str], at: usize, edits: &mut Vec<Edit>) -> Result<(), Refusal> {
    match action {
        Action::Delete => {
            if let Some(extra) = lines.iter().position(|line| !line.trim().is_empty()) {
                return Err(Refusal::malformed(at + extra + 1, "a file that is deleted has no lines in a patch"));
            }
            edits.push(Edit::Delete { path, lines: None });
        }
        Action::Add => edits.push(Edit::Create { path, content: added(lines, at)? }),
        Action::Update => {
            let moved = lines.first().and_then(|line| line.strip_prefix(MOVE)).map(str::trim);
            let body = &lines[usize::from(moved.is_some())..];
            let blocks = hunks(body, at + usize::from(moved.is_some()))?;
            let target = match moved {
                None => path,
                Some(to) => {
                    let Some(new_path) = name::clean(to) else {
                        return Err(Refusal::malformed(at + 1, format!("{to:?} is no path of a file here")));
                    };
                    edits.push(Edit::Rename { path, new_path: new_path.clone() });
                    new_path
                }
            };
            match (blocks.is_empty(), moved) {
                (true, None) => return Err(Refusal::malformed(at, "the update of a file has no hunk")),
                (true, Some(_)) => {}
                (false, _) => edits.push(Edit::Patch { path: target, blocks }),
            }
        }
    }
    Ok(())
}

fn added(lines: &[&str], at: usize) -> Result<String, Refusal> {
    let used = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let mut content = String::new();
    for (offset, line) in lines[..used].iter().enumerate() {
        match line.strip_prefix('+') {
            Some(line) => content.push_str(line),
            None if line.is_empty() => {}
            None if line.trim_end() == END_OF_FILE => continue,
            None => return Err(Refusal::malformed(at + offset + 1, "a line of a new file does not start with +")),
        }
        content.push('\n');
    }
    Ok(content)
}

/// The hunks of a file: each below its `@@`, of which several name lines one within the other.
fn hunks(lines: &[&str], at: usize) -> Result<Vec<Block>, Refusal> {
    let mut blocks = Vec::new();
    let mut anchors: Vec<String> = Vec::new();
    let mut next = 0;
    while next < lines.len() {
        if hunk::is_header(lines[next]) {
            anchors.extend(hunk::heading(lines[next]));
            next += 1;
            continue;
        }
        let ends = |line: &&str| hunk::is_header(line) || line.trim_end() == END_OF_FILE;
        let end = lines[next..].iter().position(ends).map_or(lines.len(), |offset| next + offset);
        let at_end = lines.get(end).is_some_and(|line| line.trim_end() == END_OF_FILE);
        if lines[next..end].iter().any(|line| !line.trim().is_empty()) {
            let block = hunk::body(&lines[next..end], std::mem::take(&mut anchors), at + next + 1)?;
            blocks.push(Block { at_end, ..block });
        }
        next = end + usize::from(at_end);
    }
    if anchors.is_empty() { Ok(blocks) } else { Err(Refusal::malformed(at + lines.len(), "the last `@@` has no hunk")) }
}
