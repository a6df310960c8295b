//! Whole files: each in a fence, its name on the line above or behind the fence's mark; or one file without a fence.

use super::super::block::Edit;
use super::super::refusal::Refusal;
use super::fence::{self, Fence};
use super::{check_count, name};

/// What is in a fence.
struct Fenced {
    at: usize,
    path: Option<String>,
    content: String,
}

pub(super) fn parse(text: &str, lines: &[&str], about: Option<&str>) -> Result<Vec<Edit>, Refusal> {
    let fenced = fences(lines, about)?;
    if fenced.is_empty() {
        let Some(path) = about else {
            return Err(Refusal::malformed(1, "the text names no file; put its path above the fence with its content"));
        };
        return Ok(vec![Edit::Write { path: path.to_owned(), content: text.to_owned() }]);
    }
    let mut edits: Vec<Edit> = Vec::new();
    let several = fenced.len() > 1;
    let nameless = fenced.iter().find(|f| f.path.is_none()).map(|f| f.at);
    for Fenced { at, path, content } in fenced {
        check_count(edits.len() + 1, at)?;
        let Some(path) = path else {
            match about {
                Some(path) if !several => edits.push(Edit::Write { path: path.to_owned(), content }),
                _ => {}
            }
            continue;
        };
        if edits.iter().any(|edit| edit.path() == path) {
            return Err(Refusal::malformed(at, format!("{path:?} is there twice")));
        }
        if let Some(nameless) = nameless.filter(|_| is_markdown(&path)) {
            let what = "a fence without a name beside a Markdown file: it may be part of it; put four signs around the file";
            return Err(Refusal::malformed(nameless, what));
        }
        edits.push(Edit::Write { path, content });
    }
    match nameless {
        Some(at) if edits.is_empty() => {
            Err(Refusal::malformed(at, "it cannot be told which file a fence is; put its path above it"))
        }
        _ => Ok(edits),
    }
}

fn fences(lines: &[&str], about: Option<&str>) -> Result<Vec<Fenced>, Refusal> {
    let mut found = Vec::new();
    let mut above: Option<&str> = None;
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let Some(fence) = fence::open(line) else {
            if !line.trim().is_empty() {
                above = Some(line);
            }
            continue;
        };
        let path = name::in_info(fence.info).or_else(|| above.and_then(name::in_line));
        let nests = path.as_deref().or(about).is_some_and(is_markdown);
        let Some(end) = end(lines, at, &fence, nests) else {
            return Err(Refusal::malformed(at, "the fence that opens here is not closed: the text is cut off"));
        };
        let content = lines[at..end].iter().flat_map(|line| [*line, "\n"]).collect();
        found.push(Fenced { at, path, content });
        above = None;
        at = end + 1;
    }
    Ok(found)
}

/// The line that closes a fence. Fences within it, in a Markdown file, are those that name a language.
fn end(lines: &[&str], start: usize, fence: &Fence<'_>, nests: bool) -> Option<usize> {
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate().skip(start) {
        if fence.is_closed_by(line) {
            if depth == 0 {
                return Some(at);
            }
            depth -= 1;
        } else if nests && fence::open(line).is_some_and(|inner| fence.holds(&inner)) {
            depth += 1;
        }
    }
    None
}

fn is_markdown(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    [".md", ".markdown", ".mdx"].iter().any(|end| path.ends_with(end))
}
