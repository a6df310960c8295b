//! Tests of the engine as a whole: what it must read, and that whatever it is asked, it writes where it was meant or not at all.

mod formats;
mod hostile;
mod perturbed;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Change, Done, Edit, Format, Parser, Refusal, apply};

/// Reads edits from a text.
fn read(format: Format, about: Option<&str>, text: &str) -> Result<Vec<Edit>, Refusal> {
    let mut parser = Parser::new(format, about.map(str::to_owned));
    parser.push(text.as_bytes());
    parser.finish()
}

/// Makes edits in one file; its content afterwards.
fn make(path: &str, content: &str, edits: &[Edit]) -> Result<String, Refusal> {
    make_all(path, content, edits).map(|(after, _)| after)
}

fn make_all(path: &str, content: &str, edits: &[Edit]) -> Result<(String, Vec<Done>), Refusal> {
    let mut files: BTreeMap<String, Option<Bytes>> = edits.iter().flat_map(Edit::paths).map(|p| (p.to_owned(), None)).collect();
    files.insert(path.to_owned(), Some(Bytes::copy_from_slice(content.as_bytes())));
    let batch = apply(files, edits, &mut |_, _| {});
    let done = batch.outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let after = batch.changes.into_iter().rev().find_map(|change| match change {
        Change::Write { path: written, content, .. } if written == path => Some(String::from_utf8(content.to_vec()).unwrap()),
        _ => None,
    });
    Ok((after.unwrap_or_else(|| content.to_owned()), done))
}

fn replace(path: &str, old: &str, new: &str) -> Edit {
    Edit::Replace { path: path.to_owned(), old: old.to_owned(), new: new.to_owned(), all: false }
}
