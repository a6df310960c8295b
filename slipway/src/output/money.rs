//! Money and bars.

/// Eighths of a character, from the left.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Micro-dollars as dollars: at least cents, and as many more digits as there are.
pub(crate) fn dollars(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let short = text.trim_end_matches('0').len().max(text.len() - 4);
    text[..short].to_owned()
}

/// A bar of at most `width` characters for a part of a whole.
pub(crate) fn bar(part: i64, whole: i64, width: usize) -> String {
    if part <= 0 || whole <= 0 {
        return String::new();
    }
    let full = width * 8;
    let eighths = (i128::from(part) * full as i128 / i128::from(whole)) as usize;
    // What is there is seen.
    let eighths = eighths.clamp(1, full);
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// One field of comma-separated values (RFC 4180). A spreadsheet must not take a name for a formula.
pub(crate) fn csv(field: &str) -> String {
    let field = match field.starts_with(['=', '+', '-', '@', '\t', '\r']) && field.parse::<f64>().is_err() {
        true => format!("'{field}"),
        false => field.to_owned(),
    };
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_well() {
        for (micros, text) in [(2_500_000, "2.50"), (0, "0.00"), (75_000, "0.075"), (1, "0.000001"), (-1_500_000, "-1.50")] {
            assert_eq!(dollars(micros), text);
        }
    }

    #[test]
    fn bars_grow_with_what_they_stand_for() {
        assert_eq!((bar(0, 10, 4), bar(10, 10, 4), bar(5, 10, 4)), (String::new(), "████".into(), "██".into()));
        assert_eq!((bar(1, 1_000_000, 4), bar(9, 32, 4), bar(99, 10, 4)), ("▏".into(), "█▏".into(), "████".into()));
    }

    #[test]
    fn fields_survive_a_spreadsheet() {
        for (field, written) in [("a", "a"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("=1+1", "'=1+1"), ("-5", "-5")] {
            assert_eq!(csv(field), written);
        }
    }
}
