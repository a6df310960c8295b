//! What a value looks like: random, a digest, an id, a name made of words, or something that only stands for a secret.

/// Shannon's entropy in bits for a byte.
pub(crate) fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    value.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let all = value.len() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / all).map(|p| -p * p.log2()).sum()
}

/// `8-4-4-4-12` hexadecimal digits.
pub(crate) fn is_uuid(value: &str) -> bool {
    let groups: Vec<_> = value.split('-').collect();
    groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(|g| is_hex(g))
}

/// As long as a digest, and nothing but hexadecimal digits.
pub(crate) fn is_digest(value: &str) -> bool {
    matches!(value.len(), 32 | 40 | 56 | 64 | 96 | 128) && is_hex(value)
}

fn is_hex(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_hexdigit())
}

/// How long its words are, on average: `HTTPServer2` has two. Random text has short ones, names long ones.
pub(crate) fn word_length(value: &str) -> f64 {
    let (mut words, mut letters, mut capitals) = (0u32, 0u32, 0u32);
    let mut before = b' ';
    for byte in value.bytes() {
        if byte.is_ascii_lowercase() {
            // The last of several capitals belongs to the word that follows it.
            words += u32::from(!before.is_ascii_alphabetic() || capitals > 1);
            capitals = 0;
        } else if byte.is_ascii_uppercase() {
            words += u32::from(!before.is_ascii_uppercase());
            capitals += 1;
        } else {
            capitals = 0;
        }
        letters += u32::from(byte.is_ascii_alphabetic());
        before = byte;
    }
    f64::from(letters) / f64::from(words.max(1))
}

/// A name that people made of words, with numbers and marks in between: `getUserToken2`, `app-config-v2`.
pub(crate) fn is_name(value: &str) -> bool {
    let count = |of: fn(u8) -> bool| value.bytes().filter(|b| of(*b)).count();
    let (letters, marks) = (count(|b| b.is_ascii_alphabetic()), count(|b| matches!(b, b'-' | b'_' | b'.' | b'/' | b':')));
    let digits = count(|b| b.is_ascii_digit());
    // Capitals and digits without a mark in between are what encoders write.
    let encoded = value.len() >= 16 && marks == 0 && digits > 0 && count(|b| b.is_ascii_lowercase()) == 0;
    letters + marks + digits == value.len() && letters > digits && !encoded && word_length(value) >= 3.0
}

/// Text that a generator made: varied, of several kinds of characters, and no name.
pub(crate) fn is_random(value: &str) -> bool {
    let digits = value.bytes().any(|b| b.is_ascii_digit());
    let letters = value.bytes().any(|b| b.is_ascii_alphabetic());
    let mixed = letters && (digits || word_length(value) < 2.6);
    mixed && entropy(value.as_bytes()) >= 3.0 && !is_name(value) && !is_resource_name(value) && !is_expression(value)
}

/// Something that can be a password: a word, a made-up one, a random one; not a name in a program, a path or a sentence's word.
pub(crate) fn is_password(value: &str) -> bool {
    const STATES: [&str; 14] = [
        "disabled",
        "enabled",
        "generated",
        "configured",
        "unchanged",
        "incorrect",
        "invalid",
        "expired",
        "missing",
        "provided",
        "needed",
        "accepted",
        "changed",
        "rejected",
    ];
    let lower = value.to_ascii_lowercase();
    let plain = value.bytes().all(|b| b.is_ascii_alphabetic());
    let capitalised =
        plain && value[1..].bytes().all(|b| b.is_ascii_lowercase()) && value.starts_with(|c: char| c.is_ascii_uppercase());
    let camel = plain
        && value.bytes().any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase())
        && word_length(value) >= 3.4;
    let talks_of_itself = is_name(value)
        && ["passw", "secret", "credential", "token"].iter().any(|w| lower.contains(w))
        && !value.bytes().any(|b| b.is_ascii_digit());
    !(capitalised
        || camel
        || talks_of_itself
        || STATES.contains(&lower.as_str())
        || value.starts_with(['/', '*', '&', '!', '@', '~', '\\'])
        || value.starts_with("./")
        || value.contains("://")
        || is_expression(value)
        || entropy(value.as_bytes()) < 1.5)
}

/// The name of a variable, a field or a function in a program: words joined by dots, colons, arrows or underscores.
fn is_expression(value: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.' | b':' | b'-' | b'>' | b'?' | b'$');
    let joined = value.contains("::") || value.contains("->") || value.bytes().any(|b| matches!(b, b'_' | b'.'));
    joined && value.bytes().all(word)
}

/// A name as Kubernetes' resources have it: `app-db-7f9c`.
fn is_resource_name(value: &str) -> bool {
    let legal = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'/'));
    let word = |part: &str| part.len() >= 3 && part.bytes().all(|b| b.is_ascii_lowercase());
    legal && value.len() <= 63 && value.contains('-') && value.split(['-', '.', '/']).any(word)
}

/// An id or a digest, unless what stands before it calls it a secret.
pub(crate) fn is_plain_id(value: &str, line: &str) -> bool {
    if is_uuid(value) {
        return true;
    }
    let before = line[..line.rfind(value).unwrap_or(0)].to_ascii_lowercase();
    if ["checksum", "sha1", "sha2", "sha5", "sha-", "hash", "digest", "fingerprint", "commit"].iter().any(|d| before.contains(d))
    {
        return is_digest(value);
    }
    let secret = [
        "secret",
        "passw",
        "token",
        "api_key",
        "api-key",
        "apikey",
        "access_key",
        "accesskey",
        "access-key",
        "private",
        "credential",
    ];
    is_digest(value) && !secret.iter().any(|s| before.contains(s))
}

/// Something that stands for a secret and is none: a reference, a template, a placeholder.
pub(crate) fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 33] = [
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "secret",
        "token",
        "null",
        "none",
        "nil",
        "true",
        "false",
        "undefined",
        "string",
        "str",
        "required",
        "optional",
        "redacted",
        "hidden",
        "masked",
        "example",
        "placeholder",
        "dummy",
        "todo",
        "tbd",
        "unset",
        "empty",
        "value",
        "text",
        "user",
        "username",
        "bool",
        "bytes",
    ];
    const PARTS: [&str; 14] = [
        "changeme",
        "change-me",
        "change_me",
        "change-it",
        "changeit",
        "your-",
        "your_",
        "yourpass",
        "<your",
        "example",
        "placeholder",
        "redacted",
        "insert-",
        "replace",
    ];
    let value = value.trim_matches(|c: char| matches!(c, '"' | '\'' | '`'));
    let lower = value.to_ascii_lowercase();
    let first = value.chars().next().unwrap_or(' ');
    value.is_empty()
        || WORDS.contains(&lower.as_str())
        || PARTS.iter().any(|p| lower.contains(p))
        || value.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '-' | '_' | '#' | '?' | '•'))
        || (first == '<' && value.ends_with('>'))
        || (first == '[' && value.ends_with(']'))
        || (first == '%' && value.ends_with('%') && value.len() > 2)
        || is_reference(value)
        || value.chars().all(|c| c == first)
}

/// Filled in somewhere else: `${VAR}`, `$VAR`, `$(command)`, `{{ .Values.x }}`, `#{x}`, `@x@`, `env.X`.
pub(crate) fn is_reference(value: &str) -> bool {
    let wrapped = [("${", "}"), ("$(", ")"), ("{{", "}}"), ("#{", "}"), ("%{", "}"), ("<%", "%>"), ("@", "@"), ("{", "}")];
    let named = value.strip_prefix('$').is_some_and(|name| {
        let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        word && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    });
    const ROOTS: [&str; 9] = ["os.", "process.env", "env.", "var.", "local.", "data.", "secrets.", "vault:", "ref+"];
    let templated = value.starts_with("{{") && !value.trim_start_matches(['{', '-', ' ']).starts_with('"');
    named
        || templated
        || wrapped.iter().any(|(open, close)| {
            value.len() > 2 && value.starts_with(open) && value.ends_with(close) && (*open == "${" || !value.starts_with("{{"))
        })
        || ROOTS.iter().any(|root| value.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_shannons() {
        assert_eq!(entropy(b"aaaa"), 0.0);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn names_are_told_from_random_text() {
        for name in ["getUserAuthenticationToken", "app-config-v2-production", "HTTPServerSettings2", "my_database_name.v1"] {
            assert!(is_name(name), "{name}: {}", word_length(name));
        }
        for random in ["a8Kd9sLq02mXzPw7", "b3f0c9a1d7e4", "Zq8-pL2_xT9vR4nK"] {
            assert!(!is_name(random), "{random}: {}", word_length(random));
        }
    }

    #[test]
    fn references_and_placeholders_are_no_secrets() {
        for none in [
            "${DB_PASSWORD}",
            "$DB_PASSWORD",
            "$(cat /run/x)",
            "{{ .Values.password }}",
            "{{ .Values.a | b64enc }}",
            "<password>",
            "******",
            "changeme",
            "your-password-here",
            "process.env.X",
            "xxxxxxxx",
            "%PASSWORD%",
            "[REDACTED:jwt]",
            "null",
        ] {
            assert!(is_placeholder(none), "{none}");
        }
        for some in ["hunter2", "pa$$w0rd", "$ecret99!", "{{ \"hunter2\" | b64enc }}", "correcthorse"] {
            assert!(!is_placeholder(some), "{some}");
        }
    }

    #[test]
    fn digests_and_ids() {
        assert!(is_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8") && !is_uuid("6ba7b810-9dad"));
        assert!(is_digest(&"0a".repeat(20)) && !is_digest(&"0a".repeat(19)) && !is_digest(&"0g".repeat(20)));
    }
}
