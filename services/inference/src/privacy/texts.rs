//! The texts of a request: everything in it that somebody may have written a secret or a name into.

use std::borrow::Cow;

use serde_json::Value;

use crate::model::Request;

/// How a text is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it reads.
    Plain,
    /// As JSON, with its escapes.
    Json,
}

/// How many bytes of text there are, about.
pub(super) fn size(request: &Request) -> usize {
    let messages = request.messages.iter().map(|m| m.text.len() + m.tool_calls.iter().map(|c| c.arguments.len()).sum::<usize>());
    let tools = request.tools.iter().map(|t| t.description.len());
    messages.chain(tools).sum()
}

/// Puts each text through `change`. Names of tools and ids of calls are no texts: they have to be what they are.
pub(super) fn rewrite(request: &mut Request, change: &mut impl FnMut(&str, Form) -> Cow<'_, str>) {
    for message in &mut request.messages {
        replace(&mut message.text, Form::Plain, change);
        for call in &mut message.tool_calls {
            replace(&mut call.arguments, Form::Json, change);
        }
    }
    for tool in &mut request.tools {
        replace(&mut tool.description, Form::Plain, change);
        rewrite_json(&mut tool.parameters, change);
    }
    if let Some(format) = &mut request.json {
        rewrite_json(&mut format.schema, change);
    }
}

fn replace(text: &mut String, form: Form, change: &mut impl FnMut(&str, Form) -> Cow<'_, str>) {
    if text.is_empty() {
        return;
    }
    if let Cow::Owned(changed) = change(text, form) {
        *text = changed;
    }
}

fn rewrite_json(value: &mut Value, change: &mut impl FnMut(&str, Form) -> Cow<'_, str>) {
    match value {
        Value::String(text) => replace(text, Form::Plain, change),
        Value::Array(values) => values.iter_mut().for_each(|v| rewrite_json(v, change)),
        Value::Object(fields) => fields.values_mut().for_each(|v| rewrite_json(v, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
