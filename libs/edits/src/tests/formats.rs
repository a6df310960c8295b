//! The formats in which models write edits: what is read of them, however they are cut, and what is refused.

use super::super::Rung;
use super::*;

const FILE: &str = "replicaCount: 1\nimage:\n  repository: nginx\n  tag: \"1.0\"\nservice:\n  port: 80\n";
const AFTER: &str = "replicaCount: 3\nimage:\n  repository: nginx\n  tag: \"1.0\"\nservice:\n  port: 80\n";

const SEARCH: &str = "I raise the count.\n\nvalues.yaml\n```yaml\n<<<<<<< SEARCH\nreplicaCount: 1\n=======\nreplicaCount: 3\n>>>>>>> REPLACE\n```\nDone.\n";
const UNIFIED: &str = "Here:\n```diff\n--- a/values.yaml\n+++ b/values.yaml\n@@ -40,9 +70,2 @@\n-replicaCount: 1\n+replicaCount: 3\n image:\n   repository: nginx\n```\n";
const BARE: &str = "--- values.yaml\n+++ values.yaml\n@@ ... @@\n-replicaCount: 1\n+replicaCount: 3\n image:\n";
const PATCH: &str =
    "*** Begin Patch\n*** Update File: values.yaml\n@@\n-replicaCount: 1\n+replicaCount: 3\n image:\n*** End Patch\n";

fn whole() -> String {
    format!("The new file:\n\n`values.yaml`\n```yaml\n{AFTER}```\n")
}

#[test]
fn every_format_says_the_same() {
    for text in [SEARCH, UNIFIED, BARE, PATCH, &whole()] {
        for text in [text.to_owned(), text.replace('\n', "\r\n"), text.trim_end().to_owned()] {
            let edits = read(Format::Auto, None, &text).unwrap();
            assert_eq!(make("values.yaml", FILE, &edits).as_deref(), Ok(AFTER), "{text}");
        }
    }
}

#[test]
fn a_text_may_come_in_pieces_cut_at_any_byte() {
    let with_accents = SEARCH.replace("count", "número 数");
    for text in [SEARCH, UNIFIED, BARE, PATCH, &whole(), &with_accents] {
        let in_one = read(Format::Auto, None, text);
        for cut in 0..=text.len() {
            let mut parser = Parser::new(Format::Auto, None);
            parser.push(&text.as_bytes()[..cut]);
            parser.push(&text.as_bytes()[cut..]);
            assert_eq!(parser.finish(), in_one, "cut at {cut}");
        }
    }
}

#[test]
fn a_text_that_is_cut_off_never_changes_another_place() {
    for text in [SEARCH, UNIFIED, BARE, PATCH, &whole()] {
        for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let Ok(edits) = read(Format::Auto, None, &text[..cut]) else { continue };
            let Ok(after) = make("values.yaml", FILE, &edits) else { continue };
            // What is left may say less of its place, but touches no other.
            let (_, rest) = FILE.split_once('\n').unwrap();
            assert!(after.ends_with(rest), "{}\nmade\n{after}", &text[..cut]);
        }
    }
}

#[test]
fn files_are_made_renamed_and_deleted() {
    let git = "diff --git a/a.txt b/b.txt\nsimilarity index 90%\nrename from a.txt\nrename to b.txt\n--- a/a.txt\n+++ b/b.txt\n@@ -1 +1 @@\n-one\n+two\n\
               diff --git a/new.txt b/new.txt\nnew file mode 100644\n--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file\n";
    let edits = read(Format::Auto, None, git).unwrap();
    let [Edit::Rename { path, new_path }, Edit::Patch { .. }, Edit::Create { content, .. }] = &edits[..] else {
        panic!("{edits:?}")
    };
    assert_eq!((path.as_str(), new_path.as_str(), content.as_str()), ("a.txt", "b.txt", "x\ny"));
    let patch = "*** Begin Patch\n*** Add File: x/new.txt\n+one\n+two\n*** Delete File: old.txt\n*** End Patch\n";
    let edits = read(Format::Auto, None, patch).unwrap();
    let [Edit::Create { path, content }, Edit::Delete { path: gone, .. }] = &edits[..] else { panic!("{edits:?}") };
    assert_eq!((path.as_str(), content.as_str(), gone.as_str()), ("x/new.txt", "one\ntwo\n", "old.txt"));
}

#[test]
fn what_cannot_be_told_is_refused_with_its_line() {
    for text in [
        "",
        "No change is needed.",
        "<<<<<<< SEARCH\nreplicaCount: 1\n=======\nreplicaCount: 3\n",
        "```yaml\nreplicaCount: 3\n```\n",
        "--- a/values.yaml\n+++ b/other.yaml\n@@ -1 +1 @@\n-a\n+b\n",
        "*** Begin Patch\n*** Update File: ../values.yaml\n@@\n-a\n+b\n*** End Patch\n",
        "--- a/values.yaml\n+++ b/values.yaml\n@@ -1 +1 @@\n unchanged\n",
    ] {
        assert!(matches!(read(Format::Auto, None, text), Err(Refusal::Malformed { line: 1.., .. })), "{text:?}");
    }
}

#[test]
fn a_refusal_says_what_would_help() {
    let refused = |old: &str| make("values.yaml", FILE, &[replace("values.yaml", old, "x")]).unwrap_err();
    let Refusal::NotFound { candidates, already: None, .. } = refused("  repository: ngimx") else { panic!() };
    assert_eq!((candidates[0].first_line, candidates[0].last_line), (3, 3));
    assert!(candidates[0].similarity > 0.8 && candidates[0].diff.contains("+  repository: nginx"), "{:?}", candidates[0]);
    let twice = "a: 1\nb: 2\na: 1\n";
    let refusal = make("f", twice, &[replace("f", "a: 1\n", "a: 2\n")]).unwrap_err();
    assert_eq!(refusal, Refusal::Ambiguous { path: "f".into(), count: 2, lines: vec![1, 3] });
    assert_eq!(
        refusal.to_string(),
        "the text to change is 2 times in \"f\", at lines 1, 3; add lines around it until it is unique"
    );
    let all = Edit::Replace { path: "f".into(), old: "a: 1\n".into(), new: "a: 2\n".into(), all: true };
    assert_eq!(make("f", twice, &[all]).unwrap(), "a: 2\nb: 2\na: 2\n");
    let Refusal::NotFound { already, .. } = make("f", "x\nb: 3\n", &[replace("f", "b: 2\n", "b: 3\n")]).unwrap_err() else {
        panic!()
    };
    assert_eq!(already, Some(2));
}

#[test]
fn all_edits_are_made_or_none() {
    let edits = [replace("f", "a", "b"), replace("f", "zzz", "y")];
    let files = BTreeMap::from([("f".to_owned(), Some(Bytes::from_static(b"a\n")))]);
    let batch = apply(files, &edits, &mut |_, _| {});
    assert!(batch.outcomes[0].is_ok() && batch.outcomes[1].is_err() && batch.changes.is_empty());
    // A later edit sees what an earlier one made.
    let edits =
        [replace("f", "a\n", "b\n"), replace("f", "b\n", "c\n"), Edit::Insert { path: "f".into(), line: 0, text: "top".into() }];
    assert_eq!(make("f", "a\n", &edits).unwrap(), "top\nc\n");
}

#[test]
fn the_rung_is_told() {
    let rung = |file: &str, old: &str, new: &str| make_all("f", file, &[replace("f", old, new)]).unwrap().1[0].rung;
    assert_eq!(rung("a\nb\n", "a\nb\n", "a\nc\n"), Rung::Exact);
    assert_eq!(rung("a\r\nb\r\n", "a\nb\n", "a\nc\n"), Rung::LineEndings);
    assert_eq!(rung("a  \nb\n", "a\nb\n", "a\nc\n"), Rung::TrailingBlanks);
    assert_eq!(rung("  a:\n    b: 1\n", "a:\n  b: 1\n", "a:\n  b: 2\n"), Rung::Indentation);
    assert_eq!(
        rung("a:\n  b: 1\n  c: 2\n  d: 3\n  e: 4\n", "a:\n  b: 1\n...\n  e: 4\n", "a:\n  b: 1\n...\n  e: 5\n"),
        Rung::Elision
    );
}
