//! The dashboards and the alerts: every metric and every label that they ask for is one that a running suite exports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use slipway_testkit::suite::free_port;
use slipway_testkit::{Provider, Step, SuiteOptions};
use tokio::sync::Semaphore;

use super::helm::{Helm, SHAPES};
use crate::story::{self, repository, suite_with};

/// Labels that Prometheus gives to everything that it scrapes in a cluster.
const OF_THE_TARGET: [&str; 5] = ["namespace", "job", "instance", "pod", "component"];
const PREFIXES: [&str; 2] = ["slipway_", "process_"];

/// The metrics of a `/metrics` page with their labels.
fn exported(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|l| PREFIXES.iter().any(|p| l.starts_with(p))) {
        let name: String = line.chars().take_while(|c| is_name(*c)).collect();
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|l| Some(l.split_once('=')?.0.to_owned()));
        found.entry(name).or_default().extend(names);
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics that an expression asks for, each with the labels of its selector.
fn asked(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if !PREFIXES.iter().any(|p| name.starts_with(p)) {
            continue;
        }
        let selector = rest.strip_prefix('{').and_then(|r| r.split_once('}')).map_or("", |(selector, _)| selector);
        rest = rest.get(selector.len()..).unwrap_or_default();
        found.push((name.to_owned(), matched(selector)));
    }
    found
}

/// `a="1",b=~"2|3"`: the names before the signs.
fn matched(selector: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (place, part) in selector.split('"').enumerate() {
        if place % 2 == 0 {
            let name = part.trim_matches(|c: char| !is_name(c));
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    names
}

/// The labels in `by (...)` of an expression.
fn grouped(expression: &str) -> BTreeSet<String> {
    let lists = expression.split("by (").skip(1).filter_map(|r| Some(r.split_once(')')?.0));
    lists.flat_map(|l| l.split(',').map(|n| n.trim().to_owned())).collect()
}

/// Everything under a key of this name.
fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str().filter(|_| name == key) {
                    Some(text) => found.push(text.to_owned()),
                    None => collect(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, key, found)),
        _ => {}
    }
}

fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(repository().join("infra/dashboards")).unwrap().flatten().map(|e| e.path());
    let json = files.filter(|p| p.extension().is_some_and(|e| e == "json"));
    json.map(|p| (p.display().to_string(), serde_json::from_str(&std::fs::read_to_string(p).unwrap()).unwrap())).collect()
}

/// A page with every metric on it: calls that end and one that is refused for its rate, and a run that a worker has.
async fn page() -> String {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let provider = Provider::start(move |_| vec![Step::Gate(wait.clone()), Step::Text("done".into())]).await.unwrap();
    let port = free_port().unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.env.push(("SLIPWAY_TELEMETRY__METRICS_LISTEN".into(), format!("127.0.0.1:{port}")));
    options.config.push_str("[gateway.rate_limit]\nin_local_mode = true\nupload = { per_minute = 1, burst = 1 }\n");
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let request = slipway_proto::filestore::CommitRevisionRequest {
        workspace_id: workspace.clone(),
        changes: vec![story::write("a.yaml", "a: 1\n")],
        ..Default::default()
    };
    assert!(client.files.clone().commit_revision(request).await.is_err(), "the second upload in a minute is too much");
    let conversation = story::conversation(&client, "").await;
    let message = story::message(&conversation.id, "hello there");
    let _under_way = client.conversation.clone().send_message(message).await.unwrap();
    // What waits is measured every few seconds.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let page = crate::telemetry::scrape(port).await;
        if page.contains("slipway_jobs{") {
            return page;
        }
        assert!(Instant::now() < deadline, "the run's job is not on the page:\n{page}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn all_that_dashboards_and_alerts_ask_for_is_exported() {
    let exported = exported(&page().await);
    let mut expressions: Vec<(String, String)> = Vec::new();
    for (file, dashboard) in dashboards() {
        let mut found = Vec::new();
        collect(&dashboard["panels"], "expr", &mut found);
        collect(&dashboard["templating"], "query", &mut found);
        assert!(found.len() > 5, "{file}");
        expressions.extend(found.into_iter().map(|e| (file.clone(), e)));
    }
    if let Some(helm) = Helm::find("all_that_dashboards_and_alerts_ask_for_is_exported") {
        let shape = SHAPES.iter().find(|s| s.name == "scale, operator").unwrap();
        let mut found = Vec::new();
        helm.objects(shape).of("PrometheusRule").into_iter().for_each(|r| collect(r, "expr", &mut found));
        assert!(found.len() > 3, "the alerts");
        expressions.extend(found.into_iter().map(|e| ("alerts".to_owned(), e)));
    }
    let mut used = BTreeSet::new();
    for (file, expression) in expressions {
        let mut labels: BTreeSet<String> = OF_THE_TARGET.iter().map(|l| (*l).to_owned()).collect();
        for (metric, selected) in asked(&expression) {
            let known = exported.get(&metric).unwrap_or_else(|| panic!("{file}: nothing exports {metric}: {expression}"));
            labels.extend(known.iter().cloned());
            assert!(selected.is_subset(&labels), "{file}: {metric} has {labels:?}, not all of {selected:?}");
            used.insert(metric);
        }
        let groups = grouped(&expression);
        assert!(groups.is_subset(&labels), "{file}: {groups:?} are not all labels: {expression}");
    }
    assert!(used.iter().any(|m| m.starts_with("slipway_requests")) && used.iter().any(|m| m.starts_with("process_")), "{used:?}");
}

#[test]
fn dashboards_can_be_told_apart_and_fit_the_screen() {
    let mut ids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(ids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{file} has the uid of another");
        let mut panels = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(panels.insert(panel["id"].as_i64().unwrap()), "{file}: two panels with one id");
            let place = &panel["gridPos"];
            assert!(place["x"].as_i64().unwrap() + place["w"].as_i64().unwrap() <= 24, "{file}: {}", panel["title"]);
            let mut sources = Vec::new();
            collect(panel, "uid", &mut sources);
            assert!(sources.iter().all(|s| s == "${datasource}"), "{file}: {}: whose data source is it?", panel["title"]);
        }
    }
}
