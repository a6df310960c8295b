//! A client in another language, generated from `proto/`, runs the main job.

use std::path::{Path, PathBuf};
use std::process::Command;

use slipway_testkit::tools;
use tempfile::TempDir;

use crate::story::{repository, suite};

#[tokio::test]
async fn a_python_client_runs_the_main_job() {
    let Some(python) = python("a_python_client_runs_the_main_job") else { return };
    let suite = suite().await;
    let generated = stubs(&python);
    let mut client = Command::new(&python);
    client.arg(repository().join("tests/clients/python/main_job.py")).arg(suite.url().trim_start_matches("http://"));
    client.arg(repository().join("infra/helm/slipway"));
    assert!(run(client, generated.path()).contains("all steps done"));
}

/// Python with grpcio-tools; else a test says that it is skipped.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let python = tools::cache().join("tools/python/bin/python");
    if python.is_file() {
        return Some(python);
    }
    tools::skipped(test, "python with grpcio-tools is not installed");
    None
}

/// The stubs that `protoc` makes from `proto/` for Python.
pub(crate) fn stubs(python: &Path) -> TempDir {
    let generated = tempfile::tempdir().unwrap();
    let proto = repository().join("proto");
    let mut protoc = Command::new(python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto);
    protoc
        .arg(format!("--python_out={}", generated.path().display()))
        .arg(format!("--grpc_python_out={}", generated.path().display()));
    protoc.args(protos(&proto));
    let output = protoc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    generated
}

/// Every file of the API: one may come to need another.
fn protos(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(protos(&path));
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    found
}

/// Runs a client with its stubs and gives what it printed.
pub(crate) fn run(mut client: Command, generated: &Path) -> String {
    let output = client.env("PYTHONPATH", generated).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}
