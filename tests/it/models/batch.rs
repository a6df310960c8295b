//! Files of prompts, kept answers and providers, from the command line.

use std::process::Command;

use serde_json::Value;

use super::*;
use crate::story::binary;

// The command that is waited for is answered by a provider in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_prompts_is_completed_line_by_line() {
    let echo = |request: &Value| match request["messages"][0]["content"].as_str().unwrap_or_default() {
        "no" => vec![Step::Refuse(400, json!({"error": {"message": "no"}}))],
        text => vec![Step::Text(format!("you said {text}"))],
    };
    let provider = Provider::start(echo).await.unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.config.push_str("\n[inference.cache]\nttl_seconds = 60\n");
    let suite = suite_with(options).await;
    let url = suite.url();
    let run = |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).env("SLIPWAY_SERVER", &url).env("NO_COLOR", "1").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompts.jsonl");
    let prompt = json!({"messages": [{"role": "ROLE_USER", "text": "one"}]});
    // More than go into one call.
    let many: String = (0..120).map(|n| format!("\"question {n}\"\n")).collect();
    std::fs::write(&file, format!("{prompt}\n\n\"no\"\n{many}")).unwrap();
    let (code, lines) = run(&["inference", "batch", file.to_str().unwrap(), "--ordered"]);
    let results: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, results.len()), (Some(1), 122), "one has no answer");
    assert!(results.iter().enumerate().all(|(n, r)| r["index"] == n), "in order");
    assert_eq!(results[0]["completion"]["text"], "you said one");
    assert_eq!(results[1]["error"]["reason"], "PROVIDER_REJECTED_REQUEST");
    assert_eq!(results[121]["completion"]["text"], "you said question 119");

    let (_, stats) = run(&["inference", "cache", "stats", "--json"]);
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((&stats["enabled"], &stats["entries"]), (&json!(true), &json!("121")));
    assert_eq!(run(&["inference", "cache", "clear"]), (Some(0), "121 answers forgotten\n".to_owned()));
    let (code, listed) = run(&["inference", "providers"]);
    assert!(code == Some(0) && listed.contains("builtin") && listed.contains("in use"), "{listed}");

    std::fs::write(&file, "{\"mesages\": []}\n").unwrap();
    assert_eq!(run(&["inference", "batch", file.to_str().unwrap()]).0, Some(2), "a field that no prompt has");
}
