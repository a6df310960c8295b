//! Markdown: a section is a heading with what follows up to the next. Code fences hide headings.

use super::lines::{Lines, Span};

pub(super) fn spans(lines: &Lines<'_>) -> Vec<Span> {
    let mut spans = vec![Span { start: 0, end: 0, title: String::new() }];
    let mut fence: Option<&str> = None;
    for at in 0..lines.len() {
        let line = lines.get(at).trim_start();
        if let Some(mark) = fence_of(line) {
            match fence {
                None => fence = Some(mark),
                Some(open) if line.starts_with(open) => fence = None,
                Some(_) => {}
            }
            continue;
        }
        if fence.is_some() {
            continue;
        }
        if let Some((start, title)) = heading(lines, at) {
            if let Some(last) = spans.last_mut() {
                last.end = start.max(last.start);
            }
            spans.push(Span { start, end: lines.len(), title: format!("section {title}") });
        }
    }
    if let [only] = &mut spans[..] {
        only.end = lines.len();
    }
    spans
}

fn fence_of(line: &str) -> Option<&'static str> {
    ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark))
}

/// The heading that line `at` completes: where it starts and its text.
fn heading<'a>(lines: &Lines<'a>, at: usize) -> Option<(usize, &'a str)> {
    let line = lines.get(at);
    let hashes = line.len() - line.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) {
        let text = line[hashes..].strip_prefix(' ')?.trim().trim_end_matches('#').trim_end();
        return (!text.is_empty()).then_some((at, text));
    }
    // Underlined: a line of text, then `===`; `---` is as often a rule or front matter.
    let underline = line.trim_end();
    if at > 0 && underline.len() >= 3 && underline.bytes().all(|b| b == b'=') && !lines.is_blank(at - 1) {
        return Some((at - 1, lines.get(at - 1).trim()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::chunk;

    #[test]
    fn sections_follow_the_headings() {
        let text = "intro\n\n# Slipway\ntext\n```sh\n# not a heading\n```\n## Installing ##\n\nRun it.\n\nUnderlined\n==========\nmore\n";
        let found: Vec<_> = chunk("README.md", text).iter().map(|c| (c.title.clone(), c.start_line, c.end_line)).collect();
        let expected = [("", 1, 1), ("section Slipway", 3, 7), ("section Installing", 8, 10), ("section Underlined", 12, 14)];
        assert_eq!(found, expected.map(|(t, a, b)| (t.to_owned(), a, b)));
    }

    #[test]
    fn a_long_section_becomes_several_chunks_with_its_title() {
        let body: String = (0..80).map(|n| format!("A sentence with number {n} in it.\n\n")).collect();
        let chunks = chunk("README.md", &format!("# Long\n{body}"));
        assert!(chunks.len() > 2 && chunks.iter().all(|c| c.title == "section Long"));
    }
}
