//! Keeps the rooms apart: which crate may depend on which, which file may use what. See ARCHITECTURE.md, "Invariants".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::story::repository;

const LIBS: [&str; 11] =
    ["bus", "ops", "secrets", "edits", "documents", "proto", "rpc", "settings", "storage", "telemetry", "testkit"];
const MAX_LINES: usize = 500;

fn sources(below: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository().join(below), &mut found);
    found.sort();
    found
}

fn all_sources() -> Vec<PathBuf> {
    ["libs", "services", "gateway", "slipway", "tests"].iter().flat_map(|d| sources(d)).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

/// Files that hold tests of their neighbours.
fn is_test(path: &Path) -> bool {
    let name = shown(path);
    let file = path.file_stem().unwrap_or_default().to_string_lossy();
    let of_tests = ["tests", "testing", "conformance"].iter().any(|t| file == *t) || file.ends_with("_tests");
    of_tests
        || name.contains("/tests/")
        || name.contains("/conformance/")
        || name.starts_with("tests/")
        || name.starts_with("libs/testkit/")
}

/// The code of a file without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a readable source");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Our crates and which of ours each one depends on, without dev-dependencies.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(repository());
    let output = command.output().expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let mut arrows = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let ours = dependencies.filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str());
        let ours = ours.filter(|n| n.starts_with("slipway-")).map(|n| n.trim_start_matches("slipway-").to_owned());
        let name = package["name"].as_str().expect("a name").trim_start_matches("slipway-").to_owned();
        arrows.insert(name, ours.collect());
    }
    arrows
}

#[test]
fn arrows_run_down() {
    for (from, to) in arrows() {
        if from == "slipway" {
            continue;
        }
        for target in &to {
            assert!(LIBS.contains(&target.as_str()), "{from} depends on {target}: only the libs and slipway/ are shared");
            assert_ne!(target, "testkit", "{from} needs the testkit to run");
        }
    }
}

#[test]
fn only_stores_know_the_database() {
    for path in sources("services").into_iter().chain(sources("gateway")).chain(sources("slipway")) {
        let name = shown(&path);
        let is_store = name.ends_with("/store.rs") || name.contains("/store/") || is_test(&path);
        assert!(is_store || !code(&path).contains("sea_orm"), "{name} uses sea_orm: only a store may");
    }
}

#[test]
fn only_the_doors_know_tonic() {
    let doors = ["lib.rs", "rpc.rs", "convert.rs", "clients.rs"];
    for path in sources("services") {
        let name = shown(&path);
        let is_door = doors.iter().any(|d| name.ends_with(&format!("/{d}")))
            || ["/rpc/", "/convert/", "/clients/"].iter().any(|d| name.contains(d));
        assert!(
            is_door || name.ends_with("tests.rs") || name.contains("/tests/") || !code(&path).contains("tonic::"),
            "{name} uses tonic"
        );
    }
}

#[test]
fn models_do_nothing_but_think() {
    let is_model = |p: &PathBuf| shown(p).ends_with("/model.rs") || shown(p).contains("/model/");
    for path in sources("services").into_iter().filter(is_model).filter(|p| !is_test(p)) {
        for forbidden in ["async fn", "tokio::", "slipway_storage", "std::fs"] {
            assert!(!code(&path).contains(forbidden), "{} uses {forbidden}: a model has no I/O", shown(&path));
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).expect("a readable source");
        assert!(text.starts_with("//! "), "{} does not open with what it is for", shown(&path));
    }
}

#[test]
fn no_file_outgrows_a_reader() {
    for path in all_sources() {
        let lines = std::fs::read_to_string(&path).expect("a readable source").lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines: split it by resource", shown(&path));
    }
}

#[test]
fn nothing_is_spawned_and_forgotten_and_no_queue_is_unbounded() {
    for path in ["libs", "services", "gateway", "slipway"].iter().flat_map(|d| sources(d)).filter(|p| !is_test(p)) {
        let name = shown(&path);
        for forbidden in ["tokio::spawn(", "unbounded_channel", "unbounded("] {
            assert!(!code(&path).contains(forbidden), "{name} uses {forbidden}");
        }
    }
}

/// A label that is nowhere kills nobody, and a test that names it proves nothing.
#[test]
fn every_crash_point_is_somewhere_and_known() {
    let all = ["libs", "services"].iter().flat_map(|dir| sources(dir)).filter(|path| !is_test(path));
    let code: String = all.map(|path| std::fs::read_to_string(path).expect("a readable source")).collect();
    let table = std::fs::read_to_string(repository().join("libs/storage/src/crash.rs")).expect("a readable source");
    let known: Vec<&str> =
        table.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once('"')).map(|(l, _)| l).collect();
    assert!(known.len() > 20);
    for label in &known {
        assert_eq!(code.matches(&format!("crash::point(\"{label}\")")).count(), 1, "{label} is used once");
    }
    assert_eq!(code.matches("crash::point(\"").count(), known.len(), "every label is in the table");
}
