//! Uniform re-indentation: one rule that turns the indentation of every sought line into that of the file's line, and with
//! which the added lines are indented, too. Where no one rule explains all lines, or the rule does not say what an added
//! line would get, there is none.

use std::collections::BTreeMap;

use super::text::{indent, is_blank, trim_end};

/// The rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reindent {
    /// The file's lines have this before what was sought.
    More { prefix: String, known: Vec<String> },
    /// The sought lines have this before what is in the file.
    Less { prefix: String },
    /// Another character or another width: each depth that was seen, and the step between depths.
    Depths { from: char, to: char, known: BTreeMap<usize, usize>, step: Option<(usize, usize)> },
}

impl Reindent {
    /// The rule for these pairs of a sought line and the file's, if there is one.
    pub(super) fn of(pairs: &[(&str, &str)]) -> Option<Reindent> {
        let mut indents: Vec<(&str, &str)> = Vec::new();
        for (sought, there) in pairs {
            match (is_blank(sought), is_blank(there)) {
                (true, true) => continue,
                (false, false) => {}
                _ => return None,
            }
            if trim_end(sought).trim_start_matches([' ', '\t']) != trim_end(there).trim_start_matches([' ', '\t']) {
                return None;
            }
            indents.push((indent(sought), indent(there)));
        }
        let (first_sought, first_there) = *indents.first()?;
        if let Some(prefix) = first_there.strip_suffix(first_sought)
            && indents.iter().all(|(sought, there)| there.strip_prefix(prefix) == Some(*sought))
        {
            let known = indents.iter().map(|(sought, _)| (*sought).to_owned()).collect();
            return Some(Reindent::More { prefix: prefix.to_owned(), known });
        }
        if let Some(prefix) = first_sought.strip_suffix(first_there)
            && indents.iter().all(|(sought, there)| sought.strip_prefix(prefix) == Some(*there))
        {
            return Some(Reindent::Less { prefix: prefix.to_owned() });
        }
        depths(&indents)
    }

    /// An added line as it is indented in the file.
    pub(super) fn fit(&self, line: &str) -> Option<String> {
        if is_blank(line) {
            return Some(String::new());
        }
        let (blanks, rest) = line.split_at(indent(line).len());
        match self {
            Reindent::More { prefix, known } => {
                let alike = || only(prefix).zip(only(blanks)).is_some_and(|(a, b)| a == b);
                let fits = blanks.is_empty() || prefix.is_empty() || alike() || known.iter().any(|k| k == blanks);
                fits.then(|| format!("{prefix}{line}"))
            }
            Reindent::Less { prefix } => line.strip_prefix(prefix.as_str()).map(str::to_owned),
            Reindent::Depths { from, to, known, step } => {
                if !blanks.chars().all(|c| c == *from) {
                    return None;
                }
                let depth = depth_of(blanks.len(), known, *step)?;
                Some(format!("{}{rest}", to.to_string().repeat(depth)))
            }
        }
    }
}

/// The one character that a text is made of.
fn only(text: &str) -> Option<char> {
    let first = text.chars().next()?;
    text.chars().all(|c| c == first).then_some(first)
}

fn depths(indents: &[(&str, &str)]) -> Option<Reindent> {
    let from = one_character(indents.iter().map(|(sought, _)| *sought))?;
    let to = one_character(indents.iter().map(|(_, there)| *there))?;
    let mut known = BTreeMap::new();
    for (sought, there) in indents {
        if *known.entry(sought.len()).or_insert(there.len()) != there.len() {
            return None;
        }
    }
    let all: Vec<(usize, usize)> = known.iter().map(|(a, b)| (*a, *b)).collect();
    let step = step(&all)?;
    Some(Reindent::Depths { from, to, known, step })
}

/// The character that all of them are made of; a blank when none has any.
fn one_character<'a>(mut indents: impl Iterator<Item = &'a str>) -> Option<char> {
    let mut character = None;
    let uniform = indents.all(|i| i.chars().all(|c| *character.get_or_insert(c) == c));
    uniform.then(|| character.unwrap_or(' '))
}

/// What one step inwards is on either side: the same wherever it was seen. `Some(None)` when just one depth was.
fn step(known: &[(usize, usize)]) -> Option<Option<(usize, usize)>> {
    let Some(unit) = known.windows(2).map(|w| w[1].0 - w[0].0).reduce(gcd) else { return Some(None) };
    let (first, last) = (known.first()?, known.last()?);
    let steps = (last.0 - first.0) / unit;
    let wide = last.1.checked_sub(first.1)?;
    if wide == 0 || wide % steps != 0 {
        return None;
    }
    let there = wide / steps;
    let fits = known.iter().all(|(sought, is)| (sought - first.0) / unit * there + first.1 == *is);
    // Whole steps on both sides, and nothing sought further inwards than it is: that would be one line out of place, not another
    // width of the steps.
    let whole = first.0 % unit == 0 && first.1 % there == 0 && first.0 / unit <= first.1 / there;
    (fits && whole).then_some(Some((unit, there)))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn depth_of(blanks: usize, known: &BTreeMap<usize, usize>, step: Option<(usize, usize)>) -> Option<usize> {
    if let Some(depth) = known.get(&blanks) {
        return Some(*depth);
    }
    let ((unit, there), (base, base_there)) = (step?, known.first_key_value()?);
    if blanks >= *base {
        let more = blanks - base;
        more.is_multiple_of(unit).then(|| base_there + more / unit * there)
    } else {
        let less = base - blanks;
        if less.is_multiple_of(unit) { base_there.checked_sub(less / unit * there) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(sought: &[&str], there: &[&str]) -> Option<Reindent> {
        let pairs: Vec<(&str, &str)> = sought.iter().copied().zip(there.iter().copied()).collect();
        Reindent::of(&pairs)
    }

    fn fit(sought: &[&str], there: &[&str], line: &str) -> Option<String> {
        rule(sought, there)?.fit(line)
    }

    #[test]
    fn a_block_may_lie_deeper_or_less_deep() {
        assert_eq!(fit(&["a", "  b"], &["    a", "      b"], "  c").as_deref(), Some("      c"));
        assert_eq!(fit(&["    a", "      b"], &["a", "  b"], "      c").as_deref(), Some("  c"));
        assert_eq!(fit(&["    a", "      b"], &["a", "  b"], "  c"), None, "it would stick out");
        assert_eq!(fit(&["a"], &["\ta"], "\tb").as_deref(), Some("\t\tb"));
        assert_eq!(fit(&["a"], &["\ta"], "    b"), None, "what four blanks are among tabs is not said");
        assert_eq!(fit(&["a", "", "b"], &["  a", "   ", "  b"], "   ").as_deref(), Some(""));
    }

    #[test]
    fn tabs_and_blanks_and_widths_are_turned_into_each_other() {
        let (spaces, tabs) = (["    a", "        b"], ["\ta", "\t\tb"]);
        assert_eq!(fit(&spaces, &tabs, "            c").as_deref(), Some("\t\t\tc"));
        assert_eq!(fit(&spaces, &tabs, "c").as_deref(), Some("c"));
        assert_eq!(fit(&spaces, &tabs, "      c"), None, "half a step");
        assert_eq!(fit(&tabs, &spaces, "\t\tc").as_deref(), Some("        c"));
        assert_eq!(fit(&["a", "  b", "    c"], &["a", "    b", "        c"], "      d").as_deref(), Some("            d"));
        assert_eq!(fit(&["\ta"], &["    a"], "\tb").as_deref(), Some("    b"), "the one depth that was seen");
        assert_eq!(fit(&["\ta"], &["    a"], "\t\tb"), None);
    }

    #[test]
    fn lines_that_no_one_rule_explains_have_none() {
        assert_eq!(rule(&["a", "  b"], &["  a", "  b"]), None);
        assert_eq!(rule(&["a", "  b", "    c"], &["a", "  b", "      c"]), None);
        assert_eq!(rule(&["a", "b"], &["a", "  b"]), None);
        assert_eq!(rule(&["a", ""], &["  a", "  b"]), None);
        assert_eq!(rule(&["a"], &["  x"]), None);
        assert_eq!(rule(&["", " "], &["", ""]), None, "there is nothing to hold on to");
        assert_eq!(rule(&["        a", "      }"], &["        a", "    }"]), None, "one line is out of place");
        assert_eq!(rule(&["  a", "      b"], &["  a", "    b"]), None, "one line is out of place");
    }
}
