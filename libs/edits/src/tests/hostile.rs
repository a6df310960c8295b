//! Texts made to be slow. What they cost is counted, so that these tests say the same on every machine: an ordinary edit costs
//! little for each line of its file, and one that would cost too much is refused at a step that is known.

use super::super::work::{MAX_WORK, Work};
use super::super::{MAX_EDITED, apply::apply_within};
use super::*;

/// What came of edits of one file, and how many steps they took. There are as many as one likes.
fn steps(file: &str, edits: &[Edit]) -> (Result<String, Refusal>, u64) {
    let work = Work::new(u64::MAX);
    let result = within(file, edits, &work);
    (result, u64::MAX - work.left())
}

fn within(file: &str, edits: &[Edit], work: &Work) -> Result<String, Refusal> {
    let files = BTreeMap::from([("f".to_owned(), Some(Bytes::copy_from_slice(file.as_bytes())))]);
    let batch = apply_within(files, edits, &mut |_, _| {}, work);
    for outcome in batch.outcomes {
        outcome?;
    }
    match batch.changes.into_iter().next() {
        Some(Change::Write { content, .. }) => Ok(String::from_utf8(content.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// A file, and edits of it that grow with `n`; how they grow in steps at the least, where nothing stops them.
struct Shape {
    name: &'static str,
    make: fn(usize) -> (String, Vec<Edit>),
    least: fn(u64) -> u64,
    /// The largest that fits into a file, or into a call.
    most: usize,
}

fn patch(text: &str) -> Vec<Edit> {
    read(Format::ApplyPatch, None, &format!("*** Begin Patch\n*** Update File: f\n{text}*** End Patch\n")).unwrap()
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "a block that is nearly everywhere",
        make: |n| ("a\n".repeat(n), vec![replace("f", &format!("{}b\n", "a\n".repeat(n / 2)), "c\n")]),
        least: |n| n * n / 4,
        most: MAX_EDITED / 2,
    },
    Shape {
        name: "a text that overlaps itself",
        make: |n| ("a".repeat(n), vec![replace("f", &"a".repeat(n / 2), "b")]),
        least: |n| n * n / 64,
        most: MAX_EDITED,
    },
    Shape {
        name: "a block that is nearly everywhere but for its indentation",
        make: |n| ("  a\n".repeat(n), vec![replace("f", &format!("{}b\n", "a\n".repeat(n / 2)), "c\n")]),
        least: |n| n * n / 4,
        most: MAX_EDITED / 4,
    },
    Shape {
        name: "names of one line again and again",
        make: |n| {
            let file = format!("top\n{}", "  a\n".repeat(n));
            (file, patch(&format!("{}-  a\n+  b\n", "@@ top\n".repeat(n))))
        },
        least: |n| n * n,
        most: MAX_EDITED / 4 - 1,
    },
    Shape {
        name: "as many edits as lines",
        make: |n| {
            let file: String = (0..n).map(|line| format!("line {line}\n")).collect();
            (file, (0..n).map(|line| replace("f", &format!("line {line}\n"), &format!("other {line}\n"))).collect())
        },
        least: |n| n * n,
        most: 20_000,
    },
];

#[test]
fn what_grows_without_measure_is_counted_and_refused() {
    for Shape { name, make, least, .. } in SHAPES {
        let (file, edits) = make(400);
        let (_, counted) = steps(&file, &edits);
        assert!(counted >= least(400), "{name}: what is done is counted: {counted}");
        let (file, edits) = make(800);
        let (_, doubled) = steps(&file, &edits);
        assert!(doubled > 3 * counted, "{name}: it grows with the square: {counted}, {doubled}");
        // With fewer steps than it takes, there is no result at all, whichever step is the last.
        let (file, edits) = make(100);
        let (_, counted) = steps(&file, &edits);
        for steps in (1..counted).step_by(usize::try_from(counted / 50).unwrap()) {
            let result = within(&file, &edits, &Work::new(steps));
            let told = matches!(result, Err(Refusal::Exhausting | Refusal::NotFound { .. }));
            assert!(told, "{name} after {steps} of {counted} steps: {result:?}");
        }
    }
}

#[test]
fn what_is_as_large_as_it_may_be_is_refused_before_long() {
    for Shape { name, make, most, .. } in SHAPES {
        let (file, edits) = make(most);
        let result = make_all("f", &file, &edits).map(drop);
        assert_eq!(result, Err(Refusal::Exhausting), "{name}");
    }
}

#[test]
fn an_ordinary_edit_costs_little_for_each_line() {
    for (path, file) in perturbed::files() {
        let lines: Vec<&str> = file.split_inclusive('\n').collect();
        let middle = lines.len() / 2;
        let cost = (8 * lines.len() + file.len() / 8 + 5_000) as u64;
        for old in [&lines[middle..], &lines[middle..(middle + 3).min(lines.len())], &["nowhere\n"][..]] {
            let old = old.concat();
            let edit = Edit::Replace { path: "f".into(), new: format!("{old}more\n"), old, all: false };
            let (_, steps) = steps(file, &[edit]);
            assert!(steps < cost, "{path}: {steps} steps, {cost} are enough");
            assert!(steps < MAX_WORK / 1_000);
        }
    }
}

#[test]
fn a_replacement_that_would_fill_the_memory_is_not_begun() {
    let file = "a\n".repeat(1 << 20);
    let all = Edit::Replace { path: "f".into(), old: "a".into(), new: "b".repeat(1 << 20), all: true };
    assert!(matches!(make("f", &file, &[all]), Err(Refusal::TooLarge { bytes, .. }) if bytes == 1 << 40));
    let once = replace("f", "a", &"b".repeat(1 << 20));
    assert!(matches!(make("f", &file, &[once]), Err(Refusal::Ambiguous { count, .. }) if count == 1 << 20));
}

#[test]
fn a_block_of_parts_without_number_is_not_sought() {
    let file = "a\nx\n".repeat(200_000);
    let old = format!("{}a\n", "a\n...\n".repeat(200_000));
    let refused = make("f", &file, &[replace("f", &old, &format!("{old}b\n"))]);
    assert!(matches!(refused, Err(Refusal::NotFound { .. } | Refusal::Exhausting)), "{refused:?}");
}

#[test]
fn a_long_text_of_edits_is_read_within_bounds() {
    let lines = |word: &str, n: usize| (0..n).map(|line| format!("{word} {line}\n")).collect::<String>();
    // Nothing in common, and as long as it may be: git's algorithm gives up the search for the shortest difference.
    let block = format!("f\n<<<<<<< SEARCH\n{}=======\n{}>>>>>>> REPLACE\n", lines("old", 20_000), lines("new", 20_000));
    assert_eq!(read(Format::SearchReplace, None, &block).map(|edits| edits.len()), Ok(1));
    let mut parser = Parser::new(Format::SearchReplace, None);
    parser.push(block.as_bytes());
    assert_eq!(parser.finish_within(&Work::new(100_000)), Err(Refusal::Exhausting));
    let many = "f\n```\nx\n```\n".repeat(100_000).replace("f\n", "");
    let named: String = (0..100_000).map(|n| format!("f{n}.txt\n```\nx\n```\n")).collect();
    let blocks = "f\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n".repeat(2_000);
    for text in [many, named, blocks] {
        assert!(matches!(read(Format::Auto, Some("f"), &text), Err(Refusal::Malformed { .. })));
    }
}

#[test]
fn what_is_written_again_and_again_is_kept_once() {
    let write = |path: &str, n: usize| Edit::Write { path: path.into(), content: format!("{n}\n") };
    let edits: Vec<Edit> = (0..100).flat_map(|n| [write("f", n), write("g", n)]).collect();
    let files = BTreeMap::from([("f".to_owned(), None), ("g".to_owned(), None)]);
    let batch = apply(files, &edits, &mut |_, _| {});
    let content = Bytes::from_static(b"99\n");
    let of = |path: &str| Change::Write { path: path.into(), content: content.clone() };
    assert_eq!(batch.changes, [of("f"), of("g")]);
}
