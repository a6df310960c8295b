//! The messages of edits.

use prost::Message as _;
use slipway_edits::{Edit, Format, MAX_EDITED, MAX_EDITS, MAX_TEXT, Parser, Rung, View};
use slipway_proto::filestore as pb;
use slipway_proto::filestore::edit::Edit as Said;
use slipway_rpc::{Check, Fault};
use uuid::Uuid;

use super::overlay::{etag, overlay};
use super::{at, file_entry, request_key, required_path};
use crate::error::Error;
use crate::model::{At, FileEntry, Overlay};
use crate::service::{Alteration, Made, OverlayChange};

/// How much of the differences is told.
const MAX_TOLD: usize = 2 << 20;

pub(crate) fn edit_overlay(mut request: pb::EditOverlayRequest) -> Result<OverlayChange, Fault> {
    let mut check = Check::new();
    let overlay_id = check.uuid("overlay_id", &request.overlay_id);
    let expected = etag(&mut check, &request.expected_etag);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "EditOverlay", &mut id, || request.encode_to_vec());
    let count = request.edits.len();
    check.ensure((1..=MAX_EDITS).contains(&count), "edits", "must be 1 to 1000");
    check.finish()?;
    let mut edits = Vec::with_capacity(count);
    for (index, edit) in request.edits.into_iter().enumerate() {
        edits.extend(read(index, edit)?.into_iter().map(|edit| (index, edit)));
        if edits.len() > MAX_EDITS {
            let mut check = Check::new();
            check.fail(&format!("edits[{index}]"), "makes them more than 1000");
            check.finish()?;
        }
    }
    Ok(OverlayChange { overlay_id, what: Alteration::Edits(edits), expected, key })
}

fn read(index: usize, edit: pb::Edit) -> Result<Vec<Edit>, Fault> {
    let field = |name: &str| format!("edits[{index}].{name}");
    let mut check = Check::new();
    let whole = |check: &mut Check, name: &str, write: pb::WriteText| -> Result<(String, String), Fault> {
        check.ensure(write.text.len() <= MAX_EDITED, &field(&format!("{name}.text")), "is over 3 MiB");
        Ok((required_path(check, &field(&format!("{name}.path")), write.path)?, write.text))
    };
    let edit = match edit.edit {
        None => {
            check.ensure(false, &field("edit"), "is missing");
            return check.finish().map(|()| Vec::new());
        }
        Some(Said::Replace(r)) => {
            let path = required_path(&mut check, &field("replace.path"), r.path)?;
            Edit::Replace { path, old: r.old_text, new: r.new_text, all: r.replace_all }
        }
        Some(Said::Insert(i)) => Edit::Insert {
            path: required_path(&mut check, &field("insert.path"), i.path)?,
            line: i.after_line as usize,
            text: i.text,
        },
        Some(Said::Create(write)) => {
            let (path, content) = whole(&mut check, "create", write)?;
            Edit::Create { path, content }
        }
        Some(Said::Write(write)) => {
            let (path, content) = whole(&mut check, "write", write)?;
            Edit::Write { path, content }
        }
        Some(Said::Delete(d)) => Edit::Delete { path: required_path(&mut check, &field("delete.path"), d.path)?, lines: None },
        Some(Said::Rename(r)) => {
            let new_path = required_path(&mut check, &field("rename.new_path"), r.new_path)?;
            Edit::Rename { path: required_path(&mut check, &field("rename.path"), r.path)?, new_path }
        }
        Some(Said::Text(text)) => return read_text(index, text),
    };
    check.finish().map(|()| vec![edit])
}

fn read_text(index: usize, text: pb::EditText) -> Result<Vec<Edit>, Fault> {
    let mut check = Check::new();
    check.ensure(text.text.len() <= MAX_TEXT, &format!("edits[{index}].text.text"), "is over 8 MiB");
    let format = match pb::EditFormat::try_from(text.format) {
        Ok(pb::EditFormat::Unspecified) => Format::Auto,
        Ok(pb::EditFormat::SearchReplace) => Format::SearchReplace,
        Ok(pb::EditFormat::UnifiedDiff) => Format::UnifiedDiff,
        Ok(pb::EditFormat::ApplyPatch) => Format::ApplyPatch,
        Ok(pb::EditFormat::WholeFile) => Format::WholeFile,
        Err(_) => {
            check.ensure(false, &format!("edits[{index}].text.format"), "is no known format");
            Format::Auto
        }
    };
    let about = match text.path.is_empty() {
        true => None,
        false => Some(required_path(&mut check, &format!("edits[{index}].text.path"), text.path)?),
    };
    check.finish()?;
    let mut parser = Parser::new(format, about);
    parser.push(text.text.as_bytes());
    parser.finish().map_err(|refusal| Error::EditRefused { index, refusal }.into())
}

pub(crate) fn edited(changed: Overlay, made: Vec<Made>) -> pb::EditOverlayResponse {
    let mut room = MAX_TOLD;
    let results = made.into_iter().map(|made| result(made, &mut room)).collect();
    pb::EditOverlayResponse { overlay: Some(overlay(changed)), results }
}

fn result(Made { done, unified }: Made, room: &mut usize) -> pb::EditResult {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (first, last) = done.lines.unwrap_or_default();
    let fits = unified.len() <= *room;
    *room -= if fits { unified.len() } else { 0 };
    let found = match done.rung {
        Rung::Exact => pb::EditMatch::Exact,
        Rung::LineEndings => pb::EditMatch::LineEndings,
        Rung::TrailingBlanks => pb::EditMatch::TrailingBlanks,
        Rung::Indentation => pb::EditMatch::Indentation,
        Rung::Elision => pb::EditMatch::Elision,
    };
    pb::EditResult {
        path: done.path,
        r#match: found.into(),
        first_line: number(first),
        last_line: number(last),
        places: number(done.places),
        unified: if fits { unified } else { String::new() },
    }
}

type Viewed = (Uuid, At, String, (usize, usize));

pub(crate) fn view_file(request: pb::ViewFileRequest) -> Result<Viewed, Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let at = at(&mut check, ("revision_id", &request.revision_id), ("overlay_id", &request.overlay_id));
    let path = required_path(&mut check, "path", request.path);
    let (first, last) = (request.first_line.max(1) as usize, request.last_line as usize);
    check.ensure(last == 0 || last >= first, "last_line", "is before the first line");
    check.finish()?;
    Ok((workspace, at, path?, (first, if last == 0 { usize::MAX } else { last })))
}

pub(crate) fn viewed(file: FileEntry, view: View) -> pb::ViewFileResponse {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let lines = view.lines.into_iter().map(|(n, text)| pb::NumberedLine { number: number(n), text }).collect();
    pb::ViewFileResponse { file: Some(file_entry(file)), lines, total_lines: number(view.total), truncated: view.truncated }
}
