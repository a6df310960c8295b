//! Plans: from a request and the files to steps whose reasons are exact changes, and the revision of such plans.

use serde_json::{Value as Json, json};

use super::op::{Op, read_reason, write_reason};
use super::project::Project;
use super::prompt::{self, File};
use super::resolve::{Changes, resolve};
use super::wish::{self, Wish};
use super::words::{fragments, parts, singular};
use super::yaml::{Value, parse};

/// Changes by file, in the order in which the steps are made.
type Steps = Vec<(String, Vec<Op>)>;

/// The arguments of `submit_plan` for a message.
pub(super) fn arguments(message: &str) -> Json {
    let files = prompt::files(message);
    let rest = prompt::without_files(message);
    let request = prompt::section(&rest, "request").unwrap_or(rest.trim());
    let project = Project::new(&files);
    let drafted = match (prompt::section(&rest, "previous_plan"), prompt::section(&rest, "instructions")) {
        (Some(plan), Some(instructions)) => revise(&project, request, plan, instructions),
        _ => draft(&project, request, &[]),
    };
    submit(&project, drafted)
}

/// What came of reading a request.
#[derive(Default)]
struct Draft {
    steps: Steps,
    notes: Vec<String>,
    refused: Vec<String>,
    said_already: Vec<String>,
}

fn draft(project: &Project<'_>, request: &str, favoured: &[Op]) -> Draft {
    let mut draft = Draft::default();
    if request.contains("{{") {
        draft.refused.push("values hold no template actions: say the value itself, without {{ }}".to_owned());
        return draft;
    }
    let wishes = wish::read(request, project);
    if wishes.is_empty() {
        draft.refused.push("the request names no change".to_owned());
    }
    for wish in wishes {
        match wish {
            Err(words) => draft.refused.push(format!("\"{words}\" was not understood")),
            Ok(asked) if garbled(&asked.wish, request) => {
                draft.refused.push(format!("\"{}\": put the value in quotes, as it has marks between its words", asked.said));
            }
            Ok(mut request) => {
                let mut resolved = resolve(project, &request);
                if request.target.is_empty() {
                    // What the plan is about already is what "five replicas instead" means.
                    for words in places(favoured) {
                        if resolved.is_ok() && favoured.is_empty() {
                            break;
                        }
                        request.target.words = words;
                        let again = resolve(project, &request);
                        if again.as_ref().is_ok_and(|c| c.ops.iter().any(|(_, op)| favoured.iter().any(|f| f.same_place(op)))) {
                            resolved = again;
                            break;
                        }
                    }
                }
                match resolved {
                    Ok(changes) => draft.take(changes),
                    Err(why) => draft.refused.push(format!("\"{}\": {why}", request.said)),
                }
            }
        }
    }
    draft
}

/// True for a value of several words that was not said so: the marks between them were lost.
fn garbled(wish: &Wish, request: &str) -> bool {
    match wish {
        Wish::Path { value: Some(Value::Text(text)), .. } | Wish::Key { value: Value::Text(text), .. } => {
            text.contains(' ') && !request.contains(text.as_str())
        }
        _ => false,
    }
}

/// The owners that earlier changes were for, as target words.
fn places(ops: &[Op]) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for op in ops {
        let keys = op.path().map(|p| super::project::seg_keys(p)).unwrap_or_default();
        for n in (1..keys.len()).rev() {
            let words: Vec<String> = keys[..n].iter().map(|k| parts(k).concat()).collect();
            if !found.contains(&words) {
                found.push(words);
            }
        }
        if let Op::Set(Some(object), ..) | Op::Add(Some(object), ..) | Op::Remove(Some(object), _) = op {
            found.push(vec![object.name.clone()]);
        }
    }
    found
}

impl Draft {
    fn take(&mut self, changes: Changes) {
        for (file, op) in changes.ops {
            self.put(file, op);
        }
        self.notes.extend(changes.notes);
    }

    /// A later change of the same place replaces the earlier one.
    fn put(&mut self, file: String, op: Op) {
        let at = self.steps.iter().position(|(path, _)| *path == file).unwrap_or_else(|| {
            self.steps.push((file, Vec::new()));
            self.steps.len() - 1
        });
        let ops = &mut self.steps[at].1;
        match ops.iter().position(|o| o.same_place(&op)) {
            Some(n) => ops[n] = op,
            None => ops.push(op),
        }
    }
}

/// A plan again, with what the instructions want otherwise.
fn revise(project: &Project<'_>, request: &str, plan: &str, instructions: &str) -> Draft {
    let before = previous(plan);
    let Some(before) = before else {
        // A plan in other words than the engine's: begin again from what was asked.
        let mut both = draft(project, request, &[]);
        merge(&mut both, project, instructions);
        return both;
    };
    let mut revised = Draft { steps: before, ..Draft::default() };
    merge(&mut revised, project, instructions);
    revised
}

fn merge(revised: &mut Draft, project: &Project<'_>, instructions: &str) {
    let mut others = Vec::new();
    for (_, words) in fragments(instructions) {
        let leaves_out = words.iter().any(|w| {
            w.is(&["leave", "skip", "omit", "without", "drop", "forget", "don't", "not", "no", "except", "remove", "undo"])
        });
        let keeps = words.iter().any(|w| w.is(&["keep", "only", "just"]));
        let nouns: Vec<String> = words.iter().filter(|w| w.number().is_none()).flat_map(|w| parts(&w.text)).collect();
        let about = |file: &str, op: &Op| is_about(file, op, &nouns);
        let named = revised.steps.iter().any(|(file, ops)| ops.iter().any(|op| about(file, op)));
        let sets = words.iter().any(|w| w.number().is_some() || w.text.contains(['=', '.', '/']) || w.is(&["to", "use"]));
        if leaves_out && named {
            revised.steps.iter_mut().for_each(|(file, ops)| ops.retain(|op| !is_about(file, op, &nouns)));
        } else if keeps && named && !sets {
            revised.steps.iter_mut().for_each(|(file, ops)| ops.retain(|op| is_about(file, op, &nouns)));
        } else {
            others.push(wish::said(&words));
        }
    }
    revised.steps.retain(|(_, ops)| !ops.is_empty());
    if others.is_empty() {
        return;
    }
    let favoured: Vec<Op> = revised.steps.iter().flat_map(|(_, ops)| ops.iter().cloned()).collect();
    // As it was written, when all of it is new: the marks between the words matter.
    let text = if others.len() == fragments(instructions).len() { instructions.to_owned() } else { others.join("\n") };
    let more = draft(project, &text, &favoured);
    for (file, ops) in more.steps {
        for op in ops {
            revised.put(file.clone(), op);
        }
    }
    revised.notes.extend(more.notes);
    revised.refused.extend(more.refused);
}

/// True when a change has to do with one of the words.
fn is_about(file: &str, op: &Op, nouns: &[String]) -> bool {
    const EMPTY: [&str; 22] = [
        "the",
        "a",
        "out",
        "leave",
        "skip",
        "and",
        "set",
        "to",
        "of",
        "it",
        "enabled",
        "add",
        "values",
        "yaml",
        "templates",
        "all",
        "in",
        "write",
        "that",
        "with",
        "plan",
        "change",
    ];
    let keys: Vec<String> = op.path().map(|p| super::project::seg_keys(p)).unwrap_or_default();
    let named: Vec<String> = match op {
        Op::Template(_) => parts(file.rsplit('/').next().unwrap_or(file)).into_iter().chain(parts(&op.wording(None))).collect(),
        _ => keys.iter().flat_map(|k| parts(k)).collect(),
    };
    let meant: Vec<&String> = nouns.iter().filter(|n| !EMPTY.contains(&n.as_str())).collect();
    // The owner alone is not what a change is about: `gateway` is in most paths.
    let last = named.len().saturating_sub(1);
    meant
        .iter()
        .any(|n| named.iter().enumerate().any(|(at, k)| singular(k) == singular(n) && (at > 0 || last == 0 || keys.len() <= 2)))
}

/// The changes of a plan that this engine made: its steps' reasons say them.
fn previous(plan: &str) -> Option<Steps> {
    let json: Json = serde_json::from_str(plan).ok()?;
    let steps = json.as_array().or_else(|| json.get("steps")?.as_array())?;
    let read = |s: &Json| Some((s.get("path")?.as_str()?.to_owned(), read_reason(s.get("reason")?.as_str()?)?));
    steps.iter().map(read).collect::<Option<Steps>>().filter(|s| !s.is_empty())
}

/// The plan as the tool wants it. Every change is tried first: what cannot be made is not planned.
fn submit(project: &Project<'_>, mut draft: Draft) -> Json {
    let mut steps = Vec::new();
    for (path, ops) in std::mem::take(&mut draft.steps) {
        let exists = project.has(&path);
        let text = project.text(&path);
        if exists && text.is_none() {
            draft.refused.push(format!("{path} has to be changed, but it was not shown"));
            continue;
        }
        let mut after = text.unwrap_or_default().to_owned();
        let mut real = Vec::new();
        for op in ops {
            match op.apply(&after) {
                Err(why) => draft.refused.push(format!("{}: {why}", op.wording(None))),
                Ok(new) if new == after => draft.said_already.push(op.wording(None)),
                Ok(new) if text.and_then(parse).is_some() && parse(&new).is_none() => {
                    draft.refused.push(format!("{} would leave {path} unreadable", op.wording(None)));
                }
                Ok(new) => {
                    after = new;
                    real.push(op);
                }
            }
        }
        if !real.is_empty() {
            let action = if exists { "update" } else { "create" };
            steps.push(json!({"path": path, "action": action, "reason": write_reason(&real, text)}));
        }
    }
    let mut cannot = draft.refused.join("; ");
    if steps.is_empty() {
        if cannot.is_empty() {
            cannot = if draft.said_already.is_empty() {
                "nothing is left to do".to_owned()
            } else {
                format!("nothing to do, the files say so already: {}", draft.said_already.join("; "))
            };
        } else {
            cannot = format!("{cannot}. {CAN}");
        }
        return json!({"summary": "", "steps": [], "cannot": cannot});
    }
    let changes: Vec<String> =
        steps.iter().filter_map(|s| Some(format!("{} {}", s["action"].as_str()?, s["path"].as_str()?))).collect();
    let mut summary = sentence(&changes.join(", "));
    for note in &draft.notes {
        summary.push_str(&format!(" Note: {note}."));
    }
    if cannot.is_empty() {
        json!({"summary": summary, "steps": steps})
    } else {
        summary.push_str(&format!(" Not part of this plan: {cannot}."));
        json!({"summary": summary, "steps": steps, "cannot": cannot})
    }
}

/// What the engine can do, for those who asked for something else.
pub(super) const CAN: &str = "builtin/rules is a small rule engine, not a language model; on Helm charts and Kubernetes YAML it can set replicas, images and tags, resources, environment variables, ports, ingress hosts, autoscaling, probes, service types, labels, annotations, and any values key by its path";

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// The changes that a step asks for: its reason says them exactly, or in the words of a person or another model; else
/// the request as a whole.
pub(super) fn ops_of_step(files: &[File<'_>], step: &prompt::Step<'_>, request: &str) -> Result<Vec<Op>, String> {
    if let Some(ops) = read_reason(step.reason) {
        return Ok(ops);
    }
    let project = Project::new(files);
    let mut refused = Vec::new();
    for text in [step.reason, request] {
        let draft = draft(&project, text, &[]);
        if let Some((_, ops)) = draft.steps.into_iter().find(|(path, ops)| path == step.path && !ops.is_empty()) {
            return Ok(ops);
        }
        refused.extend(draft.refused);
    }
    if refused.is_empty() { Err(format!("nothing of the request is about {}", step.path)) } else { Err(refused.join("; ")) }
}
