//! Tests of how code is cut.

use super::super::{Chunk, chunk};

fn cut(path: &str, text: &str) -> Vec<(String, u32, u32)> {
    chunk(path, text).into_iter().map(|c: Chunk| (c.title, c.start_line, c.end_line)).collect()
}

/// Lines that make a function too large to share a chunk.
fn filler(indent: &str, line: &str, count: usize) -> String {
    (0..count).map(|n| format!("{indent}{}\n", line.replace('#', &n.to_string()))).collect()
}

#[test]
fn definitions_come_with_what_stands_above_them() {
    let body = filler("    ", "let a# = #;", 10);
    let text = format!(
        "use std::fmt;\n\n/// Says it.\n#[inline]\nfn say() {{\n{body}}}\n\n/// A thing.\nstruct Thing {{\n{}}}\n",
        filler("    ", "a#: u32,", 10)
    );
    let found = cut("src/a.rs", &text);
    let titles: Vec<_> = found.iter().map(|(t, ..)| t.as_str()).collect();
    assert_eq!(titles, ["", "function say", "struct Thing"]);
    assert_eq!((found[1].1, found[1].2), (3, 16));
    assert_eq!((found[2].1, found[2].2), (18, 30));
}

#[test]
fn large_definitions_are_cut_at_those_inside() {
    let method = |name: &str| format!("    fn {name}(&self) {{\n{}    }}\n\n", filler("        ", "self.call#();", 12));
    let text = format!("impl Show for Thing {{\n{}{}{}}}\n", method("one"), method("two"), method("three"));
    let titles: Vec<_> = cut("a.rs", &text).into_iter().map(|(t, ..)| t).collect();
    assert_eq!(titles, ["impl Thing › function one", "impl Thing › function two", "impl Thing › function three"]);
}

#[test]
fn each_language_has_its_definitions() {
    let python = format!(
        "import os\n\n@cached\ndef load(x):\n{}\nclass Box:\n{}",
        filler("    ", "a# = 1", 12),
        filler("    ", "b# = 1", 12)
    );
    let go = format!(
        "package a\n\n// Run runs.\nfunc (s *Server) Run() {{\n{}}}\n\ntype Server struct {{\n{}}}\n",
        filler("\t", "a#()", 12),
        filler("\t", "A# int", 12)
    );
    let script = format!(
        "export function run() {{\n{}}}\n\nconst go = () => {{\n{}}};\n",
        filler("  ", "a#();", 12),
        filler("  ", "b#();", 12)
    );
    let typed = format!(
        "export class Box {{\n{}}}\n\ninterface Lid {{\n{}}}\n",
        filler("  ", "a# = 1;", 12),
        filler("  ", "b#: string;", 12)
    );
    let bash = format!(
        "#!/bin/sh\nset -e\n\nstart() {{\n{}}}\n\nstop() {{\n{}}}\n",
        filler("  ", "run #", 12),
        filler("  ", "halt #", 12)
    );
    let java = format!(
        "package a;\n\npublic class Box {{\n  void open() {{\n{}  }}\n  void close() {{\n{}  }}\n}}\n",
        filler("    ", "a#();", 25),
        filler("    ", "b#();", 25)
    );
    let cases: [(&str, &str, &[&str]); 6] = [
        ("a.py", &python, &["function load", "class Box"]),
        ("a.go", &go, &["method Run", "type Server"]),
        ("a.js", &script, &["function run", "variable go"]),
        ("a.ts", &typed, &["class Box", "interface Lid"]),
        ("a.sh", &bash, &["function start", "function stop"]),
        ("A.java", &java, &["class Box › method open", "class Box › method close"]),
    ];
    for (path, text, expected) in cases {
        let found = cut(path, text);
        for title in expected {
            assert!(found.iter().any(|(t, ..)| t == title), "{path}: no {title:?} in {found:?}");
        }
    }
}

#[test]
fn small_neighbours_share_a_chunk() {
    let text: String = (0..6).map(|n| format!("fn f{n}() {{\n    go({n})\n}}\n\n")).collect();
    let found = cut("a.rs", &text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.starts_with("function f0, function f1"), "{found:?}");
}

#[test]
fn whatever_it_is_every_line_is_in_a_chunk() {
    let good = "use a;\n\nfn one() {\n    two()\n}\n\nimpl A {\n    fn b() {}\n}\nconst X: u8 = 1;";
    let broken = [
        "fn a( {\n}}}}\nfn b() {}\n",
        "class {{{{\n def x",
        "\u{feff}fn a() {}",
        "a b c\n\n\nd",
        &"(".repeat(5_000),
        "'''\n\"\"\"\n`${",
        good,
    ];
    for ending in ["rs", "py", "go", "js", "ts", "tsx", "sh", "java"] {
        for text in broken {
            let path = format!("x.{ending}");
            let chunks = chunk(&path, text);
            for (at, _) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let n = at as u32 + 1;
                assert!(chunks.iter().any(|c| c.start_line <= n && n <= c.end_line), "{path}: line {n} of {text:?} is lost");
            }
        }
        for end in (0..good.len()).step_by(3) {
            chunk(&format!("x.{ending}"), &good[..end]);
        }
    }
}

#[test]
fn a_file_that_takes_too_long_to_parse_is_cut_by_lines() {
    // Every opening may be that of a type or of a comparison: the parser keeps both in mind, twice as long with each.
    let text = "fn a<\n".repeat(150_000);
    let found = cut("a.rs", &text);
    assert!(found.len() > 10 && found.iter().all(|(title, ..)| title.is_empty()), "{:?}", found.first());
}
