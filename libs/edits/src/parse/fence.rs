//! Fences of Markdown, in which models put what they write.

/// A fence that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence<'a> {
    mark: char,
    len: usize,
    /// What stands behind the mark.
    pub(super) info: &'a str,
}

/// The fence that a line opens.
pub(super) fn open(line: &str) -> Option<Fence<'_>> {
    let line = line.trim();
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = line.trim_start_matches(mark);
    let len = line.len() - info.len();
    (len >= 3 && !info.contains('`')).then(|| Fence { mark, len, info: info.trim() })
}

impl Fence<'_> {
    pub(super) fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.len && line.chars().all(|c| c == self.mark)
    }

    /// True for a fence within this one, which has a language, as a fence that closes cannot have.
    pub(super) fn holds(&self, inner: &Fence<'_>) -> bool {
        inner.mark == self.mark && inner.len >= self.len && !inner.info.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_open_and_close() {
        let fence = open("```yaml values.yaml").unwrap();
        assert_eq!(fence.info, "yaml values.yaml");
        assert!(
            fence.is_closed_by("```")
                && fence.is_closed_by(" `````  ")
                && !fence.is_closed_by("``")
                && !fence.is_closed_by("~~~")
        );
        assert!(open("``x").is_none() && open("```a`b").is_none() && open("text ```").is_none() && open("").is_none());
        assert!(
            fence.holds(&open("```rust").unwrap()) && !fence.holds(&open("```").unwrap()) && !fence.holds(&open("~~~a").unwrap())
        );
    }
}
