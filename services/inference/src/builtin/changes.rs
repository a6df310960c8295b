//! From a file before and after one change to the tool call that makes the one into the other.

use serde_json::{Value, json};

/// The call of an edit tool, by name and arguments: one for the whole change, so that the file is sound before and
/// after it, with as few lines as are unique in the file.
pub(super) fn call(path: &str, before: &str, after: &str) -> Option<(&'static str, Value)> {
    if before == after {
        return None;
    }
    if before.trim().is_empty() {
        return Some(("insert", json!({"path": path, "line": 0, "text": after})));
    }
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (end, hunk) = (old.len() - tail, &new[head..new.len() - tail]);
    let (from, to) = unique(&old, head, end, hunk.is_empty());
    let replaced: Vec<&str> = old[from..head].iter().chain(hunk).chain(&old[end..to]).copied().collect();
    let (old_str, new_str) = strings(&old[from..to], &replaced);
    Some(("str_replace", json!({"path": path, "old_str": old_str, "new_str": new_str})))
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
    use bytes::Bytes;
    use slipway_edits::{Change, Edit, apply};

    use super::*;

    /// The edit tools on one file, by the engine that everybody's edits are made by.
    pub(in crate::builtin) fn edit(file: Option<&str>, name: &str, arguments: &Value) -> Result<Option<String>, String> {
        let text = |key: &str| arguments[key].as_str().map(str::to_owned).ok_or(format!("{key} is missing"));
        let path = "f".to_owned();
        let edit = match name {
            "create" => Edit::Create { path, content: text("content")? },
            "delete" => Edit::Delete { path, lines: None },
            "str_replace" => Edit::Replace { path, old: text("old_str")?, new: text("new_str")?, all: false },
            "insert" => {
                let line = arguments["line"].as_u64().ok_or("line is missing")?;
                Edit::Insert { path, line: usize::try_from(line).unwrap(), text: text("text")? }
            }
            "done" => return Ok(file.map(str::to_owned)),
            other => return Err(format!("{other} cannot be used here")),
        };
        let file = file.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let mut batch = apply([("f".to_owned(), file)].into(), &[edit], &mut |_, _| {});
        batch.outcomes.remove(0).map_err(|refusal| refusal.to_string())?;
        Ok(batch.changes.pop().and_then(|change| match change {
            Change::Write { content, .. } => Some(String::from_utf8(content.to_vec()).unwrap()),
            _ => None,
        }))
    }

    fn round_trip(before: &str, after: &str) {
        let (name, arguments) = call("f", before, after).unwrap();
        let file = edit(Some(before), name, &arguments).unwrap_or_else(|e| panic!("{e}: {arguments}")).unwrap();
        assert_eq!(file, after);
        assert!(call("f", after, after).is_none());
    }

    #[test]
    fn the_call_makes_the_one_into_the_other() {
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
            if !before.trim().is_empty() && !after.trim().is_empty() && before != after {
                round_trip(&before, &after);
            }
        }
    }
}
