//! The arguments of tools, by the names that models give them.

use serde::Deserialize;
use slipway_edits::Edit;

use super::Call;

impl Call {
    /// Reads a model's call. The error is for the model.
    pub(crate) fn read(name: &str, arguments: &str) -> Result<Call, String> {
        let of = |tool: &'static str, edit: Edit| Call::Edit { tool, edit };
        let call = match name {
            "view" => {
                let ViewArgs { path, start_line, end_line } = read(arguments)?;
                Call::View { path: clean(&path), start: start_line, end: end_line }
            }
            "str_replace" => {
                let ReplaceArgs { path, old_str, new_str, replace_all } = read(arguments)?;
                of("str_replace", Edit::Replace { path: clean(&path), old: old_str, new: new_str, all: replace_all })
            }
            "insert" => {
                let InsertArgs { path, line, text } = read(arguments)?;
                of("insert", Edit::Insert { path: clean(&path), line, text })
            }
            "edit" => {
                let TextArgs { path, edits } = read(arguments)?;
                Call::Text { path: clean(&path), text: edits }
            }
            "create" => {
                let CreateArgs { path, content } = read(arguments)?;
                of("create", Edit::Create { path: clean(&path), content })
            }
            "delete" => Call::delete(&clean(&read::<DeleteArgs>(arguments)?.path)),
            "done" => Call::Done,
            _ => return Err(format!("there is no tool `{name}`; use view, str_replace, insert, edit, create, delete or done")),
        };
        Ok(call)
    }
}

fn clean(path: &str) -> String {
    let path = path.trim();
    path.strip_prefix("./").unwrap_or(path).to_owned()
}

fn read<T: for<'de> Deserialize<'de>>(arguments: &str) -> Result<T, String> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    serde_json::from_str(arguments).map_err(|e| format!("the arguments cannot be read: {e}"))
}

#[derive(Deserialize)]
struct ViewArgs {
    path: String,
    start_line: Option<usize>,
    end_line: Option<usize>,
}

#[derive(Deserialize)]
struct ReplaceArgs {
    path: String,
    old_str: String,
    #[serde(default)]
    new_str: String,
    #[serde(default)]
    replace_all: bool,
}

#[derive(Deserialize)]
struct InsertArgs {
    path: String,
    #[serde(alias = "insert_line")]
    line: usize,
    #[serde(alias = "new_str", alias = "insert_text")]
    text: String,
}

#[derive(Deserialize)]
struct TextArgs {
    path: String,
    #[serde(alias = "text", alias = "diff", alias = "patch")]
    edits: String,
}

#[derive(Deserialize)]
struct CreateArgs {
    path: String,
    #[serde(alias = "file_text")]
    content: String,
}

#[derive(Deserialize)]
struct DeleteArgs {
    path: String,
}
