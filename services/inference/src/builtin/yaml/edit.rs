//! Changes to YAML text that leave everything else as it is: comments, order, quotes, indentation, line ends.

use super::value::{double_quoted, entry_lines, is_safe_plain};
use super::{Kind, Node, Seg, Style, Value, parse};

/// Sets the value at a path of a document, making what is missing on the way.
pub(in crate::builtin) fn set(text: &str, doc: usize, path: &[Seg], value: &Value) -> Result<String, String> {
    let docs = parse(text).ok_or("the file is not plain YAML")?;
    let Some(root) = docs.get(doc).or(docs.is_empty().then_some(&NOTHING)) else {
        return Err("the file has no such document".to_owned());
    };
    let file = File::new(text);
    let mut node = root;
    let mut key_at = None;
    for (n, seg) in path.iter().enumerate() {
        match node.step(seg) {
            Some(next) => {
                key_at = match (seg, &node.kind) {
                    (Seg::Key(k), Kind::Map(entries)) if !node.flow => {
                        entries.iter().find(|(key, _)| key.text() == Some(k)).map(|(key, _)| key.start)
                    }
                    _ => None,
                };
                node = next;
            }
            None => {
                let missing = wrap(&path[n + 1..], value.clone())?;
                return file.insert(root, node, key_at, &path[n], missing, &shown(&path[..n]));
            }
        }
    }
    if value.is_said_by(node) {
        return Ok(text.to_owned());
    }
    match value {
        Value::Map(entries) if node.is_map() && !node.is_empty() => {
            let mut text = text.to_owned();
            for (key, value) in entries {
                let mut path = path.to_vec();
                path.push(Seg::Key(key.clone()));
                text = set(&text, doc, &path, value)?;
            }
            Ok(text)
        }
        _ => file.replace(node, key_at, value, &shown(path)),
    }
}

/// Adds an item to the list at a path, unless it is there.
pub(in crate::builtin) fn add(text: &str, doc: usize, path: &[Seg], item: &Value) -> Result<String, String> {
    let docs = parse(text).ok_or("the file is not plain YAML")?;
    let list = docs.get(doc).and_then(|root| root.find(path));
    match list {
        Some(list) if list.is_list() && !list.is_empty() => {
            if list.items().iter().any(|i| item.is_said_by(i)) {
                return Ok(text.to_owned());
            }
            let mut path = path.to_vec();
            path.push(Seg::Index(list.items().len()));
            set(text, doc, &path, item)
        }
        _ => set(text, doc, path, &Value::List(vec![item.clone()])),
    }
}

/// Removes what is at a path. Nothing there is fine.
pub(in crate::builtin) fn remove(text: &str, doc: usize, path: &[Seg]) -> Result<String, String> {
    let docs = parse(text).ok_or("the file is not plain YAML")?;
    let Some((last, above)) = path.split_last() else { return Err("a whole document cannot be removed".to_owned()) };
    let Some(parent) = docs.get(doc).and_then(|root| root.find(above)) else { return Ok(text.to_owned()) };
    let Some(node) = parent.step(last) else { return Ok(text.to_owned()) };
    let siblings = parent.entries().len().max(parent.items().len());
    let start = match last {
        Seg::Key(k) => parent.entries().iter().find(|(key, _)| key.text() == Some(k)).map_or(node.start, |(key, _)| key.start),
        _ => node.start,
    };
    if parent.flow {
        return Ok(remove_in_line(text, start, node.end, parent));
    }
    let file = File::new(text);
    if siblings == 1 && !above.is_empty() {
        let empty = if parent.is_map() { " {}" } else { " []" };
        // From the end of the line before, which holds the parent's key, to the end of the last line.
        let from = text[..file.line_start(start)].trim_end_matches(['\r', '\n']).len();
        let to = node.end;
        let holder = &text[file.line_start(from)..from];
        if holder.trim_end().ends_with(':') {
            return Ok(format!("{}{empty}{}", text[..from].trim_end(), &text[to..]));
        }
        return Err(format!("{} cannot be removed without leaving its list empty", shown(path)));
    }
    let from = file.line_start(start);
    let first = text[from..start].trim();
    if first == "-" && matches!(last, Seg::Key(_)) {
        return Err(format!("{} begins its list's item and cannot be removed alone", shown(path)));
    }
    let to = file.after_line(node.end);
    Ok(format!("{}{}", &text[..from], &text[to..]))
}

fn remove_in_line(text: &str, start: usize, end: usize, parent: &Node) -> String {
    let after = &text[end..parent.end];
    if let Some(comma) = after.find(',').filter(|c| after[..*c].trim().is_empty()) {
        let rest = after[comma + 1..].trim_start();
        return format!("{}{}{}", &text[..start], rest, &text[parent.end..]);
    }
    let before = text[..start].trim_end();
    let before = before.strip_suffix(',').unwrap_or(before);
    format!("{before}{}", &text[end..])
}

static NOTHING: Node = Node::nothing();

/// A value inside the containers that the rest of a path asks for.
fn wrap(rest: &[Seg], value: Value) -> Result<Value, String> {
    let mut wrapped = value;
    for seg in rest.iter().rev() {
        wrapped = match seg {
            Seg::Key(key) => Value::map([(key.clone(), wrapped)]),
            Seg::Index(0) => Value::List(vec![wrapped]),
            Seg::Index(_) => return Err("the list is not that long".to_owned()),
            Seg::Named(name) => Value::List(vec![named(name, wrapped)]),
        };
    }
    Ok(wrapped)
}

fn named(name: &str, value: Value) -> Value {
    let mut entries = vec![("name".to_owned(), Value::text(name))];
    if let Value::Map(more) = value {
        entries.extend(more.into_iter().filter(|(k, _)| k != "name"));
    }
    Value::Map(entries)
}

/// A path for people: `gateway.ingress.hosts[0].host`.
pub(in crate::builtin) fn shown(path: &[Seg]) -> String {
    let mut out = String::new();
    for seg in path {
        match seg {
            Seg::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
                out.push_str(&if plain { key.clone() } else { double_quoted(key) });
            }
            Seg::Index(n) => out.push_str(&format!("[{n}]")),
            Seg::Named(name) => out.push_str(&format!("[name={name}]")),
        }
    }
    out
}

struct File<'a> {
    text: &'a str,
    eol: &'static str,
}

impl<'a> File<'a> {
    fn new(text: &'a str) -> Self {
        let crlf = text.matches("\r\n").count();
        let eol = if crlf * 2 > text.matches('\n').count() { "\r\n" } else { "\n" };
        Self { text, eol }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |n| n + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        let end = self.text[at..].find('\n').map_or(self.text.len(), |n| n + at);
        if self.text[at..end].ends_with('\r') { end - 1 } else { end }
    }

    fn after_line(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |n| n + at + 1)
    }

    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }

    fn splice(&self, from: usize, to: usize, with: &str) -> String {
        format!("{}{with}{}", &self.text[..from], &self.text[to..])
    }

    /// Whole lines after the line that `at` is on; a file without a last line end stays so.
    fn lines_after(&self, at: usize, lines: &[String]) -> String {
        let end = self.line_end(at);
        let new: String = lines.iter().map(|l| format!("{}{l}", self.eol)).collect();
        self.splice(end, end, &new)
    }

    /// Another value in the place of a node.
    fn replace(&self, node: &Node, key_at: Option<usize>, value: &Value, path: &str) -> Result<String, String> {
        if matches!(node.kind, Kind::Alias) {
            return Err(format!("{path} is an alias of another value; change that one"));
        }
        match (&node.kind, value) {
            (Kind::Scalar { style, .. }, value) if value.is_scalar() => Ok(self.replace_scalar(node, *style, value)),
            (_, value) if node.is_empty() => Ok(self.fill(node, key_at, value)),
            (Kind::List(items), Value::List(_)) if !node.flow => {
                let first = items.first().map_or(node.start, |i| i.start);
                let from = self.line_start(first);
                let indent = self.text[from..].len() - self.text[from..].trim_start_matches(' ').len();
                Ok(self.splice(from, node.end, &value.block(indent).join(self.eol)))
            }
            (Kind::List(_), Value::List(_)) => Ok(self.splice(node.start, node.end, &value.to_string())),
            (Kind::Map(_), _) => Err(format!("{path} is a mapping, not a single value")),
            (Kind::List(_), _) => Err(format!("{path} is a list, not a single value")),
            _ => Err(format!("{path} is a single value, not a collection")),
        }
    }

    fn replace_scalar(&self, node: &Node, style: Style, value: &Value) -> String {
        let written = match (style, value) {
            (Style::Single, Value::Text(t) | Value::Number(t)) if !t.chars().any(char::is_control) => {
                format!("'{}'", t.replace('\'', "''"))
            }
            (Style::Single | Style::Double, Value::Text(t) | Value::Number(t)) => double_quoted(t),
            (_, Value::Text(t)) if !is_safe_plain(t) => double_quoted(t),
            (_, value) => value.to_string(),
        };
        if node.start == node.end {
            self.splice(node.start, node.end, &format!(" {written}"))
        } else {
            self.splice(node.start, node.end, &written)
        }
    }

    /// A collection where there was nothing: `{}`, `[]` or no value at all.
    fn fill(&self, node: &Node, key_at: Option<usize>, value: &Value) -> String {
        let Some(key_at) = key_at.filter(|_| !value.is_scalar()) else {
            let pad = if node.start == node.end { " " } else { "" };
            return self.splice(node.start, node.end, &format!("{pad}{value}"));
        };
        let indent = self.column(key_at);
        let step = if matches!(value, Value::List(_)) { self.list_step() } else { 2 };
        let lines = value.block(indent + step);
        let block: String = lines.iter().map(|l| format!("{}{l}", self.eol)).collect();
        let line_end = self.line_end(node.end);
        let head = self.text[..node.start].trim_end_matches([' ', '\t']);
        let tail = self.text[node.end..line_end].trim_end();
        let tail = if tail.trim().is_empty() { String::new() } else { format!(" {}", tail.trim_start()) };
        format!("{head}{tail}{block}{}", &self.text[line_end..])
    }

    /// How much deeper than their keys this file's lists stand.
    fn list_step(&self) -> usize {
        fn step(file: &File<'_>, node: &Node) -> Option<usize> {
            for (key, value) in node.entries() {
                if value.is_list() && !value.flow && !value.is_empty() {
                    let from = file.line_start(value.items()[0].start);
                    let dash = file.text[from..].len() - file.text[from..].trim_start_matches(' ').len();
                    return Some(dash.saturating_sub(file.column(key.start)));
                }
                if let Some(found) = step(file, value) {
                    return Some(found);
                }
            }
            node.items().iter().find_map(|i| step(file, i))
        }
        parse(self.text).iter().flatten().find_map(|root| step(self, root)).unwrap_or(2).min(2)
    }

    /// A new entry or item in a container.
    fn insert(
        &self,
        root: &Node,
        into: &Node,
        key_at: Option<usize>,
        seg: &Seg,
        value: Value,
        path: &str,
    ) -> Result<String, String> {
        let step = self.list_step();
        match (&into.kind, seg) {
            (Kind::Alias, _) => Err(format!("{path} is an alias of another value; change that one")),
            (Kind::Map(entries), Seg::Key(key)) if !entries.is_empty() => {
                if into.flow {
                    let last = entries.last().map_or(into.start + 1, |(_, v)| v.end);
                    let entry = Value::Map(vec![(key.clone(), value)]).to_string();
                    return Ok(self.splice(last, last, &format!(", {}", &entry[1..entry.len() - 1])));
                }
                let indent = self.column(entries[0].0.start);
                let mut lines = entry_lines(key, &value, indent, step);
                if into.start == root.start && self.is_spaced(entries) {
                    lines.insert(0, String::new());
                }
                Ok(self.lines_after(into.end, &lines))
            }
            (Kind::List(items), Seg::Index(_) | Seg::Named(_)) if !items.is_empty() => {
                match seg {
                    Seg::Index(n) if *n > items.len() => return Err(format!("{path} has only {} items", items.len())),
                    _ => {}
                }
                let item = if let Seg::Named(name) = seg { named(name, value) } else { value };
                if into.flow {
                    let last = items.last().map_or(into.start + 1, |i| i.end);
                    return Ok(self.splice(last, last, &format!(", {item}")));
                }
                let from = self.line_start(items[0].start);
                let dash = self.text[from..items[0].start].rfind('-').unwrap_or(0);
                Ok(self.lines_after(into.end, &Value::List(vec![item]).block(dash)))
            }
            (_, _) if into.is_empty() => {
                let value = wrap(std::slice::from_ref(seg), value)?;
                if key_at.is_none() && into.start == root.start && !into.flow {
                    return Ok(self.at_end(&value.block(0)));
                }
                Ok(self.fill(into, key_at, &value))
            }
            (Kind::Map(_), _) => Err(format!("{path} is a mapping, not a list")),
            (Kind::List(_), _) => Err(format!("{path} is a list, not a mapping")),
            (Kind::Scalar { .. }, _) => Err(format!("{path} is a single value and has nothing below it")),
        }
    }

    fn at_end(&self, lines: &[String]) -> String {
        let lines: String = lines.iter().map(|l| format!("{l}{}", self.eol)).collect();
        let gap = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { self.eol };
        format!("{}{gap}{lines}", self.text)
    }

    /// True when the file leaves a line between its top-level entries.
    fn is_spaced(&self, entries: &[(Node, Node)]) -> bool {
        let [.., (_, before), (last, _)] = entries else { return false };
        let between = &self.text[before.end..last.start];
        between.lines().skip(1).any(|l| l.trim().is_empty()) && between.matches('\n').count() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::yaml::keys;

    fn path(text: &str) -> Vec<Seg> {
        crate::builtin::op::read_path(text).unwrap()
    }

    fn check(before: &str, at: &str, value: &str, after: &str) {
        let value = Value::read(value).unwrap();
        for crlf in [false, !before.is_empty()] {
            let ends = |t: &str| if crlf { t.replace('\n', "\r\n") } else { t.to_owned() };
            let got = set(&ends(before), 0, &path(at), &value).unwrap();
            assert_eq!(got, ends(after));
            assert_eq!(set(&got, 0, &path(at), &value).unwrap(), got, "not idempotent");
        }
    }

    #[test]
    fn scalars_keep_their_dress() {
        check("a:\n  b: 1 # one\n", "a.b", "2", "a:\n  b: 2 # one\n");
        check("a: \"x\"\n", "a", "w", "a: \"w\"\n");
        check("a: 'it'\n", "a", "it's", "a: 'it''s'\n");
        check("tag: \"1.0\"\n", "tag", "\"2.0\"", "tag: \"2.0\"\n");
        check("tag: v1\n", "tag", "\"2.0\"", "tag: \"2.0\"\n");
        check("host:\nb: 1\n", "host", "h", "host: h\nb: 1\n");
        check("host: # why\n", "host", "h", "host: h # why\n");
        check("a: {b: 1, c: 2}\n", "a.b", "3", "a: {b: 3, c: 2}\n");
        check("a: 1", "a", "2", "a: 2");
        check("t: |\n  x\n  y\nb: 1\n", "t", "z", "t: z\nb: 1\n");
    }

    #[test]
    fn missing_keys_are_made_in_place() {
        check("a:\n  b: 1\n\nc: 2\n", "a.d", "x", "a:\n  b: 1\n  d: x\n\nc: 2\n");
        check("r: {}\n  # note\nn: 1\n", "r.limits.cpu", "1", "r:\n  limits:\n    cpu: 1\n  # note\nn: 1\n");
        check("r: {} # why\nn: 1\n", "r.x", "1", "r: # why\n  x: 1\nn: 1\n");
        check("a:\n  b:\nc: 1\n", "a.b.x", "1", "a:\n  b:\n    x: 1\nc: 1\n");
        check("a: 1\n\nb: 2\n", "c.d", "3", "a: 1\n\nb: 2\n\nc:\n  d: 3\n");
        check("# only words\n", "a.b", "1", "# only words\na:\n  b: 1\n");
        check("", "a", "1", "a: 1\n");
        check("a: {b: 1}\n", "a.c", "{d: 2}", "a: {b: 1, c: {d: 2}}\n");
        check("a:\n    b:\n        c: 1", "a.b.d", "2", "a:\n    b:\n        c: 1\n        d: 2");
    }

    #[test]
    fn lists_by_name_and_number() {
        let before = "env:\n  - name: A\n    value: x\nz: 1\n";
        check(before, "env[name=A].value", "w", "env:\n  - name: A\n    value: w\nz: 1\n");
        check(before, "env[name=B].value", "w", "env:\n  - name: A\n    value: x\n  - name: B\n    value: w\nz: 1\n");
        check("env: []\nz: 1\n", "env[name=B].value", "w", "env:\n  - name: B\n    value: w\nz: 1\n");
        check("s:\n  env:\n  - name: A\n", "s.env[name=B].value", "w", "s:\n  env:\n  - name: A\n  - name: B\n    value: w\n");
        check("hosts:\n  - host: a\n    paths: []\n", "hosts[0].host", "b", "hosts:\n  - host: b\n    paths: []\n");
        check("hosts: [a]\n", "hosts[0]", "b", "hosts: [b]\n");
        check("hosts:\n  - a\n  - b\nz: 1\n", "hosts", "[c]", "hosts:\n  - c\nz: 1\n");
    }

    #[test]
    fn other_documents_are_left_alone() {
        let text = "a: 1\n---\na: 1\n---\na: 1\n";
        assert_eq!(set(text, 1, &keys(&["a"]), &Value::number(2)).unwrap(), "a: 1\n---\na: 2\n---\na: 1\n");
        assert_eq!(set(text, 1, &keys(&["b"]), &Value::number(2)).unwrap(), "a: 1\n---\na: 1\nb: 2\n---\na: 1\n");
    }

    #[test]
    fn removing() {
        let text = "a:\n  b: 1\n  c: 2\nd: [x, y]\ne: {f: 1, g: 2}\n";
        assert_eq!(remove(text, 0, &path("a.b")).unwrap(), "a:\n  c: 2\nd: [x, y]\ne: {f: 1, g: 2}\n");
        assert_eq!(remove(text, 0, &path("a")).unwrap(), "d: [x, y]\ne: {f: 1, g: 2}\n");
        assert_eq!(remove(text, 0, &path("d[1]")).unwrap(), "a:\n  b: 1\n  c: 2\nd: [x]\ne: {f: 1, g: 2}\n");
        assert_eq!(remove(text, 0, &path("e.f")).unwrap(), "a:\n  b: 1\n  c: 2\nd: [x, y]\ne: {g: 2}\n");
        assert_eq!(remove(text, 0, &path("nope.x")).unwrap(), text);
        assert_eq!(remove("a:\n  b: 1\nc: 2\n", 0, &path("a.b")).unwrap(), "a: {}\nc: 2\n");
        let list = "env:\n  - name: A\n    value: 1\n  - name: B\n    value: 2\n";
        assert_eq!(remove(list, 0, &path("env[name=A]")).unwrap(), "env:\n  - name: B\n    value: 2\n");
        assert_eq!(remove("env:\n  - name: A\nz: 1\n", 0, &path("env[name=A]")).unwrap(), "env: []\nz: 1\n");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(set("a: {b: 1}\n", 0, &path("a"), &Value::number(1)).unwrap_err().contains("mapping"));
        assert!(set("a: 1\n", 0, &path("a.b"), &Value::number(1)).unwrap_err().contains("single value"));
        assert!(set("a: &x 1\nb: *x\n", 0, &path("b"), &Value::number(2)).unwrap_err().contains("alias"));
        assert!(set("{{ x }}\n", 0, &path("b"), &Value::number(2)).is_err());
    }

    #[test]
    fn adding_items() {
        let item = Value::text("b");
        assert_eq!(add("l:\n  - a\n", 0, &path("l"), &item).unwrap(), "l:\n  - a\n  - b\n");
        assert_eq!(add("l: []\n", 0, &path("l"), &item).unwrap(), "l:\n  - b\n");
        assert_eq!(add("x: 1\n", 0, &path("l"), &item).unwrap(), "x: 1\nl:\n  - b\n");
        assert_eq!(add("l:\n  - b\n", 0, &path("l"), &item).unwrap(), "l:\n  - b\n");
    }
}
