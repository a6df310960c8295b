//! A text in pieces is redacted as it is in one, wherever it is cut, and little is held back.

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use slipway_secrets::{Redactor, Scanner, redact, scan};

fn secret(rng: &mut StdRng) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let random: String = (0..36).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect();
    format!("{}_{random}", "ghp")
}

/// A text of about so many bytes, with its secrets.
fn text(rng: &mut StdRng, length: usize) -> (String, Vec<String>) {
    let (mut out, mut secrets) = (String::new(), Vec::new());
    while out.len() < length {
        let token = secret(rng);
        match rng.random_range(0..9) {
            0 => out += &format!("10:30 INFO user@host sent token={token}, grüße\n"),
            1 => out += &format!("---\napiVersion: v1\ndata:\n  a: {token}\nkind: Secret\n---\n"),
            2 => out += &format!("url=https://u:{token}@host/x 漢字\n\n"),
            3 => out += &format!("-----BEGIN {} KEY-----\n{token}{token}\n{token}\n-----END {0} KEY-----\n", "PRIVATE"),
            4 => out += &format!("{{\"kind\":\"Secret\",\"data\":{{\"k\":\"{token}\"}}}},"),
            _ => {
                out += &"plain text about nothing in particular, ".repeat(rng.random_range(1..20));
                out += if rng.random_bool(0.7) { "\n" } else { "" };
                continue;
            }
        }
        secrets.push(token);
    }
    (out, secrets)
}

#[test]
fn pieces_say_what_the_whole_says() {
    let mut rng = StdRng::seed_from_u64(7);
    for length in [0, 100, 5_000, 70_000, 200_000] {
        for _ in 0..6 {
            let (text, secrets) = text(&mut rng, length);
            let whole = redact(&text);
            assert!(secrets.iter().all(|s| !whole.contains(s)), "{length}");
            let (mut redactor, mut out, mut at) = (Redactor::default(), String::new(), 0);
            let most = [1, 7, 300, 20_000][rng.random_range(0..4)].max(length / 5_000);
            while at < text.len() {
                let mut next = (at + rng.random_range(1..=most)).min(text.len());
                while !text.is_char_boundary(next) {
                    next += 1;
                }
                out += &redactor.push(&text[at..next]);
                at = next;
            }
            out += &redactor.finish();
            assert_eq!(out, whole, "a text of {} in pieces of up to {most}", text.len());
        }
    }
}

#[test]
fn a_secret_longer_than_a_section_does_not_come_out() {
    let value = "QUJDREVG".repeat(40_000);
    let text = format!("kind: Secret\ndata:\n  a: {value}\n  b: eHh4\n");
    let redacted = redact(&text);
    assert!(!redacted.contains("QUJDREVG") && redacted.len() < 1_000, "{} bytes are left", redacted.len());
    let mut redactor = Scanner::standard().redactor();
    let mut out: String = text.as_bytes().chunks(1_000).map(|c| redactor.push(str::from_utf8(c).unwrap())).collect();
    out += &redactor.finish();
    assert_eq!(out, redacted);
}

#[test]
fn little_is_held_back() {
    let mut redactor = Redactor::default();
    let (mut given, mut taken) = (0, 0);
    for n in 0..20_000 {
        let line = format!("2026-11-25 line {n} of a log without secrets\n");
        given += line.len();
        taken += redactor.push(&line).len();
        assert!(given - taken <= (64 << 10) + line.len());
    }
    assert!(taken > 0);
}

#[test]
fn findings_say_where() {
    let mut rng = StdRng::seed_from_u64(1);
    let token = secret(&mut rng);
    let text = format!("ä\nüx {token}\n");
    let found = scan(&text);
    assert_eq!((found.len(), found[0].line, found[0].column), (1, 2, 4));
    assert_eq!(&text[found[0].range.clone()], token);
    assert_eq!(redact(&text), format!("ä\nüx [REDACTED:{}]\n", found[0].rule));
}

#[test]
fn what_is_allowed_stays() {
    let mut rng = StdRng::seed_from_u64(2);
    let (kept, lost) = (secret(&mut rng), secret(&mut rng));
    let scanner = Scanner::allowing(&[kept.clone(), "public-.*".into()]).unwrap();
    assert_eq!(scanner.redact(&format!("a {kept} b")), format!("a {kept} b"));
    assert!(!scanner.redact(&format!("a {lost} b")).contains(&lost));
    assert!(Scanner::allowing(&["(".into()]).unwrap_err().to_string().contains("not a regular expression"));
}

#[test]
fn times_and_people_are_no_urls() {
    for text in ["10:30 user@host", "at 10:30 user@host.example.com wrote", "see http://host:8080/a@b", "mailto:a:b@c"] {
        assert_eq!(redact(text), text);
    }
    assert_ne!(redact("ftp://user:s3cretPass@host"), "ftp://user:s3cretPass@host");
}

#[test]
fn some_rules_are_for_files_of_a_name() {
    let scanner = Scanner::standard();
    let text = format!("administrator_login_{} = \"{}\"\n", "password", "abc123def4567");
    let rules: HashSet<_> = scanner.scan_file("main.tf", &text).into_iter().map(|f| f.rule).collect();
    assert!(!rules.is_empty());
    let mut rng = StdRng::seed_from_u64(3);
    assert!(scanner.scan_file("go.sum", &format!("x h1:{}=", secret(&mut rng))).is_empty());
}
