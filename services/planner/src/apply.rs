//! Applying an approved plan: one conversation with the model for each step, on an overlay of the base revision; each
//! finished step is kept, and at the end there is one commit or none.

use std::collections::HashMap;

use slipway_proto::inference::{FinishReason, Message, Role, ToolCall};
use slipway_rpc::Reason;
use slipway_storage::crash;

use crate::clients::FileInfo;
use crate::edit::overlay::{Content, Overlay};
use crate::edit::tools::{self, Call, Outcome};
use crate::events::Happened;
use crate::model::{Failure, FileContent, Plan, Step, StepAction, StepFile, StepState};
use crate::prompt::{self, Shown};
use crate::service::message;
use crate::worker::{Along, Attempt, Stop};

/// A file of a step that is longer than this is looked at with `view`, not shown.
const MAX_SHOWN_BYTES: usize = 400_000;
/// Answers without a call of a tool that are put up with in a row.
const MAX_IDLE: u32 = 2;
const MAX_EXCUSE: usize = 500;

/// Applies a plan, from `applying` to `applied`.
pub(crate) async fn apply(attempt: &Attempt, plan: &mut Plan) -> Result<(), Stop> {
    let files = attempt.planner.neighbours.list_files(&attempt.ctx, plan.workspace_id, plan.base.revision_id).await?;
    let mut desk = Desk::new(attempt, &files);
    for file in attempt.planner.store.list_step_files(plan.project_id, plan.id, plan.version).await? {
        desk.keep(file);
    }
    for index in 0..plan.steps.len() {
        if plan.steps[index].state == StepState::Done {
            continue;
        }
        plan.steps[index].state = StepState::Pending;
        attempt.write(plan, &[Happened::StepStarted(plan.steps[index].clone())], Along::Nothing).await?;
        desk.do_step(plan, index).await?;
    }
    commit(attempt, plan).await
}

/// Makes the revision. The same plan and version again gives the same revision, so it does not matter whether an attempt
/// before this one came as far.
async fn commit(attempt: &Attempt, plan: &mut Plan) -> Result<(), Stop> {
    let files = attempt.planner.store.list_step_files(plan.project_id, plan.id, plan.version).await?;
    if files.iter().all(|f| f.content == FileContent::Unchanged) {
        let said = "nothing was changed: the files already are as the plan wants them, or the model made no edit; \
                    say more precisely what to change";
        return Err(Stop::Failed(Failure::edit(said)));
    }
    let neighbours = &attempt.planner.neighbours;
    let revision = match neighbours.commit(&attempt.ctx, plan, &files).await {
        Ok(revision) => revision,
        Err(fault) if fault.reason() == Reason::BaseRevisionStale => {
            // The head may have moved by our own hand, in an attempt that did not live to note it.
            let ours = neighbours.find_revision_of(&attempt.ctx, plan).await?;
            ours.ok_or_else(|| Stop::Failed(Failure::base_moved()))?
        }
        Err(fault) => return Err(fault.into()),
    };
    crash::point("planner.committed");
    plan.applied(revision).map_err(|_| Stop::Lost)?;
    attempt.write(plan, &[Happened::Applied], Along::End).await?;
    crash::point("planner.applied");
    Ok(())
}

/// The overlay that a plan's steps work on.
struct Desk<'a> {
    attempt: &'a Attempt,
    overlay: Overlay,
    sizes: HashMap<String, usize>,
}

/// A step's conversation.
struct Talk {
    messages: Vec<Message>,
    /// Answers in a row without a call.
    idle: u32,
    /// A call of the last answer that had any was refused.
    refused: bool,
    /// What the model said when it last called nothing.
    said: String,
}

impl Talk {
    /// Why a model that calls no tools did not make the step.
    fn excuse(&self) -> String {
        let said: String = self.said.trim().chars().take(MAX_EXCUSE).collect();
        if said.is_empty() { "the model does not use the tools".to_owned() } else { format!("the model said: {said}") }
    }
}

/// How a turn of a conversation ended.
enum Turn {
    /// The step is done.
    Done,
    /// The model goes on.
    More,
}

impl<'a> Desk<'a> {
    fn new(attempt: &'a Attempt, files: &[FileInfo]) -> Desk<'a> {
        let sizes = files.iter().map(|f| (f.path.clone(), usize::try_from(f.size).unwrap_or(usize::MAX))).collect();
        Desk { attempt, overlay: Overlay::over(files.iter().map(|f| f.path.clone())), sizes }
    }

    /// Lays what a finished step left over the base.
    fn keep(&mut self, file: StepFile) {
        match file.content {
            FileContent::Unchanged => {}
            FileContent::Written(text) => self.overlay.write(&file.path, text),
            FileContent::Deleted => self.overlay.delete(&file.path),
        }
    }

    async fn load(&mut self, plan: &Plan, path: &str) -> Result<(), Stop> {
        if self.overlay.wants(path) {
            let neighbours = &self.attempt.planner.neighbours;
            let content = neighbours.read_file(&self.attempt.ctx, plan.workspace_id, plan.base.revision_id, path).await?;
            self.overlay.load(path, content);
        }
        Ok(())
    }

    async fn do_step(&mut self, plan: &mut Plan, index: usize) -> Result<(), Stop> {
        let step = plan.steps[index].clone();
        if step.action == StepAction::Delete {
            // Nothing to ask: the plan says it all.
            let outcome = Call::delete(&step.path).run(&step, &mut self.overlay);
            let happened = vec![edit_event(&step, "delete", &step.path, &outcome)];
            return if outcome.ok {
                self.finish(plan, index, None, happened).await
            } else {
                self.give_up(plan, index, happened, &outcome.message).await
            };
        }
        self.load(plan, &step.path).await?;
        if let Some(Content::Unreadable(why)) = self.overlay.find(&step.path) {
            let why = format!("`{}` {why}", step.path);
            return self.give_up(plan, index, Vec::new(), &why).await;
        }
        let before = self.overlay.find_text(&step.path).map(str::to_owned);
        let mut talk = self.open_talk(plan, &step).await?;
        for _ in 0..self.attempt.planner.settings.max_turns {
            let mut happened = Vec::new();
            match self.turn(plan, &step, before.as_deref(), &mut talk, &mut happened).await? {
                Turn::Done => return self.finish(plan, index, before, happened).await,
                Turn::More if talk.idle > MAX_IDLE => {
                    return self.give_up(plan, index, happened, &talk.excuse()).await;
                }
                Turn::More => {
                    happened.push(Happened::Usage);
                    self.attempt.write(plan, &happened, Along::Nothing).await?;
                }
            }
        }
        let turns = self.attempt.planner.settings.max_turns;
        self.give_up(plan, index, Vec::new(), &format!("the model did not finish the step in {turns} turns")).await
    }

    async fn open_talk(&mut self, plan: &Plan, step: &Step) -> Result<Talk, Stop> {
        let paths = self.context_paths(plan, step);
        let mut left = self.attempt.planner.settings.context_bytes;
        let mut fitting = Vec::new();
        for path in paths {
            let own = path == step.path;
            let size = match self.overlay.find_text(&path) {
                Some(text) => text.len(),
                None => self.sizes.get(&path).copied().unwrap_or(usize::MAX),
            };
            let fits = if own { size <= MAX_SHOWN_BYTES } else { size <= left };
            if fits {
                left = left.saturating_sub(size);
                self.load(plan, &path).await?;
            }
            fitting.push((path, fits));
        }
        let shown: Vec<Shown<'_>> =
            fitting.iter().map(|(path, fits)| Shown { path, content: self.overlay.find_text(path).filter(|_| *fits) }).collect();
        let first = prompt::edit(plan, step, &shown);
        Ok(Talk {
            messages: vec![message(Role::System, prompt::EDIT_SYSTEM), message(Role::User, &first)],
            idle: 0,
            refused: false,
            said: String::new(),
        })
    }

    /// The step's file, then the other files of the plan, then those that were looked at.
    fn context_paths(&self, plan: &Plan, step: &Step) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        let others = plan.steps.iter().map(|s| &s.path).chain(&plan.looked_at);
        for path in std::iter::once(&step.path).chain(others) {
            if self.overlay.exists(path) && !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        paths
    }

    /// One answer of the model, and what its calls do.
    async fn turn(
        &mut self,
        plan: &mut Plan,
        step: &Step,
        before: Option<&str>,
        talk: &mut Talk,
        happened: &mut Vec<Happened>,
    ) -> Result<Turn, Stop> {
        let completion = self.attempt.ask(plan, talk.messages.clone(), &prompt::edit_tools()).await?;
        let finish = completion.finish_reason();
        let calls = named(completion.tool_calls, talk.messages.len());
        talk.messages.push(Message {
            tool_calls: calls.clone(),
            reasoning_state: completion.reasoning_state,
            ..message(Role::Assistant, &completion.text)
        });
        if calls.is_empty() {
            talk.idle += 1;
            talk.said = completion.text;
            let changed = self.overlay.find_text(&step.path) != before;
            if changed && !talk.refused && finish == FinishReason::Stop {
                // Some models end with words instead of `done`.
                return Ok(Turn::Done);
            }
            talk.messages.push(message(Role::User, "Call one of the tools; call done when the step is done."));
            return Ok(Turn::More);
        }
        talk.idle = 0;
        talk.refused = false;
        let mut done = false;
        for call in &calls {
            let outcome = if done {
                Outcome::refused("the step is done already")
            } else {
                self.run(plan, step, call, talk.refused, happened).await?
            };
            talk.refused |= !outcome.ok;
            done |= outcome.ok && call.name == "done";
            talk.messages.push(Message { tool_call_id: call.id.clone(), ..message(Role::Tool, &outcome.reply()) });
        }
        Ok(if done { Turn::Done } else { Turn::More })
    }

    async fn run(
        &mut self,
        plan: &Plan,
        step: &Step,
        call: &ToolCall,
        refused: bool,
        happened: &mut Vec<Happened>,
    ) -> Result<Outcome, Stop> {
        let read = match Call::read(&call.name, &call.arguments_json) {
            Ok(read) => read,
            Err(wrong) => {
                let outcome = Outcome::refused(wrong);
                if tools::edits(&call.name) {
                    happened.push(edit_event(step, &call.name, &step.path, &outcome));
                }
                return Ok(outcome);
            }
        };
        if read == Call::Done && refused {
            return Ok(Outcome::refused("a call in the same message was refused; look at its result, then call done"));
        }
        if let Some(path) = read.path().map(str::to_owned) {
            self.load(plan, &path).await?;
        }
        let outcome = read.run(step, &mut self.overlay);
        if let Some(tool) = read.edits() {
            happened.push(edit_event(step, tool, read.path().unwrap_or_default(), &outcome));
        }
        Ok(outcome)
    }

    /// Keeps what the step left, in the transaction of its last events.
    async fn finish(
        &self,
        plan: &mut Plan,
        index: usize,
        before: Option<String>,
        mut happened: Vec<Happened>,
    ) -> Result<(), Stop> {
        plan.steps[index].state = StepState::Done;
        let step = plan.steps[index].clone();
        let content = match self.overlay.find_text(&step.path) {
            Some(text) if Some(text) == before.as_deref() => FileContent::Unchanged,
            Some(text) => FileContent::Written(text.to_owned()),
            None => FileContent::Deleted,
        };
        let file = StepFile { step: step.number, path: step.path.clone(), content };
        happened.extend([Happened::StepEnded(step), Happened::Usage]);
        self.attempt.write(plan, &happened, Along::File(file)).await?;
        crash::point("planner.step_finished");
        Ok(())
    }

    async fn give_up(&self, plan: &mut Plan, index: usize, mut happened: Vec<Happened>, why: &str) -> Result<(), Stop> {
        plan.steps[index].state = StepState::Failed;
        let step = plan.steps[index].clone();
        let failure = Failure::edit(format!("step {} ({} {}): {why}", step.number, step.action.as_str(), step.path));
        happened.push(Happened::StepEnded(step));
        self.attempt.write(plan, &happened, Along::Nothing).await?;
        Err(Stop::Failed(failure))
    }
}

/// Calls with an id each: some models leave them out.
fn named(calls: Vec<ToolCall>, turn: usize) -> Vec<ToolCall> {
    let name = |(index, call): (usize, ToolCall)| match call.id.is_empty() {
        true => ToolCall { id: format!("call-{turn}-{index}"), ..call },
        false => call,
    };
    calls.into_iter().enumerate().map(name).collect()
}

fn edit_event(step: &Step, tool: &str, path: &str, outcome: &Outcome) -> Happened {
    Happened::Edit {
        step: step.number,
        tool: tool.to_owned(),
        path: path.to_owned(),
        ok: outcome.ok,
        message: outcome.message.clone(),
    }
}
