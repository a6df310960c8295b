//! A request cut into words and clauses, as far as that can be done without understanding it.

/// What stands before a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Nothing but a blank.
    Blank,
    /// A comma, `and`, `then`: perhaps another request.
    Soft,
    /// A line end, a semicolon, a full stop: certainly another request.
    Hard,
}

/// A word of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// As it was written, without quotes.
    pub(super) text: String,
    /// In lower case; empty when it was quoted, so that no rule takes it for one of its own words.
    pub(super) lower: String,
    /// True when it was quoted.
    pub(super) quoted: bool,
    gap: Gap,
}

impl Word {
    /// The number that the word says, in digits or as a word.
    pub(super) fn number(&self) -> Option<u64> {
        if self.quoted {
            return None;
        }
        self.lower.parse().ok().or_else(|| number_word(&self.lower))
    }

    pub(super) fn is(&self, words: &[&str]) -> bool {
        words.contains(&self.lower.as_str())
    }
}

fn number_word(word: &str) -> Option<u64> {
    const WORDS: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    match word {
        "single" => Some(1),
        "dozen" => Some(12),
        "thirty" => Some(30),
        "fifty" => Some(50),
        "hundred" => Some(100),
        _ => WORDS.iter().position(|w| *w == word).map(|n| n as u64),
    }
}

/// The fragments of a request: words between soft gaps; the flag says that a hard gap stands before.
pub(super) fn fragments(text: &str) -> Vec<(bool, Vec<Word>)> {
    let mut found: Vec<(bool, Vec<Word>)> = Vec::new();
    let mut hard = true;
    let mut open = false;
    for word in words(text) {
        if word.is(&["and", "then", "also", "plus", "&", "furthermore", "additionally", "finally"]) {
            open = false;
            hard |= word.gap == Gap::Hard;
            continue;
        }
        hard |= word.gap == Gap::Hard;
        if !open || word.gap != Gap::Blank {
            found.push((std::mem::take(&mut hard), Vec::new()));
            open = true;
        }
        if let Some((_, fragment)) = found.last_mut() {
            fragment.push(word);
        }
    }
    found
}

/// The words of a text.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let mut gap = Gap::Hard;
    let mut line_begins = true;
    let mut chars = text.char_indices().peekable();
    while let Some(&(at, c)) = chars.peek() {
        if c == '\n' {
            (gap, line_begins) = (Gap::Hard, true);
            chars.next();
            continue;
        }
        if c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '{' | '}') {
            chars.next();
            continue;
        }
        let mut raw = String::new();
        let mut quoted = false;
        let mut quote = None;
        let mut quoted_to = 0;
        while let Some(&(_, c)) = chars.peek() {
            match quote {
                Some(q) if c == q => (quote, quoted_to) = (None, raw.len()),
                Some(_) => raw.push(c),
                None if closing(c).is_some()
                    && (raw.is_empty() || raw.ends_with(['=', ':']))
                    && has_closing(&text[at..], c, &raw) =>
                {
                    (quote, quoted) = (closing(c), true);
                }
                None if c.is_whitespace() => break,
                // Part of a path or a name, not of a sentence, when something follows at once.
                None if matches!(c, ')' | '}') => break,
                None => raw.push(c),
            }
            chars.next();
        }
        let bullet = line_begins && (matches!(raw.as_str(), "-" | "*" | "•") || is_numbering(&raw));
        line_begins = false;
        if bullet {
            continue;
        }
        let mut after = Gap::Blank;
        // Marks at the end of a word end the clause, unless the word was quoted whole.
        while let Some(last) =
            raw.chars().last().filter(|c| matches!(c, ',' | ';' | '.' | '!' | '?' | ':') && raw.len() > quoted_to)
        {
            after = match last {
                ',' if after != Gap::Hard => Gap::Soft,
                ';' | '.' | '!' | '?' => Gap::Hard,
                _ => after,
            };
            raw.pop();
        }
        if !raw.is_empty() || quoted {
            let lower = if quoted && !raw.contains('=') { String::new() } else { raw.to_lowercase() };
            found.push(Word { text: raw, lower, quoted, gap });
            gap = Gap::Blank;
        }
        gap = strongest(gap, after);
    }
    found
}

fn strongest(a: Gap, b: Gap) -> Gap {
    match (a, b) {
        (Gap::Hard, _) | (_, Gap::Hard) => Gap::Hard,
        (Gap::Soft, _) | (_, Gap::Soft) => Gap::Soft,
        _ => Gap::Blank,
    }
}

fn closing(c: char) -> Option<char> {
    match c {
        '"' | '\'' | '`' => Some(c),
        '“' => Some('”'),
        '‘' => Some('’'),
        _ => None,
    }
}

fn has_closing(rest: &str, open: char, raw: &str) -> bool {
    let line = rest.lines().next().unwrap_or_default();
    let from = line.find(open).filter(|at| *at >= raw.len().saturating_sub(1)).map_or(line.len(), |at| at + open.len_utf8());
    closing(open).is_some_and(|c| line.get(from..).is_some_and(|l| l.contains(c)))
}

fn is_numbering(raw: &str) -> bool {
    let digits = raw.trim_end_matches(['.', ')']);
    digits.len() < raw.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The parts of a name in lower case: `apiGateway`, `api-gateway` and `api_gateway` are the same two words.
pub(super) fn parts(name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in name.chars() {
        let new = !before.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if c.is_alphanumeric() {
            if new || found.is_empty() {
                found.push(String::new());
            }
            if let Some(part) = found.last_mut() {
                part.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    found
}

/// A name without marks and case.
pub(super) fn squashed(name: &str) -> String {
    parts(name).concat()
}

/// A word without its plural.
pub(super) fn singular(word: &str) -> &str {
    match word {
        w if w.ends_with("ss") || w.len() < 4 => w,
        w => w.strip_suffix("'s").or_else(|| w.strip_suffix('s')).unwrap_or(w),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        fragments(text)
            .into_iter()
            .map(|(hard, words)| {
                let words: Vec<_> = words.into_iter().map(|w| w.text).collect();
                format!("{}{}", if hard { "|" } else { "" }, words.join(" "))
            })
            .collect()
    }

    #[test]
    fn requests_fall_into_fragments() {
        assert_eq!(shown("run three replicas and put it on a.example.com."), ["|run three replicas", "put it on a.example.com"]);
        assert_eq!(shown("- set a.b to 1\n- set c: 2\n3. do x"), ["|set a.b to 1", "|set c 2", "|do x"]);
        assert_eq!(shown("cpu 100m, memory 1Gi; then tag v1.2.3"), ["|cpu 100m", "memory 1Gi", "|tag v1.2.3"]);
        assert_eq!(shown("set A=\"x and y\" and 'b, c' to `d.`"), ["|set A=x and y", "b, c to d."]);
        assert_eq!(shown("don't touch the user's data"), ["|don't touch the user's data"]);
    }

    #[test]
    fn numbers_have_words() {
        let number = |t: &str| words(t)[0].number();
        assert_eq!(number("three"), Some(3));
        assert_eq!(number("12"), Some(12));
        assert_eq!(number("\"3\""), None);
        assert_eq!(number("x"), None);
    }

    #[test]
    fn names_have_parts() {
        assert_eq!(parts("apiGateway"), ["api", "gateway"]);
        assert_eq!(parts("api-gateway_x"), ["api", "gateway", "x"]);
        assert_eq!(squashed("targetCPUUtilizationPercentage"), "targetcpuutilizationpercentage");
        assert_eq!((singular("workers"), singular("class"), singular("dns")), ("worker", "class", "dns"));
    }
}
