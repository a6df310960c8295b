//! Titles made from a first message.

/// The most characters that a made title has.
const MAX_TITLE: usize = 60;

/// A title for a conversation that begins with `text`: its words on one line, cut between words.
pub(crate) fn title_from(text: &str) -> String {
    let mut title = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let wanted = word.chars().count() + usize::from(length > 0);
        if length + wanted > MAX_TITLE {
            return cut(title, length, word);
        }
        if length > 0 {
            title.push(' ');
        }
        title.push_str(word);
        length += wanted;
    }
    title
}

/// Ends a title before `word`, with a mark that there was more.
fn cut(mut title: String, mut length: usize, word: &str) -> String {
    if length == 0 {
        title.extend(word.chars().take(MAX_TITLE - 1));
    }
    while length + 1 > MAX_TITLE {
        // The mark needs a character: the last word goes, or its end when it is the only one.
        let end = title.rfind(' ').or_else(|| title.char_indices().next_back().map(|(at, _)| at)).unwrap_or(0);
        title.truncate(end);
        length = title.chars().count();
    }
    title.truncate(title.trim_end_matches([',', ';', ':', '-', '(']).len());
    title.push('…');
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_are_their_own_title() {
        assert_eq!(title_from("  How many\n gateway replicas run? "), "How many gateway replicas run?");
        assert_eq!(title_from(&"x".repeat(60)), "x".repeat(60));
    }

    #[test]
    fn long_messages_are_cut_between_words() {
        let title = title_from("run three gateway replicas and put an ingress on slipway.example.com with TLS from cert-manager");
        assert_eq!(title, "run three gateway replicas and put an ingress on…");
    }

    #[test]
    fn a_word_that_is_too_long_is_cut() {
        assert_eq!(title_from(&"é".repeat(100)), format!("{}…", "é".repeat(59)));
        assert_eq!(title_from(&format!("{} more", "x".repeat(60))), format!("{}…", "x".repeat(59)));
    }

    #[test]
    fn no_title_is_over_the_limit() {
        for word in 1..70 {
            for count in 1..30 {
                let text = vec!["w".repeat(word); count].join(" ");
                let title = title_from(&text);
                assert!(title.chars().count() <= MAX_TITLE, "{word} x {count}: {title}");
                assert!(!title.is_empty());
            }
        }
    }
}
