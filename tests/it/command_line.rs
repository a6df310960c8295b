//! The command line: the same job for people and, with `--json`, for scripts; one clear sentence when it fails.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use slipway_testkit::{Provider, Step, SuiteOptions};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::Semaphore;

use crate::story::{self, binary, repository, suite, suite_with};

/// Runs a command against a suite.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).env("SLIPWAY_SERVER", url).env("NO_COLOR", "1").output().unwrap()
}

/// What a command that must succeed prints.
pub(crate) fn ok(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
pub(crate) fn print(url: &str, arguments: &[&str]) -> Value {
    let text = ok(url, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

/// The small chart as files.
pub(crate) fn chart(directory: &Path) {
    for (path, text) in story::small_chart() {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[tokio::test]
async fn the_whole_job_by_hand() {
    let suite = suite().await;
    let url = suite.url();
    let directory = tempfile::tempdir().unwrap();
    chart(directory.path());
    let imported = print(&url, &["workspace", "import", directory.path().to_str().unwrap(), "--name", "shop"]);
    assert!(imported.to_string().contains("\"number\":\"1\""), "{imported}");
    let workspaces = print(&url, &["workspace", "list"]);
    let id = workspaces["workspaces"][0]["id"].as_str().unwrap().to_owned();
    story::indexed(&suite.client().unwrap(), &id, 1).await;

    assert!(ok(&url, &["workspace", "files", "shop"]).contains("templates/gateway.yaml"));
    assert!(ok(&url, &["workspace", "cat", "shop", "Chart.yaml"]).starts_with("apiVersion: v2"));
    assert!(ok(&url, &["search", "--workspace", "shop", "catalogue replicas"]).contains("values.yaml"));
    let answer = ok(&url, &["chat", "--workspace", "shop", "How many gateway replicas run?"]);
    assert!(answer.contains("replicas: 1") && answer.contains("values.yaml"), "{answer}");

    let overlay = print(&url, &["files", "overlay", "create", "shop", "--name", "draft"])["id"].as_str().unwrap().to_owned();
    let values = directory.path().join("values.yaml");
    std::fs::write(&values, "replaced: true\n").unwrap();
    ok(&url, &["files", "overlay", "write", &overlay, "values.yaml", "--from", values.to_str().unwrap()]);
    ok(&url, &["files", "overlay", "rename", &overlay, "Chart.yaml", "moved/Chart.yaml"]);
    ok(&url, &["files", "overlay", "remove", &overlay, "moved/Chart.yaml"]);
    assert_eq!(ok(&url, &["files", "overlay", "cat", &overlay, "values.yaml"]), "replaced: true\n");
    assert!(ok(&url, &["files", "overlay", "diff", &overlay]).contains("+replaced: true"));
    assert!(ok(&url, &["files", "overlay", "list", "shop"]).contains("draft"));
    assert!(ok(&url, &["files", "overlay", "show", &overlay]).contains("revision 1"));
    assert!(ok(&url, &["files", "history", "shop", "values.yaml"]).contains("added"));
    assert!(ok(&url, &["files", "blame", "shop", "Chart.yaml"]).contains("1  apiVersion: v2"));
    assert!(ok(&url, &["files", "overlay", "preview", &overlay]).contains("it merges with revision 1"));
    ok(&url, &["files", "overlay", "delete", &overlay, "--yes"]);

    let plan = ok(&url, &["plan", "create", "--workspace", "shop", "set gateway.replicas to 3", "--json"]);
    let last: Value = serde_json::from_str(plan.trim().lines().last().unwrap()).unwrap();
    let plan = last["event"]["ready"]["id"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned();
    assert!(ok(&url, &["plan", "show", &plan]).contains("values.yaml"));
    ok(&url, &["plan", "approve", &plan]);
    assert!(ok(&url, &["workspace", "diff", "shop", "1", "2"]).contains("+  replicas: 3"));
    ok(&url, &["workspace", "restore", "shop", "1"]);
    let out = directory.path().join("out");
    ok(&url, &["workspace", "export", "shop", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("values.yaml")).unwrap(), story::small_chart()[1].1);
    assert!(ok(&url, &["models"]).contains("builtin/rules"));
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn contents_go_in_and_out_by_hand() {
    let suite = suite().await;
    let url = suite.url();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("shop")).unwrap();
    chart(Path::new(&at("shop")));
    ok(&url, &["files", "import", &at("shop")]);
    let large: Vec<u8> = (0..9_000_001).map(|n| (n % 251) as u8).collect();
    std::fs::write(at("large.bin"), &large).unwrap();
    ok(&url, &["files", "upload", "shop", &at("large.bin"), "--path", "data/large.bin", "--message", "a large one"]);
    // What was left of a broken download is gone on with.
    std::fs::write(at("copy.bin.part"), &large[..1_234_567]).unwrap();
    ok(&url, &["files", "download", "shop", "data/large.bin", "--output", &at("copy.bin")]);
    assert!(std::fs::read(at("copy.bin")).unwrap() == large && !Path::new(&at("copy.bin.part")).exists());
    let key = ["AKIA", "Z7VRSQ5TJN2XMPLQ"].concat();
    std::fs::write(at("secret.yaml"), format!("a: 1\naccessKey: {key}\n")).unwrap();
    ok(&url, &["files", "upload", "shop", &at("secret.yaml")]);
    let found = ok(&url, &["files", "secrets", "shop"]);
    assert!(found.contains("secret.yaml:2") && !found.contains(&key), "{found}");

    ok(&url, &["files", "export", "shop", &at("shop.bundle"), "--git"]);
    git(directory.path(), &["clone", "-q", "shop.bundle", "clone"]);
    assert_eq!(git(Path::new(&at("clone")), &["log", "--format=%s"]).lines().nth(1), Some("a large one"));
    assert!(std::fs::read(at("clone/data/large.bin")).unwrap() == large);
    ok(&url, &["files", "import", &at("shop.bundle"), "--name", "again", "--commits", "10"]);
    let hashes = |workspace: &str| {
        let log = print(&url, &["workspace", "log", workspace]);
        log["revisions"].as_array().unwrap().iter().map(|r| r["hash"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(hashes("again"), hashes("shop"));
    let tar = Command::new("tar").current_dir(directory.path()).args(["-cf", "plain.tar", "shop"]).status().unwrap();
    assert!(tar.success());
    ok(&url, &["files", "import", &at("plain.tar")]);
    assert!(ok(&url, &["workspace", "files", "plain"]).contains("Chart.yaml"));
    let refused = run(&url, &["files", "import", "https://127.0.0.1:1/charts", "--chart", "shop"]);
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && sentence.contains("private network"), "{sentence}");
}

#[tokio::test]
async fn a_failure_is_one_sentence_and_a_code() {
    let suite = suite().await;
    for arguments in [
        &["workspace", "files", "nowhere"][..],
        &["plan", "show", "0197a000-0000-7000-8000-000000000000"],
        &["workspace", "import", "/nonexistent"],
    ] {
        let output = run(&suite.url(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(said.starts_with("error: ") && said.trim().lines().count() == 1, "{arguments:?}: {said}");
    }
    let output = run("http://127.0.0.1:1", &["models"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("slipway up") || said.contains("make up"), "it says how to start one: {said}");
}

#[tokio::test]
async fn health_is_told_by_the_exit_code() {
    let mut suite = suite().await;
    assert_eq!(ok(&suite.url(), &["health"]), "it serves\n");
    assert_eq!(print(&suite.url(), &["health"]), json!({"status": "SERVING"}));
    let url = suite.url();
    suite.kill();
    assert_eq!(run(&url, &["health"]).status.code(), Some(6));
}

#[test]
fn settings_are_checked_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("config").current_dir(directory.path()).env("SLIPWAY_GATEWAY__RATE", "1");
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("gateway.rate") || said.contains("SLIPWAY_GATEWAY__RATE"), "{said}");
    let mut command = Command::new(binary());
    command.arg("config").current_dir(directory.path()).env("SLIPWAY_IDENTITY__KEY", "a-secret-of-at-least-thirty-two-bytes");
    let output = command.output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && shown.contains("listen") && !shown.contains("thirty-two"), "{shown}");
}

#[test]
fn every_command_explains_itself() {
    let help = |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&[]);
    for command in
        ["up", "serve", "config", "migrate", "demo", "completions", "workspace", "chat", "plan", "search", "models", "health"]
    {
        assert!(all.contains(command), "{all}");
        assert!(help(&[command]).lines().count() > 3, "{command}");
    }
    let completions = Command::new(binary()).args(["completions", "bash"]).output().unwrap();
    assert!(completions.stdout.len() > 1000);
}

#[test]
fn migrations_go_down_and_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let migrate = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("migrate").args(arguments).env("SLIPWAY_DATA_DIR", directory.path()).current_dir(directory.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    migrate(&["up"]);
    assert!(migrate(&["status"]).contains("file-store"));
    migrate(&["down"]);
    migrate(&["up"]);
}

#[test]
fn the_demo_runs_to_its_end_without_a_terminal() {
    let output = Command::new(binary()).arg("demo").current_dir(repository()).env("NO_COLOR", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for step in ["revision 1", "values.yaml", "slipway.example.com", "revision 3"] {
        assert!(said.contains(step), "{step}:\n{said}");
    }
}

#[tokio::test]
async fn a_command_outlives_its_server() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let provider = Provider::start(move |_| {
        let step = json!({"path": "values.yaml", "action": "update", "reason": "as asked"});
        vec![Step::Gate(wait.clone()), Step::Call("submit_plan".into(), json!({"summary": "an edit", "steps": [step]}))]
    });
    let provider = provider.await.unwrap();
    let mut suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let (workspace, _) = story::workspace(&suite.client().unwrap(), &story::small_chart()).await;
    let mut command = tokio::process::Command::new(binary());
    command.args(["plan", "create", "--workspace", &workspace, "run seven"]).env("SLIPWAY_SERVER", suite.url());
    let mut child = command.env("NO_COLOR", "1").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.ends_with("is being made"), "{first}");
    suite.kill();
    suite.restart().await.unwrap();
    gate.add_permits(10);
    let rest = async {
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            said += &line;
        }
        (said, child.wait().await.unwrap())
    };
    let (said, status) = tokio::time::timeout(Duration::from_secs(30), rest).await.expect("the command did not end");
    assert!(status.success() && said.contains("ready for review"), "{said}");
}

#[tokio::test]
async fn a_message_that_is_not_text_is_refused() {
    let suite = suite().await;
    let mut command = Command::new(binary());
    command.arg("chat").env("SLIPWAY_SERVER", suite.url()).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"caf\xe9").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.trim()), (Some(2), "error: the message on standard input is not UTF-8 text"));
}

// The command that is waited for is answered by a provider in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_is_recorded_without_its_key() {
    let provider = Provider::saying(&["Hello", " there"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("slipway.toml");
    let text = format!("[inference.providers.fake]\nbase_url = \"{}\"\napi_key = \"sk-very-secret\"\n", provider.base_url());
    std::fs::write(&settings, text).unwrap();
    let file = directory.path().join("hello.http");
    let record = |provider: &str| {
        let mut command = Command::new(binary());
        command.args([
            "inference",
            "record",
            "--provider",
            provider,
            "--model",
            "scripted",
            "--prompt",
            "hi sk-very-secret",
            "--out",
        ]);
        let output = command.arg(&file).env("SLIPWAY_CONFIG", &settings).env("NO_COLOR", "1").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = record("nobody");
    assert!(code == Some(1) && said.contains("nobody") && said.contains("fake"), "{said}");
    assert_eq!(record("fake"), (Some(0), String::new()));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("POST /v1/chat/completions HTTP/1.1\nhost: 127.0.0.1\n"), "{written}");
    assert!(written.contains("\n\nHTTP/1.1 200 OK\n") && written.contains("data: [DONE]"), "{written}");
    assert!(!written.contains("very-secret") && !written.contains("authorization"), "{written}");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(file.with_extension("json")).unwrap()).unwrap();
    assert_eq!(
        (&expected["model"], &expected["text"], &expected["finish"]),
        (&json!("scripted"), &json!("Hello there"), &json!("stop"))
    );
    // Never over what is there.
    assert_eq!(record("fake").0, Some(2));
}
