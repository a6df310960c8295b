//! `view`: lines of a file with their numbers.

use super::text::Text;

/// What is shown of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Lines with their numbers, from 1, without their ends.
    pub lines: Vec<(usize, String)>,
    /// How many lines the file has.
    pub total: usize,
    /// There is more of what was asked for; it goes on after the last line.
    pub truncated: bool,
}

/// The lines from `first` to `last`, both from 1 and both included, as far as they fit. A line longer than that is cut.
/// When the file has no such line, how many it has.
pub fn view(stored: &str, first: usize, last: usize, max_bytes: usize) -> Result<View, usize> {
    let text = Text::of(stored);
    let total = text.len();
    if total == 0 {
        return Ok(View { lines: Vec::new(), total, truncated: false });
    }
    let (first, last) = (first.max(1), last.min(total));
    if first > last {
        return Err(total);
    }
    let mut lines = Vec::new();
    let mut bytes = 0;
    for index in first - 1..last {
        let line = text.line(index);
        bytes += line.len() + 16;
        if bytes > max_bytes && !lines.is_empty() {
            return Ok(View { lines, total, truncated: true });
        }
        let end = (0..=line.len().min(max_bytes)).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        lines.push((index + 1, line[..end].to_owned()));
        if end < line.len() {
            return Ok(View { lines, total, truncated: true });
        }
    }
    Ok(View { lines, total, truncated: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_is_asked_for_as_far_as_it_fits() {
        let shown = |first, last, max| view("\u{feff}a\r\nb\n\nd", first, last, max).ok().map(|v| (v.lines, v.truncated));
        let lines = |lines: &[(usize, &str)]| lines.iter().map(|(n, l)| (*n, (*l).to_owned())).collect::<Vec<_>>();
        assert_eq!(shown(1, usize::MAX, 1000), Some((lines(&[(1, "a"), (2, "b"), (3, ""), (4, "d")]), false)));
        assert_eq!(shown(0, 1, 1000), Some((lines(&[(1, "a")]), false)));
        assert_eq!(shown(2, 3, 20), Some((lines(&[(2, "b")]), true)));
        assert_eq!((shown(5, 9, 1000), shown(3, 2, 1000)), (None, None));
        assert_eq!(view("ééé", 1, 1, 3).map(|v| (v.lines, v.truncated)), Ok((lines(&[(1, "é")]), true)));
        assert_eq!(view("", 1, 5, 10).map(|v| v.total), Ok(0));
    }
}
