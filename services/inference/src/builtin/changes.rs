//! From a file before and after to the tool calls that make the one into the other.

use serde_json::{Value, json};
use similar::TextDiff;

/// Calls of the edit tools, by name and arguments: as few lines as are unique in the file at that moment.
pub(super) fn calls(path: &str, before: &str, after: &str) -> Vec<(&'static str, Value)> {
    if before == after {
        return Vec::new();
    }
    if before.trim().is_empty() {
        return vec![("insert", json!({"path": path, "line": 0, "text": after}))];
    }
    let diff = TextDiff::from_lines(before, after);
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let mut current: Vec<&str> = old.clone();
    let mut calls = Vec::new();
    for group in diff.grouped_ops(0) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_len = last.old_range().end - first.old_range().start;
        let hunk = &new[first.new_range().start..last.new_range().end];
        // Everything above is as it will be, so the hunk stands at its new line.
        let at = first.new_range().start;
        let (from, to) = unique(&current, at, at + old_len, hunk.is_empty());
        let replaced: Vec<&str> = current[from..at].iter().chain(hunk).chain(&current[at + old_len..to]).copied().collect();
        let (old_str, new_str) = strings(&current[from..to], &replaced);
        calls.push(("str_replace", json!({"path": path, "old_str": old_str, "new_str": new_str})));
        current.splice(from..to, replaced);
    }
    calls
}

/// The smallest range around the given lines whose text occurs once, growing upwards first.
fn unique(lines: &[&str], from: usize, to: usize, removes: bool) -> (usize, usize) {
    let whole = lines.concat();
    let (mut from, mut to) = (from, to);
    let mut up = true;
    // A removal needs a neighbour: replaced by nothing, it would leave an empty line.
    let mut needs_neighbour = removes || from == to;
    loop {
        let text = without_end(&lines[from..to].concat()).to_owned();
        if !needs_neighbour && !text.trim().is_empty() && occurs_once(&whole, &text) {
            return (from, to);
        }
        if from == 0 && to == lines.len() {
            return (from, to);
        }
        if (up && from > 0) || to == lines.len() {
            from -= 1;
        } else {
            to += 1;
        }
        needs_neighbour = false;
        up = !up;
    }
}

// Also where occurrences overlap, which counting matches would miss.
fn occurs_once(whole: &str, text: &str) -> bool {
    whole.find(text) == whole.rfind(text)
}

// Without the last line end: whether a file ends with one need not be known.
fn strings(old: &[&str], new: &[&str]) -> (String, String) {
    let (old, new) = (old.concat(), new.concat());
    if old.ends_with('\n') == new.ends_with('\n') && !without_end(&old).is_empty() {
        (without_end(&old).to_owned(), without_end(&new).to_owned())
    } else {
        (old, new)
    }
}

fn without_end(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The edit tools on one file, as strict as the real ones.
    pub(in crate::builtin) fn edit(file: Option<&str>, name: &str, arguments: &Value) -> Result<Option<String>, String> {
        let text = |key: &str| arguments[key].as_str().ok_or(format!("{key} is missing"));
        match (name, file) {
            ("create", None) => Ok(Some(text("content")?.to_owned())),
            ("create", Some(_)) => Err("the file exists".into()),
            ("delete", Some(_)) => Ok(None),
            ("str_replace", Some(file)) => {
                let old = text("old_str")?;
                match file.matches(old).count() {
                    1 if !old.is_empty() => Ok(Some(file.replacen(old, text("new_str")?, 1))),
                    n => Err(format!("{n} matches")),
                }
            }
            ("insert", Some(file)) => {
                let line = arguments["line"].as_u64().ok_or("line is missing")? as usize;
                let mut lines: Vec<&str> = file.split_inclusive('\n').collect();
                lines.insert(line.min(lines.len()), text("text")?);
                Ok(Some(lines.concat()))
            }
            ("done", file) => Ok(file.map(str::to_owned)),
            (other, _) => Err(format!("{other} cannot be used here")),
        }
    }

    fn round_trip(before: &str, after: &str) {
        let mut file = before.to_owned();
        for (name, arguments) in calls("f", before, after) {
            file = edit(Some(&file), name, &arguments).unwrap_or_else(|e| panic!("{e}: {arguments}")).unwrap();
        }
        assert_eq!(file, after);
    }

    #[test]
    fn the_calls_make_the_one_into_the_other() {
        round_trip("a: 1\n", "a: 2\n");
        round_trip("a: 1", "a: 2");
        round_trip("a: 1", "a: 1\nb: 2");
        round_trip("a: 1\n", "a: 1\nb: 2\n");
        round_trip("x:\n  r: 1\ny:\n  r: 1\n", "x:\n  r: 1\ny:\n  r: 2\n");
        round_trip("x:\n  r: 1\ny:\n  r: 1\n", "x:\n  r: 2\ny:\n  r: 2\n");
        round_trip("r: 1\nr2: 10\n", "r: 3\nr2: 10\n");
        round_trip("a\nb\nc\n", "a\nc\n");
        round_trip("a\n", "b\na\n");
        round_trip("a\r\nb\r\n", "a\r\nx\r\nb\r\n");
        round_trip("same\nsame\nsame\n", "same\nsame\nother\nsame\n");
        round_trip("", "a\n");
        round_trip("a\n\n\nb\n", "a\n\n\nb\nc\n");
    }

    #[test]
    fn many_random_edits_arrive() {
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..500 {
            let make = |next: &mut dyn FnMut(u64) -> u64| {
                (0..next(12)).map(|_| ["a", "b: 1", "", "  c"][next(4) as usize].to_owned() + "\n").collect::<String>()
            };
            let (before, after) = (make(&mut next), make(&mut next));
            if !before.trim().is_empty() && !after.trim().is_empty() {
                round_trip(&before, &after);
            }
        }
    }
}
