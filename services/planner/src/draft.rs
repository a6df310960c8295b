//! Drafting: choose the files that matter, show them to the model, take a plan that can be stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use slipway_proto::inference::{Completion, Message, Role};

use crate::clients::FileInfo;
use crate::edit::overlay::Content;
use crate::events::Happened;
use crate::model::{Failure, Plan, Step};
use crate::path;
use crate::prompt::{self, Shown};
use crate::service::message;
use crate::submission::{self, Submission};
use crate::worker::{Along, Attempt, Stop};
use slipway_storage::crash;

const READS_AT_ONCE: usize = 8;
/// The most files that a prompt names without showing them.
const MAX_NAMED: usize = 1_000;
/// Charts of a workspace whose main files are always shown.
const MAX_CHARTS: usize = 3;

/// Makes a plan, from `drafting` to `ready`.
pub(crate) async fn draft(attempt: &Attempt, plan: &mut Plan) -> Result<(), Stop> {
    let files = attempt.planner.neighbours.list_files(&attempt.ctx, plan.workspace_id, plan.base.revision_id).await?;
    let chosen = choose_files(attempt, plan, &files).await?;
    let contents = read_files(attempt, plan, &files, &chosen).await?;
    plan.looked_at = chosen.into_iter().filter(|path| contents.contains_key(path)).collect();
    attempt.write(plan, &[Happened::FilesSelected(plan.looked_at.clone())], Along::Nothing).await?;

    let shown = shown_files(&files, &plan.looked_at, &contents);
    let first = prompt::draft(&attempt.version.brief, &shown);
    let existing = files.iter().map(|f| f.path.clone()).collect();
    let (summary, steps) = ask_for_plan(attempt, plan, first, &existing).await?;
    propose(attempt, plan, summary, steps).await
}

async fn propose(attempt: &Attempt, plan: &mut Plan, summary: String, steps: Vec<Step>) -> Result<(), Stop> {
    plan.propose(summary, steps).map_err(|_| Stop::Lost)?;
    let mut happened = vec![Happened::Usage];
    happened.extend(plan.steps.iter().cloned().map(Happened::StepProposed));
    happened.push(Happened::Ready);
    attempt.write(plan, &happened, Along::End).await?;
    crash::point("planner.drafted");
    Ok(())
}

/// Asks until the plan can be stored; what is wrong goes back to the model, a few times.
async fn ask_for_plan(
    attempt: &Attempt,
    plan: &mut Plan,
    first: String,
    existing: &BTreeSet<String>,
) -> Result<(String, Vec<Step>), Stop> {
    let tools = prompt::submit_plan();
    let mut messages = vec![message(Role::System, prompt::DRAFT_SYSTEM), message(Role::User, &first)];
    let mut corrections = 0;
    loop {
        let completion = attempt.ask(plan, messages.clone(), &tools).await?;
        let wrong = match submission::read(&submitted(&completion), existing) {
            Ok(Submission::Plan { summary, steps }) => return Ok((summary, steps)),
            Ok(Submission::Cannot(why)) => return Err(Stop::Failed(Failure::unusable(why))),
            Err(wrong) => wrong,
        };
        if corrections == attempt.planner.settings.corrections {
            let said =
                format!("the model gave no usable plan ({wrong}); say more precisely what to change, or choose another model");
            return Err(Stop::Failed(Failure::unusable(said)));
        }
        corrections += 1;
        attempt.write(plan, &[Happened::Usage], Along::Nothing).await?;
        correct(&mut messages, completion, &wrong);
    }
}

/// The arguments of `submit_plan`, else of any call, else the text.
fn submitted(completion: &Completion) -> String {
    let calls = &completion.tool_calls;
    let call = calls.iter().find(|c| c.name == "submit_plan").or_else(|| calls.first());
    call.map_or_else(|| completion.text.clone(), |c| c.arguments_json.clone())
}

fn correct(messages: &mut Vec<Message>, completion: Completion, wrong: &str) {
    let said = format!("error: the plan cannot be used: {wrong}. Call submit_plan again with the whole plan.");
    let calls = completion.tool_calls;
    messages.push(Message {
        tool_calls: calls.clone(),
        reasoning_state: completion.reasoning_state,
        ..message(Role::Assistant, &completion.text)
    });
    for call in &calls {
        messages.push(Message { tool_call_id: call.id.clone(), ..message(Role::Tool, &said) });
    }
    if calls.is_empty() {
        messages.push(message(Role::User, &said));
    }
}

/// The files to look at, the most likely first: by the index where there is one, then the main files of the charts, then
/// by the words of the request.
async fn choose_files(attempt: &Attempt, plan: &Plan, files: &[FileInfo]) -> Result<Vec<String>, Stop> {
    let existing: HashSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
    let limit = attempt.planner.settings.max_files;
    let selected = attempt.planner.neighbours.select_files(&attempt.ctx, plan.workspace_id, &plan.request, limit).await?;
    let by_index: Vec<String> = selected.unwrap_or_default().into_iter().filter(|p| existing.contains(p.as_str())).collect();
    let by_words = rank_by_words(&plan.request, files);
    let mut chosen: Vec<String> = Vec::new();
    let mut add = |path: &str| {
        if !chosen.iter().any(|c| c == path) {
            chosen.push(path.to_owned());
        }
        chosen.len()
    };
    for path in &by_index {
        add(path);
    }
    let likely: Vec<&str> = by_index.iter().map(String::as_str).chain(by_words.iter().copied()).collect();
    for path in main_files(&likely, &existing) {
        add(&path);
    }
    for path in by_words {
        if add(path) >= limit as usize {
            break;
        }
    }
    Ok(chosen)
}

/// `values.yaml` and `Chart.yaml` of the charts that the likeliest files belong to, and of the one at the top.
fn main_files(likely: &[&str], existing: &HashSet<&str>) -> Vec<String> {
    let joined = |folder: &str, name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let mut charts: Vec<&str> = Vec::new();
    let tops = likely.iter().map(|path| {
        let mut folder = path::folder(path);
        while !folder.is_empty() && !existing.contains(joined(folder, "Chart.yaml").as_str()) {
            folder = path::folder(folder);
        }
        folder
    });
    for chart in tops.chain([""]) {
        if !charts.contains(&chart) && charts.len() < MAX_CHARTS {
            charts.push(chart);
        }
    }
    let names = charts.iter().flat_map(|chart| ["values.yaml", "Chart.yaml"].map(|name| joined(chart, name)));
    names.filter(|path| existing.contains(path.as_str())).collect()
}

/// Files by how many words of the request their path has; main files and templates before others.
fn rank_by_words<'a>(request: &str, files: &'a [FileInfo]) -> Vec<&'a str> {
    let words: BTreeSet<String> = request
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.chars().count() >= 3)
        .map(|w| w.strip_suffix('s').unwrap_or(w).to_owned())
        .collect();
    let mut ranked: Vec<(i32, &str)> = files
        .iter()
        .filter_map(|file| {
            let path = file.path.to_lowercase();
            let hits = words.iter().filter(|w| path.contains(w.as_str())).count();
            let named = i32::try_from(hits.min(20)).unwrap_or(20) * 4;
            let kind = match path::name(&path) {
                "values.yaml" | "values.yml" => 3,
                "chart.yaml" => 2,
                name if name.ends_with(".tpl") => 2,
                _ if path.split('/').any(|part| part == "templates") => 2,
                name if name.ends_with(".yaml") || name.ends_with(".yml") => 1,
                _ => 0,
            };
            let nested = i32::from(path.contains("/charts/")) + i32::from(path.contains("/tests/"));
            (named + kind > 0).then_some((named + kind - nested, file.path.as_str()))
        })
        .collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.len().cmp(&b.1.len())).then(a.1.cmp(b.1)));
    ranked.into_iter().map(|(_, path)| path).collect()
}

/// The contents that fit the budget. Main files come first, then the likeliest; a file is shown whole or not at all.
async fn read_files(
    attempt: &Attempt,
    plan: &Plan,
    files: &[FileInfo],
    chosen: &[String],
) -> Result<BTreeMap<String, String>, Stop> {
    let sizes: BTreeMap<&str, u64> = files.iter().map(|f| (f.path.as_str(), f.size)).collect();
    let is_main = |path: &&String| matches!(path::name(path), "values.yaml" | "Chart.yaml");
    let (main, others): (Vec<&String>, Vec<&String>) = chosen.iter().partition(is_main);
    let mut left = attempt.planner.settings.context_bytes as u64;
    let mut wanted: Vec<&String> = Vec::new();
    for path in main.into_iter().chain(others) {
        let size = sizes.get(path.as_str()).copied().unwrap_or(u64::MAX);
        if size <= left {
            left -= size;
            wanted.push(path);
        }
    }
    let mut reads: Vec<BoxFuture<'_, Result<(String, Content), Stop>>> = Vec::with_capacity(wanted.len());
    for path in wanted {
        reads.push(read_file(attempt, plan, path).boxed());
    }
    let read: Vec<(String, Content)> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let text = |(path, content)| match content {
        Content::Text(text) => Some((path, text)),
        Content::Unreadable(_) => None,
    };
    Ok(read.into_iter().filter_map(text).collect())
}

async fn read_file(attempt: &Attempt, plan: &Plan, path: &str) -> Result<(String, Content), Stop> {
    let neighbours = &attempt.planner.neighbours;
    let content = neighbours.read_file(&attempt.ctx, plan.workspace_id, plan.base.revision_id, path).await?;
    Ok((path.to_owned(), content))
}

/// What the prompt shows, the likeliest first, and after that what else there is, by name.
fn shown_files<'a>(files: &'a [FileInfo], looked_at: &'a [String], contents: &'a BTreeMap<String, String>) -> Vec<Shown<'a>> {
    let content = |path: &String| contents.get(path).map(String::as_str);
    let mut shown: Vec<Shown<'_>> = looked_at.iter().map(|path| Shown { path, content: content(path) }).collect();
    let others = files.iter().filter(|f| !contents.contains_key(&f.path)).take(MAX_NAMED);
    shown.extend(others.map(|f| Shown { path: &f.path, content: None }));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<FileInfo> {
        paths.iter().map(|p| FileInfo { path: (*p).to_owned(), size: 10 }).collect()
    }

    const CHART: &[&str] = &[
        "Chart.yaml",
        "README.md",
        "templates/_helpers.tpl",
        "templates/gateway/deployment.yaml",
        "templates/gateway/ingress.yaml",
        "templates/worker/deployment.yaml",
        "values.yaml",
    ];

    #[test]
    fn words_of_the_request_rank_files() {
        let files = files(CHART);
        let ranked = rank_by_words("run three gateway replicas and put an ingress on it", &files);
        assert_eq!(ranked[0], "templates/gateway/ingress.yaml");
        assert_eq!(ranked[1], "templates/gateway/deployment.yaml");
        assert_eq!(ranked[2], "values.yaml");
        assert!(!ranked.contains(&"README.md"));
        assert!(rank_by_words("update the readme", &files).contains(&"README.md"));
    }

    #[test]
    fn main_files_are_those_of_the_chart() {
        let existing: HashSet<&str> = CHART.iter().copied().collect();
        assert_eq!(main_files(&["templates/gateway/deployment.yaml"], &existing), ["values.yaml", "Chart.yaml"]);
        let several: HashSet<&str> =
            ["a/Chart.yaml", "a/values.yaml", "a/templates/x.yaml", "b/Chart.yaml", "b/values.yaml", "README.md"].into();
        assert_eq!(
            main_files(&["b/values.yaml", "a/templates/x.yaml"], &several),
            ["b/values.yaml", "b/Chart.yaml", "a/values.yaml", "a/Chart.yaml"]
        );
        assert!(main_files(&[], &["x"].into()).is_empty());
    }

    #[test]
    fn what_is_not_shown_is_named() {
        let files = files(&["a", "b", "c"]);
        let contents = BTreeMap::from([("b".to_owned(), "text".to_owned())]);
        let looked_at = ["b".to_owned()];
        let shown: Vec<_> = shown_files(&files, &looked_at, &contents).iter().map(|s| (s.path, s.content)).collect();
        assert_eq!(shown, [("b", Some("text")), ("a", None), ("c", None)]);
    }
}
