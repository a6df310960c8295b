//! The rules for paths: what can be stored safely and unpacked on any system without surprises.

use std::fmt;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The most bytes of a path.
const MAX_PATH: usize = 1024;
/// The most bytes of one part of a path.
const MAX_PART: usize = 255;

/// The rule that a path breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRule {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It has more bytes than any path may.
    #[error("is longer than {MAX_PATH} bytes")]
    TooLong,
    /// A part has more bytes than any may.
    #[error("has a part longer than {MAX_PART} bytes")]
    PartTooLong,
    /// It begins with `/`.
    #[error("is absolute")]
    Absolute,
    /// Nothing is between two `/`, or after the last.
    #[error("has an empty part")]
    EmptyPart,
    /// A part is `.`.
    #[error("has the part `.`")]
    Dot,
    /// A part is `..`.
    #[error("leaves the workspace by `..`")]
    Traversal,
    /// It holds a control character.
    #[error("holds the control character U+{:04X}", u32::from(*.0))]
    Control(char),
    /// It holds a backslash.
    #[error("holds a backslash")]
    Backslash,
    /// It holds a colon.
    #[error("holds a colon")]
    Colon,
    /// Its accents are not composed.
    #[error("is not in Unicode normal form C")]
    NotNormal,
    /// A part is the name of a device on Windows.
    #[error("has the part `{0}`, a device on Windows")]
    Device(String),
}

/// A path that cannot be stored, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// The path.
    pub path: String,
    /// The rule that it breaks.
    pub rule: PathRule,
}

impl PathError {
    /// True when the path would reach outside of the workspace.
    pub fn leaves_root(&self) -> bool {
        matches!(self.rule, PathRule::Absolute | PathRule::Traversal)
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the path {:?} {}", shorten(&self.path), self.rule)
    }
}

impl std::error::Error for PathError {}

/// Checks every rule.
pub fn check_path(path: &str) -> Result<(), PathError> {
    check_length(path)?;
    check_parts(path)
}

/// Checks the rule for the whole length.
pub fn check_length(path: &str) -> Result<(), PathError> {
    if path.len() > MAX_PATH { Err(refuse(path, PathRule::TooLong)) } else { Ok(()) }
}

/// Checks every rule but the one for the whole length.
pub fn check_parts(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(refuse(path, PathRule::Empty));
    }
    if path.starts_with('/') {
        return Err(refuse(path, PathRule::Absolute));
    }
    for part in path.split('/') {
        check_part(part).map_err(|rule| refuse(path, rule))?;
    }
    if is_nfc(path) { Ok(()) } else { Err(refuse(path, PathRule::NotNormal)) }
}

fn check_part(part: &str) -> Result<(), PathRule> {
    match part {
        "" => return Err(PathRule::EmptyPart),
        "." => return Err(PathRule::Dot),
        ".." => return Err(PathRule::Traversal),
        _ => {}
    }
    if part.len() > MAX_PART {
        return Err(PathRule::PartTooLong);
    }
    for c in part.chars() {
        match c {
            '\\' => return Err(PathRule::Backslash),
            ':' => return Err(PathRule::Colon),
            c if c.is_control() => return Err(PathRule::Control(c)),
            _ => {}
        }
    }
    if is_device(part) { Err(PathRule::Device(part.to_owned())) } else { Ok(()) }
}

/// Windows opens a device for these names, in any case, with any extension and with blanks after them.
fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).trim_end();
    if ["con", "prn", "aux", "nul", "conin$", "conout$"].iter().any(|d| stem.eq_ignore_ascii_case(d)) {
        return true;
    }
    let mut chars = stem.chars().rev();
    let port = matches!(chars.next(), Some('1'..='9' | '¹' | '²' | '³'));
    let name: String = chars.rev().collect();
    port && (name.eq_ignore_ascii_case("com") || name.eq_ignore_ascii_case("lpt"))
}

/// What two paths have in common when a file system that ignores case cannot tell them apart.
pub fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    // Upper first: `ß` and `ss`, or the two small sigmas, meet there.
    path.to_uppercase().to_lowercase().replace('ς', "σ").nfc().collect()
}

/// A text in normal form C.
pub fn nfc(text: &str) -> String {
    if is_nfc(text) { text.to_owned() } else { text.nfc().collect() }
}

fn refuse(path: &str, rule: PathRule) -> PathError {
    PathError { path: path.to_owned(), rule }
}

fn shorten(path: &str) -> String {
    if path.chars().count() <= 120 { path.to_owned() } else { path.chars().take(120).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str) -> PathRule {
        check_path(path).expect_err(path).rule
    }

    #[test]
    fn ordinary_paths_pass() {
        let long_part = "x".repeat(255);
        let longest = ["y".repeat(255), "y".repeat(255), "y".repeat(255), "y".repeat(253), "zz".into()].join("/");
        assert_eq!(longest.len(), 1024);
        for path in [
            "values.yaml",
            "templates/_helpers.tpl",
            ".helmignore",
            "a b/c'd\"e",
            "…",
            "é",
            "日本/語.yaml",
            "-rf",
            "a..b",
            "...",
            "console",
            "com",
            "com10",
            "lpt0.txt",
            "nulls/x",
            "auxiliary.go",
            "😀",
            &long_part,
            &longest,
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn each_rule_is_kept() {
        assert_eq!(rule(""), PathRule::Empty);
        assert_eq!(rule(&"a/".repeat(513)), PathRule::TooLong);
        assert_eq!(rule(&"é".repeat(128)), PathRule::PartTooLong);
        assert_eq!(rule("/etc/passwd"), PathRule::Absolute);
        assert_eq!(rule("//x"), PathRule::Absolute);
        assert_eq!(rule("a//b"), PathRule::EmptyPart);
        assert_eq!(rule("a/"), PathRule::EmptyPart);
        assert_eq!(rule("./a"), PathRule::Dot);
        assert_eq!(rule("a/."), PathRule::Dot);
        assert_eq!(rule(".."), PathRule::Traversal);
        assert_eq!(rule("a/../../b"), PathRule::Traversal);
        assert_eq!(rule("a\0b"), PathRule::Control('\0'));
        assert_eq!(rule("a\nb"), PathRule::Control('\n'));
        assert_eq!(rule("a\u{7f}"), PathRule::Control('\u{7f}'));
        assert_eq!(rule("a\u{85}"), PathRule::Control('\u{85}'));
        assert_eq!(rule("..\\..\\x"), PathRule::Backslash);
        assert_eq!(rule("C:/x"), PathRule::Colon);
        assert_eq!(rule("file.txt:stream"), PathRule::Colon);
        assert_eq!(rule("e\u{301}"), PathRule::NotNormal);
        for device in ["con", "NUL", "a/Aux.txt", "COM1", "lpt9.tar.gz", "com¹", "prn .x", "CONIN$", "nul/x"] {
            assert!(matches!(rule(device), PathRule::Device(_)), "{device}");
        }
    }

    #[test]
    fn folding_finds_what_a_careless_file_system_confuses() {
        for (a, b) in [("README", "readme"), ("É", "é"), ("straße", "STRASSE"), ("ΣΑΣ", "σας"), ("ſ", "S"), ("K", "k")]
        {
            assert_eq!(fold(&nfc(a)), fold(&nfc(b)), "{a} {b}");
        }
        assert_ne!(fold("a"), fold("b"));
        assert_ne!(fold("é"), fold("e"));
    }

    /// A small deterministic generator, so that a failure can be repeated.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % sides as u64).unwrap()
        }
    }

    #[test]
    fn whatever_passes_stays_below_a_root() {
        const PIECES: [&str; 26] = [
            "/",
            "//",
            ".",
            "..",
            "../",
            "./",
            "a",
            "B",
            "\\",
            "..\\",
            ":",
            "C:",
            "\0",
            "\u{1}",
            "\u{202e}",
            "e\u{301}",
            "é",
            "con",
            "NUL",
            "com1",
            " ",
            "\u{7f}",
            "\u{85}",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "日",
            "…",
        ];
        let mut dice = Dice(0x5eed_cafe);
        let mut passed = 0;
        for _ in 0..50_000 {
            let path: String = (0..=dice.roll(24)).map(|_| PIECES[dice.roll(PIECES.len())]).collect();
            if check_path(&path).is_err() {
                continue;
            }
            passed += 1;
            assert!(path.len() <= MAX_PATH && !path.starts_with('/') && !path.ends_with('/'), "{path:?}");
            assert!(!path.contains(['\\', ':', '\0']) && !path.chars().any(char::is_control), "{path:?}");
            assert_eq!(path, nfc(&path));
            let parts: Vec<_> = std::path::Path::new(&path).components().collect();
            assert!(parts.iter().all(|c| matches!(c, std::path::Component::Normal(_))), "{path:?}");
            assert_eq!(parts.len(), path.split('/').count(), "{path:?}");
            assert!(path.split('/').all(|p| p.len() <= MAX_PART && !p.is_empty()), "{path:?}");
        }
        assert!(passed > 1_000, "{passed}");
    }
}
