//! Whether a text is YAML: it parses, and no mapping has the same key twice. Aliases are not expanded, so a hostile
//! file costs no more than its size.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser};

/// What is known of a YAML stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// True when some document is a mapping.
    pub(crate) mapping: bool,
}

enum Frame {
    Sequence,
    Mapping { keys: HashSet<String>, at_key: bool },
}

/// Parses every document; the error names the line.
pub(crate) fn check(text: &str) -> Result<Shape, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut stack: Vec<Frame> = Vec::new();
    let mut shape = Shape { mapping: false };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| format!("line {}: {}", e.marker().line(), e.info()))?;
        match event {
            Event::Scalar(value, ..) => {
                if let Some(Frame::Mapping { keys, at_key: true }) = stack.last_mut()
                    && value != "<<"
                    && !keys.insert(value.to_string())
                {
                    return Err(format!("line {}: the key `{value}` occurs twice in the same mapping", span.start.line()));
                }
                value_ended(&mut stack);
            }
            Event::Alias(_) => value_ended(&mut stack),
            Event::SequenceStart(..) => stack.push(Frame::Sequence),
            Event::MappingStart(..) => {
                shape.mapping |= stack.is_empty();
                stack.push(Frame::Mapping { keys: HashSet::new(), at_key: true });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                stack.pop();
                value_ended(&mut stack);
            }
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {}
        }
    }
    Ok(shape)
}

/// In a mapping, keys and values take turns.
fn value_ended(stack: &mut [Frame]) {
    if let Some(Frame::Mapping { at_key, .. }) = stack.last_mut() {
        *at_key = !*at_key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_yaml() {
        for text in [
            "",
            "# only a comment\n",
            "a: 1\nb: [1, 2]\nc: {d: e}\n",
            "---\na: 1\n---\nb: 2\n",
            "a: &x {k: 1}\nb:\n  <<: *x\n  k: 2\n",
            "- a: 1\n- a: 1\n",
            "a:\n  x: 1\nb:\n  x: 1\n",
            "a: x\nb: a\n",
            "s: |\n  {{ not a template }}\n",
            "\u{feff}a: 1\r\nb: 2\r\n",
            "? [complex, key]\n: v\n",
        ] {
            assert!(check(text).is_ok(), "{text:?}: {:?}", check(text));
        }
    }

    #[test]
    fn refuses_what_is_not_and_names_the_line() {
        for (text, part) in [
            ("a: 1\n b: 2\n", "line 2"),
            ("a: [1, 2\nb: 3\n", "line"),
            ("a: 1\nb: 2\na: 3\n", "line 3: the key `a` occurs twice"),
            ("x:\n  a: 1\n  a: 2\n", "`a` occurs twice"),
            ("a: \"open\n", "line"),
            ("a: b: c\n", "line 1"),
            ("a:\n\tb: 1\n", "line 2"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn knows_a_mapping_and_survives_alias_bombs() {
        assert!(check("a: 1\n").unwrap().mapping);
        assert!(!check("just words\n").unwrap().mapping);
        assert!(!check("- a: 1\n").unwrap().mapping);
        let mut bomb = String::from("a0: &a0 [x, x]\n");
        for i in 1..60 {
            bomb.push_str(&format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1));
        }
        assert!(check(&bomb).is_ok());
    }
}
