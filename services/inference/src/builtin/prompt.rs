//! The tags that Slipway's prompts use, read back out of a message.

/// A source that was retrieved for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    pub(super) index: u32,
    pub(super) path: &'a str,
    pub(super) start_line: usize,
    pub(super) text: &'a str,
}

/// A file of the workspace; without its text when only its name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) text: Option<&'a str>,
}

/// The step of a plan that is to be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    pub(super) path: &'a str,
    pub(super) action: &'a str,
    pub(super) reason: &'a str,
}

/// What stands between `<name>` and `</name>`, without the blanks next to the tags.
pub(super) fn section<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = tag_at_line_start(message, &open)? + open.len();
    let to = message[from..].find(&close)? + from;
    Some(message[from..to].trim_matches(['\r', '\n']).trim())
}

// People may write about tags: only one that begins a line is a tag.
fn tag_at_line_start(message: &str, tag: &str) -> Option<usize> {
    let begins = |at: usize| at == 0 || message[..at].ends_with('\n');
    message.match_indices(tag).map(|(at, _)| at).find(|&at| begins(at))
}

/// The sources of `<context>`, in order.
pub(super) fn sources(message: &str) -> Vec<Source<'_>> {
    let Some(from) = tag_at_line_start(message, "<context>") else { return Vec::new() };
    elements(&message[from..], "source", "</context>")
        .into_iter()
        .filter_map(|(attributes, text)| {
            Some(Source {
                index: attribute(attributes, "index")?.parse().ok()?,
                path: attribute(attributes, "path")?,
                start_line: attribute(attributes, "start_line").and_then(|n| n.parse().ok()).unwrap_or(1),
                text: text?,
            })
        })
        .collect()
}

/// The question that goes with the sources.
pub(super) fn question(message: &str) -> Option<&str> {
    let from = message.rfind("</context>").map_or(0, |at| at + "</context>".len());
    section(&message[from..], "question")
}

/// The files of `<files>`, in order.
pub(super) fn files(message: &str) -> Vec<File<'_>> {
    let Some(from) = tag_at_line_start(message, "<files>") else { return Vec::new() };
    let found = elements(&message[from..], "file", "</files>");
    found.into_iter().filter_map(|(attributes, text)| Some(File { path: attribute(attributes, "path")?, text })).collect()
}

/// A message without its `<files>`: what is asked, free of what the files say.
pub(super) fn without_files(message: &str) -> String {
    let Some(from) = tag_at_line_start(message, "<files>") else { return message.to_owned() };
    let to = end_of(&message[from..], "file", "</files>").map_or(message.len(), |at| at + from);
    format!("{}{}", &message[..from], &message[to..])
}

/// The step that is to be edited.
pub(super) fn step(message: &str) -> Option<Step<'_>> {
    let from = tag_at_line_start(message, "<step ")?;
    let open_end = message[from..].find('>')? + from;
    let to = message[open_end..].find("</step>")? + open_end;
    let attributes = &message[from..open_end];
    Some(Step {
        path: attribute(attributes, "path")?,
        action: attribute(attributes, "action")?,
        reason: message[open_end + 1..to].trim(),
    })
}

/// The elements of a list: the attributes of each and its text. An element ends at the closing tag that another
/// element, or the list's end, follows: contents may hold anything else.
fn elements<'a>(list: &'a str, name: &str, end: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let (open, close) = (format!("<{name} "), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = &list[list.find('>').map_or(0, |n| n + 1)..];
    loop {
        rest = rest.trim_start();
        let Some(tag) = rest.strip_prefix(open.as_str()) else { return found };
        let Some(tag_end) = tag.find('>') else { return found };
        let (attributes, body) = (&tag[..tag_end], &tag[tag_end + 1..]);
        if let Some(attributes) = attributes.strip_suffix('/') {
            found.push((attributes, None));
            rest = body;
            continue;
        }
        let closing = body.match_indices(&close).map(|(at, _)| at).find(|at| {
            let after = body[at + close.len()..].trim_start();
            after.starts_with(&open) || after.starts_with(end)
        });
        let Some(at) = closing else { return found };
        let text = body[..at].strip_prefix("\r\n").or_else(|| body[..at].strip_prefix('\n')).unwrap_or(&body[..at]);
        let omitted = attribute(attributes, "omitted") == Some("true");
        found.push((attributes, (!omitted).then_some(text)));
        rest = &body[at + close.len()..];
    }
}

fn end_of(list: &str, name: &str, end: &str) -> Option<usize> {
    let found = elements(list, name, end);
    let after = found.last().map_or(0, |(attributes, text)| {
        let last = text.map_or(*attributes, |t| t);
        last.as_ptr() as usize - list.as_ptr() as usize + last.len()
    });
    list[after..].find(end).map(|at| at + after + end.len())
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let from = attributes
        .match_indices(name)
        .map(|(at, _)| at)
        .find(|&at| (at == 0 || attributes[..at].ends_with(' ')) && attributes[at + name.len()..].starts_with("=\""))?;
    let value = &attributes[from + name.len() + 2..];
    value.find('"').map(|to| &value[..to])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_question() {
        let message = "<context>\n<source index=\"1\" path=\"values.yaml\" start_line=\"10\" end_line=\"11\">\na: 1\nb: 2\n</source>\n<source index=\"2\" path=\"x\">\n</source> is a tag\n</source>\n</context>\n<question>\nHow many?\n</question>";
        let found = sources(message);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Source { index: 1, path: "values.yaml", start_line: 10, text: "a: 1\nb: 2\n" });
        assert_eq!(found[1].text, "</source> is a tag\n");
        assert_eq!(question(message), Some("How many?"));
    }

    #[test]
    fn files_with_any_content() {
        let message = "<files>\n<file path=\"a.yaml\">\na: 1\r\n</file>\n<file path=\"t.yaml\" omitted=\"true\"/>\n<file path=\"b\">x</file></files>\n<request>\nscale it\n</request>";
        let found = files(message);
        assert_eq!(found[0], File { path: "a.yaml", text: Some("a: 1\r\n") });
        assert_eq!(found[1], File { path: "t.yaml", text: None });
        assert_eq!(found[2].text, Some("x"));
        assert_eq!(section(message, "request"), Some("scale it"));
        assert_eq!(without_files(message).trim(), "<request>\nscale it\n</request>");
    }

    #[test]
    fn a_step() {
        let message = "<step number=\"1\" path=\"values.yaml\" action=\"update\">\nset a to 1\n</step>";
        assert_eq!(step(message), Some(Step { path: "values.yaml", action: "update", reason: "set a to 1" }));
        assert_eq!(step("no step"), None);
    }
}
