//! Tests of differences: what `git apply` makes of them is the judge.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::*;

fn side(content: &str) -> Option<Side<'_>> {
    Some(Side { content: content.as_bytes(), executable: false })
}

fn program(content: &str) -> Option<Side<'_>> {
    Some(Side { content: content.as_bytes(), executable: true })
}

fn put(dir: &Path, path: &str, side: Side<'_>) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, side.content).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(if side.executable { 0o755 } else { 0o644 })).unwrap();
}

/// Applies the difference with git and looks at what comes out.
fn git_applies(path: &str, old: Option<Side<'_>>, new: Option<Side<'_>>, context: usize) {
    let diff = diff_file(&Names::same(path), old, new, context, None);
    assert!(!diff.binary);
    let dir = tempfile::tempdir().unwrap();
    if let Some(old) = old {
        put(dir.path(), path, old);
    }
    let patch = tempfile::NamedTempFile::new().unwrap();
    fs::write(patch.path(), &diff.unified).unwrap();
    let mut git = Command::new("git");
    git.current_dir(dir.path())
        .env("GIT_CEILING_DIRECTORIES", dir.path().parent().unwrap())
        .args(["apply", "--whitespace=nowarn"]);
    if context == 0 {
        git.arg("--unidiff-zero");
    }
    let out = git.arg(patch.path()).output().unwrap();
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), diff.unified);
    let file = dir.path().join(path);
    match new {
        None => assert!(!file.exists()),
        Some(new) => {
            assert_eq!(
                String::from_utf8(fs::read(&file).unwrap()).unwrap(),
                std::str::from_utf8(new.content).unwrap(),
                "{}",
                diff.unified
            );
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o111 != 0, new.executable);
        }
    }
    structure_agrees(&diff, old, new);
}

/// The hunks say the same as the two texts and as the unified text.
fn structure_agrees(diff: &FileDiff, old: Option<Side<'_>>, new: Option<Side<'_>>) {
    let lines = |s: Option<Side<'_>>| -> Vec<String> {
        let text = s.map_or(String::new(), |s| String::from_utf8(s.content.to_vec()).unwrap());
        text.split_inclusive('\n').map(str::to_owned).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let (mut additions, mut deletions) = (0, 0);
    for hunk in &diff.hunks {
        let (mut o, mut n) = (hunk.old_start, hunk.new_start);
        for line in &hunk.lines {
            let text = format!("{}{}", line.text, if line.no_newline { "" } else { "\n" });
            if line.kind != LineKind::Added {
                assert_eq!(old[o as usize - 1], text);
                o += 1;
            }
            if line.kind != LineKind::Removed {
                assert_eq!(new[n as usize - 1], text);
                n += 1;
            }
            additions += u32::from(line.kind == LineKind::Added);
            deletions += u32::from(line.kind == LineKind::Removed);
        }
        assert_eq!(o - hunk.old_start, hunk.old_lines);
        assert_eq!(n - hunk.new_start, hunk.new_lines);
        assert_eq!(hunk.old_start == 0, hunk.old_lines == 0);
        assert_eq!(hunk.new_start == 0, hunk.new_lines == 0);
    }
    assert_eq!((additions, deletions), (diff.additions, diff.deletions));
}

#[test]
fn git_takes_every_kind_of_change() {
    let ten = (1..=10).map(|n| format!("line {n}\n")).collect::<String>();
    let changed = ten.replace("line 5\n", "line five\nand more\n");
    for context in [0, 1, 3, 100] {
        git_applies("values.yaml", side(&ten), side(&changed), context);
        git_applies("values.yaml", side(&ten), side(&ten.replace("line 1\n", "")), context);
        git_applies("values.yaml", side(&ten), side(&format!("{ten}last\n")), context);
        git_applies("values.yaml", side(&ten), side(""), context);
        git_applies("values.yaml", side(""), side(&ten), context);
        git_applies("new/deep/file", None, side(&ten), context);
        git_applies("old", side(&ten), None, context);
    }
    git_applies("empty", None, side(""), 3);
    git_applies("empty", side(""), None, 3);
    git_applies("run.sh", None, program("#!/bin/sh\n"), 3);
    git_applies("run.sh", program("#!/bin/sh\n"), None, 3);
    git_applies("mode only", side("a\n"), program("a\n"), 3);
    git_applies("mode and text", program("a\n"), side("b\n"), 3);
}

#[test]
fn line_ends_are_kept_as_they_are() {
    git_applies("f", side("a\nb"), side("a\nb\n"), 3);
    git_applies("f", side("a\nb\n"), side("a\nb"), 3);
    git_applies("f", side("a\nb"), side("a\nc"), 3);
    git_applies("f", side("x\na\nb"), side("y\na\nb"), 3);
    git_applies("f", None, side("no end"), 3);
    git_applies("f", side("no end"), None, 3);
    git_applies("f", side("a\r\nb\r\nc\r\n"), side("a\r\nB\r\nc\r\n"), 3);
    git_applies("f", side("a\r\nb\r\n"), side("a\nb\n"), 3);
    git_applies("f", side("a\rb\rc\n"), side("a\rB\rc\n"), 3);
    git_applies("f", side("\u{2028}\u{b}\u{c}\n"), side("\u{2028}x\u{b}\u{c}\n"), 3);
}

#[test]
fn git_takes_names_that_need_care() {
    for path in ["with space", "a/b c/d", "é/日本.yaml", "quo\"te", "tab-less 'single'", "-dash", "x b/x"] {
        git_applies(path, side("1\n"), side("2\n"), 3);
        git_applies(path, None, side("2\n"), 3);
        git_applies(path, side("1\n"), None, 3);
        git_applies(path, side("1\n"), program("1\n"), 3);
    }
}

#[test]
fn repeated_lines_do_not_slide_out_of_their_context() {
    for (old, new) in [(5, 8), (8, 5), (30, 31), (31, 30)] {
        git_applies("f", side(&"same\n".repeat(old)), side(&"same\n".repeat(new)), 3);
        let framed = |n: usize| format!("top\n{}bottom\n", "same\n".repeat(n));
        git_applies("f", side(&framed(old)), side(&framed(new)), 3);
    }
}

#[test]
fn generated_texts_apply() {
    let mut seed = 0x1234_5678_u64;
    let mut dice = move |sides: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % sides
    };
    for round in 0..60 {
        let old: Vec<String> = (0..dice(40)).map(|_| format!("{}\n", dice(6))).collect();
        let mut new = old.clone();
        for _ in 0..dice(6) {
            let at = usize::try_from(dice(new.len() as u64 + 1)).unwrap();
            match dice(3) {
                0 if at < new.len() => drop(new.remove(at)),
                1 if at < new.len() => new[at] = format!("{}\n", dice(6)),
                _ => new.insert(at, format!("{}\n", dice(6))),
            }
        }
        let (mut old, mut new) = (old.concat(), new.concat());
        if round % 3 == 0 {
            old.pop();
        }
        if round % 4 == 0 {
            new.pop();
        }
        if old != new {
            git_applies("f", side(&old), side(&new), usize::try_from(dice(4)).unwrap());
        }
    }
}

#[test]
fn what_is_not_text_is_binary() {
    let bytes = |content: &'static [u8]| Some(Side { content, executable: false });
    for (old, new) in [(bytes(b"a\0b"), bytes(b"x")), (bytes(b"x"), bytes(&[0xff, 0xfe])), (None, bytes(b"\0"))] {
        let diff = diff_file(&Names::same("f"), old, new, 3, None);
        assert!(diff.binary && diff.unified.is_empty() && diff.hunks.is_empty());
    }
    let large = "x\n".repeat(600_000);
    let diff = diff_file(&Names::same("f"), None, side(&large), 3, None);
    assert!(diff.binary && diff.unified.is_empty() && diff.hunks.is_empty());
}

#[test]
fn a_small_change_in_a_large_file_is_shown() {
    let old: String = (0..400_000).map(|n| format!("line {n}\n")).collect();
    let new = old.replace("line 200000\n", "changed\n").replace("line 200010\n", "");
    let diff = diff_file(&Names::same("f"), side(&old), side(&new), 3, None);
    assert!(!diff.binary);
    assert_eq!((diff.additions, diff.deletions), (1, 2));
    assert_eq!(diff.hunks[0].old_start, 199_998);
    structure_agrees(&diff, side(&old), side(&new));
}

#[test]
fn a_deadline_makes_it_longer_but_not_wrong() {
    let old: String = (0..3_000).map(|n| format!("{}\n", n * 7919 % 1009)).collect();
    let new: String = (0..3_000).map(|n| format!("{}\n", n * 6101 % 1013)).collect();
    let diff = diff_file(&Names::same("f"), side(&old), side(&new), 3, Some(Instant::now()));
    structure_agrees(&diff, side(&old), side(&new));
}

#[test]
fn only_files_that_differ_are_listed_by_path() {
    let entry = |path: &str, content: &str, executable| FileEntry {
        path: path.into(),
        size: content.len() as u64,
        hash: blake3::hash(content.as_bytes()),
        executable,
    };
    let old = Manifest::new(vec![entry("a", "1", false), entry("b", "1", false), entry("c", "1", false), entry("d", "1", false)]);
    let new = Manifest::new(vec![entry("a", "1", false), entry("b", "2", false), entry("d", "1", true), entry("e", "1", false)]);
    let (old, new) = (old.unwrap(), new.unwrap());
    let changed: Vec<_> = changed_files(&old, &new, &[]).iter().map(|c| (c.path, c.old.is_some(), c.new.is_some())).collect();
    assert_eq!(changed, [("b", true, true), ("c", true, false), ("d", true, true), ("e", false, true)]);
    assert!(changed_files(&old, &old, &[]).is_empty());
}
