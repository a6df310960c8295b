//! Lines that stand for others: `...`, `# ... existing code ...`, and where the lines lie that they leave out.

use super::block::Block;
use super::text::{Text, is_blank, trim_end};
use super::work::Work;

/// What a comment may begin with.
const OPENERS: [&str; 9] = ["{{- /*", "{{/*", "<!--", "/*", "//", "--", "#", ";", "%"];
const CLOSERS: [&str; 5] = ["*/ -}}", "*/}}", "-->", "*/", "}"];
/// The most parts that a block is sought by.
const MAX_PARTS: usize = 100;
/// Words that say that something is left out.
const WORDS: [&str; 10] =
    ["existing", "rest of", "the rest", "remaining", "remainder", "unchanged", "omitted", "same as", "other code", "as before"];

/// True for a line that may stand for others: dots, or a comment that begins with dots.
pub(super) fn is_marker(line: &str) -> bool {
    let (inner, comment) = uncomment(line.trim());
    let Some(rest) = inner.strip_prefix("...").or_else(|| inner.strip_prefix('…')) else { return false };
    let rest = rest.trim_matches(['.', '…', ' ', '\t']);
    rest.is_empty() || comment || (speaks(rest) && inner.ends_with(['.', '…']))
}

/// True for a line that says in words that it stands for others. Nobody wants it in a file.
pub(super) fn is_worded(line: &str) -> bool {
    let (inner, comment) = uncomment(line.trim());
    let dotted = inner.contains("...") || inner.contains('…');
    dotted && speaks(inner) && (comment || is_marker(line))
}

fn speaks(text: &str) -> bool {
    let text = text.to_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

fn uncomment(line: &str) -> (&str, bool) {
    let Some(inner) = OPENERS.iter().find_map(|opener| line.strip_prefix(opener)) else { return (line, false) };
    let inner = inner.trim_start_matches(['#', '/', '-', '*', '!']).trim();
    (CLOSERS.iter().find_map(|closer| inner.strip_suffix(closer)).unwrap_or(inner).trim(), true)
}

/// The places of a block whose lines leave some out: a line of the file for each sought line, none for one that stands for
/// others. Up to `most` of them, and no more than there are.
pub(super) fn find(olds: &[&str], block: &Block, file: &Text<'_>, most: usize, work: &Work) -> Vec<Vec<Option<usize>>> {
    if !block.ops.iter().all(keeps_markers) {
        return Vec::new();
    }
    let parts: Vec<&[&str]> = olds.split(|line| is_marker(line)).collect();
    // What stands at the ends leaves nothing out that could be told.
    if !(2..=MAX_PARTS).contains(&parts.len()) || parts.iter().any(|part| part.iter().all(|line| is_blank(line))) {
        return Vec::new();
    }
    let lines = file.contents();
    let mut places: Vec<Vec<usize>> = parts.iter().map(|part| occurrences(part, &lines, work)).collect();
    // Only places after which the other parts still come, so that no search goes astray.
    let mut limit = lines.len() + 1;
    for (part, places) in parts.iter().zip(&mut places).rev() {
        places.retain(|at| at + part.len() < limit);
        let Some(last) = places.last() else { return Vec::new() };
        limit = *last;
    }
    let mut found = Vec::new();
    let mut starts = Vec::with_capacity(parts.len());
    place(&parts, &places, 0, most, &mut starts, &mut found);
    found.into_iter().map(|starts| spread(&parts, &starts)).collect()
}

fn keeps_markers(op: &super::block::Op) -> bool {
    use super::block::Op;
    match op {
        Op::Keep(_) => true,
        Op::Remove(line) | Op::Add(line) => !is_marker(line),
    }
}

fn occurrences(part: &[&str], lines: &[&str], work: &Work) -> Vec<usize> {
    let alike = |at: &usize| work.all_alike(part, &lines[*at..*at + part.len()], |a, b| trim_end(a) == trim_end(b));
    let starts = 0..(lines.len() + 1).saturating_sub(part.len());
    starts.take_while(|_| !work.is_spent()).filter(alike).collect()
}

/// Every way to have the parts one after the other, with at least one line between two.
fn place(
    parts: &[&[&str]],
    places: &[Vec<usize>],
    from: usize,
    most: usize,
    starts: &mut Vec<usize>,
    found: &mut Vec<Vec<usize>>,
) {
    let index = starts.len();
    if index == parts.len() {
        found.push(starts.clone());
        return;
    }
    let first = places[index].partition_point(|at| *at < from);
    for at in &places[index][first..] {
        if found.len() >= most {
            return;
        }
        starts.push(*at);
        place(parts, places, at + parts[index].len() + 1, most, starts, found);
        starts.pop();
    }
}

fn spread(parts: &[&[&str]], starts: &[usize]) -> Vec<Option<usize>> {
    let mut lines = Vec::new();
    for (part, start) in parts.iter().zip(starts) {
        if !lines.is_empty() {
            lines.push(None);
        }
        lines.extend((*start..*start + part.len()).map(Some));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_code() {
        for line in [
            "...",
            "    ...",
            "…",
            "# ... existing code ...",
            "  // ... rest of the function ...",
            "/* ... */",
            "<!-- ... unchanged ... -->",
            "{{/* ... */}}",
            "-- ...",
            "# ...",
            "... existing code ...",
        ] {
            assert!(is_marker(line), "{line}");
        }
        for line in ["", "a", "x = ...", "...rest", "[...a]", "..", "# a comment", "// see ... below", "....a", "..."] {
            assert_eq!(is_marker(line), line == "...", "{line}");
        }
        assert!(is_worded("# ... existing code ...") && is_worded("// the rest of the file is unchanged ..."));
        assert!(!is_worded("...") && !is_worded("# ...") && !is_worded("print('loading existing ...')"));
    }

    #[test]
    fn parts_lie_in_order_or_nowhere() {
        let file = Text::of("a\n1\nb\n2\nc\n3\nb\n");
        let find = |olds: &[&str]| {
            let work = Work::new(10_000);
            let block = Block::between(olds, olds, 1, &work).unwrap();
            find(olds, &block, &file, 10, &work)
        };
        assert_eq!(find(&["a", "...", "c"]), [vec![Some(0), None, Some(4)]]);
        assert_eq!(find(&["a", "...", "b"]).len(), 2, "it is not told which");
        assert_eq!(find(&["1", "b", "# ...", "3"]), [vec![Some(1), Some(2), None, Some(5)]]);
        assert!(find(&["c", "...", "a"]).is_empty());
        assert!(find(&["a", "...", "1"]).is_empty(), "nothing would be left out");
        assert!(find(&["...", "c"]).is_empty() && find(&["a", "...", "", "...", "c"]).is_empty());
    }
}
