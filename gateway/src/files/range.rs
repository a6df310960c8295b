//! The `range` header (RFC 9110, section 14): one range of bytes. Several at once are answered by the whole.

/// What is asked of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Whole,
    /// From the first byte to before the last.
    Part(u64, u64),
    /// Nothing that is there.
    Beyond,
}

/// What a header asks of a content of this size. What cannot be understood asks for nothing, as the standard has it.
pub(super) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else { return Asked::Whole };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
    let (Some(from), Some(to)) =
        (number(if first.is_empty() { "0" } else { first }), number(if last.is_empty() { "0" } else { last }))
    else {
        return Asked::Whole;
    };
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Asked::Whole,
        (true, false) if to == 0 || size == 0 => Asked::Beyond,
        (true, false) => Asked::Part(size.saturating_sub(to), size),
        (false, _) if from >= size => Asked::Beyond,
        (false, true) => Asked::Part(from, size),
        (false, false) if to < from => Asked::Whole,
        (false, false) => Asked::Part(from, size.min(to.saturating_add(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_it() {
        for (header, expected) in [
            ("bytes=0-0", Asked::Part(0, 1)),
            ("bytes=2-", Asked::Part(2, 10)),
            ("bytes=-3", Asked::Part(7, 10)),
            ("bytes=-30", Asked::Part(0, 10)),
            ("bytes=4-99999999999999999999", Asked::Part(4, 10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("items=0-1", Asked::Whole),
        ] {
            assert_eq!(asked(Some(header), 10), expected, "{header}");
        }
        assert_eq!((asked(None, 10), asked(Some("bytes=0-"), 0)), (Asked::Whole, Asked::Beyond));
    }
}
