//! A labelled corpus: secrets of every kind in the places where they turn up, and files without any. Recall and precision
//! are counted, not looked at one by one. Secrets are made at run time: none is written down anywhere.

#[path = "corpus/clean.rs"]
mod clean;
#[path = "corpus/planted.rs"]
mod planted;

use std::collections::BTreeMap;

use slipway_secrets::{redact, scan};

#[test]
fn planted_secrets_are_found() {
    let planted = planted::all();
    let mut missed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut missing = 0;
    for plant in &planted {
        let redacted = redact(&plant.text);
        if redacted.contains(&plant.secret) {
            missing += 1;
            missed.entry(plant.kind).or_default().push(plant.text.chars().take(300).collect());
        }
    }
    let recall = 1.0 - f64::from(missing) / planted.len() as f64;
    assert!(planted.len() > 1_500 && recall >= 0.98, "recall {recall:.4} of {}; missed: {missed:#?}", planted.len());
}

#[test]
fn what_surrounds_a_secret_stays() {
    for plant in planted::all().into_iter().filter(|p| !p.text.contains("-----BEGIN")) {
        let redacted = redact(&plant.text);
        let (before, after) = plant.text.split_once(&plant.secret).unwrap();
        let kept = |part: &str| part.lines().filter(|l| l.trim_end().len() > 30 && redacted.contains(l.trim_end())).count();
        let lines = |part: &str| part.lines().filter(|l| l.trim_end().len() > 30).count();
        let (all, left) = (lines(before) + lines(after), kept(before) + kept(after));
        // The line that holds the secret is in pieces; all others are as they were.
        assert!(all - left <= 2, "{}: {redacted}", plant.kind);
    }
}

#[test]
fn clean_files_stay_clean() {
    let files = clean::all();
    let mut false_hits = Vec::new();
    for (name, text) in &files {
        for finding in scan(text) {
            let line: String = text.lines().nth(finding.line - 1).unwrap_or_default().trim().chars().take(160).collect();
            false_hits.push(format!("{name}:{}: {}: {line}", finding.line, finding.rule));
        }
    }
    let per_file = false_hits.len() as f64 / files.len() as f64;
    assert!(files.len() >= 40 && per_file <= 0.05, "{per_file:.4} false hits a file of {}: {false_hits:#?}", files.len());
}

#[test]
fn the_answer_does_not_depend_on_what_was_asked_before() {
    let texts: Vec<_> = planted::all().into_iter().step_by(17).map(|p| p.text).collect();
    let first: Vec<_> = texts.iter().map(|t| scan(t)).collect();
    for _ in 0..3 {
        assert!(texts.iter().map(|t| scan(t)).eq(first.iter().cloned()));
    }
}

#[test]
fn a_redacted_text_has_no_secrets_any_more() {
    for plant in planted::all() {
        let once = redact(&plant.text).into_owned();
        assert_eq!(redact(&once), once, "{}", plant.kind);
    }
}
