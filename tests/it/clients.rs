//! A client in another language, generated from `proto/`, runs the main job.

use std::process::Command;

use slipway_testkit::tools;

use crate::story::{repository, suite};

#[tokio::test]
async fn a_python_client_runs_the_main_job() {
    let python = tools::cache().join("tools/python/bin/python");
    if !python.is_file() {
        return tools::skipped("a_python_client_runs_the_main_job", "python with grpcio-tools is not installed");
    }
    let suite = suite().await;
    let generated = tempfile::tempdir().unwrap();
    let proto = repository().join("proto");
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto);
    protoc
        .arg(format!("--python_out={}", generated.path().display()))
        .arg(format!("--grpc_python_out={}", generated.path().display()));
    for service in [
        "api/v1/policy",
        "api/v1/error_reason",
        "events/v1/event",
        "conversation/v1/conversation",
        "planner/v1/planner",
        "filestore/v1/filestore",
        "embedding/v1/embedding",
        "inference/v1/inference",
    ] {
        protoc.arg(proto.join("slipway").join(format!("{service}.proto")));
    }
    let output = protoc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = Command::new(&python);
    client.arg(repository().join("tests/clients/python/main_job.py")).arg(suite.url().trim_start_matches("http://"));
    client.arg(repository().join("infra/helm/slipway")).env("PYTHONPATH", generated.path());
    let output = client.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("all steps done"), "{said}");
}
