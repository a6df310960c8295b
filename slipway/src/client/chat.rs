//! `slipway chat`: one message, or a conversation at the terminal.

use std::io::{IsTerminal as _, Read as _, Write as _};

use slipway_proto::conversation::{
    CancelRunRequest, Conversation, CreateConversationRequest, GetConversationRequest, RunEvent, RunState, SendMessageRequest,
    SendMessageResponse, run_event,
};
use slipway_proto::planner::{Plan, PlanState};
use uuid::Uuid;

use super::{Api, Follow, Runs, plan, required};
use crate::args::Plan as PlanCommand;
use crate::error::{Exit, Failure};
use crate::output::{Out, RunPrinter, plan_steps};

const HELP: &str = "\
/approve          apply the plan that waits for review
/reject           reject it
/revise TEXT      change it
/plan             show it
/quit             leave; what was said stays
Everything else is a message. Ctrl-C stops an answer.";

/// Runs the command.
pub(crate) async fn chat(
    api: &Api,
    out: &Out,
    text: Option<String>,
    workspace: Option<String>,
    conversation: Option<String>,
    model: Option<String>,
) -> anyhow::Result<()> {
    let text = match text {
        Some(text) => Some(text),
        None if std::io::stdin().is_terminal() => None,
        None => Some(tokio::task::spawn_blocking(read_all).await??),
    };
    let conversation = open(api, workspace, conversation, model.clone().unwrap_or_default()).await?;
    let chat = Chat { api, out, conversation, model: model.unwrap_or_default() };
    match text {
        Some(text) => chat.once(&text).await,
        None => chat.talk().await,
    }
}

/// Piped text is one message.
fn read_all() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage("the message on standard input is not UTF-8 text"))?;
    if text.trim().is_empty() {
        return Err(Failure::usage("there is no message: give it as an argument or on standard input").into());
    }
    Ok(text)
}

async fn open(api: &Api, workspace: Option<String>, conversation: Option<String>, model: String) -> anyhow::Result<Conversation> {
    let mut client = api.conversations.clone();
    if let Some(conversation_id) = conversation {
        let request = GetConversationRequest { conversation_id };
        return required(client.get_conversation(request).await?.into_inner().conversation, "conversation");
    }
    let workspace_id = match workspace {
        Some(name) => api.workspace(&name).await?.id,
        None => String::new(),
    };
    let request = CreateConversationRequest { title: String::new(), workspace_id, model, request_id: Uuid::now_v7().to_string() };
    required(client.create_conversation(request).await?.into_inner().conversation, "conversation")
}

struct Chat<'a> {
    api: &'a Api,
    out: &'a Out,
    conversation: Conversation,
    model: String,
}

impl Chat<'_> {
    async fn once(&self, text: &str) -> anyhow::Result<()> {
        let printer = self.send(text).await?;
        if !self.out.is_json() {
            self.out.note(format!("conversation {}", self.conversation.id));
        }
        let Some(run) = &printer.run else {
            return Err(Failure::new(Exit::Failed, "the stream ended before the answer was complete").into());
        };
        match run.state() {
            RunState::Failed => {
                let why = run.failure.as_ref().map_or_else(String::new, |f| format!(": {} ({})", f.message, f.reason));
                Err(Failure::new(Exit::Failed, format!("the run failed{why}")).into())
            }
            RunState::Cancelled => Err(Failure::new(Exit::Interrupted, "the answer was stopped").into()),
            _ => Ok(()),
        }
    }

    /// Sends a message and prints the run. Ctrl-C cancels the run, which then ends by itself.
    async fn send(&self, text: &str) -> anyhow::Result<RunPrinter<'_>> {
        let request = SendMessageRequest {
            conversation_id: self.conversation.id.clone(),
            text: text.to_owned(),
            request_id: Uuid::now_v7().to_string(),
            model: self.model.clone(),
            ..Default::default()
        };
        let stream = self.api.conversations.clone().send_message(request).await?.into_inner();
        let mut events = Follow::<Runs, SendMessageResponse>::new(self.api, stream);
        let mut printer = RunPrinter::new(self.out, "");
        if std::io::stdout().is_terminal() {
            printer = printer.with_cost();
        }
        let mut run_id = String::new();
        loop {
            let event: Option<RunEvent> = tokio::select! {
                event = events.next() => event?,
                _ = tokio::signal::ctrl_c() => {
                    if !run_id.is_empty() {
                        self.api.conversations.clone().cancel_run(CancelRunRequest { run_id: run_id.clone() }).await?;
                    }
                    continue;
                }
            };
            let Some(event) = event else { break };
            run_id.clone_from(&event.run_id);
            printer.event(&event)?;
            let ended = matches!(
                event.event,
                Some(run_event::Event::Completed(_) | run_event::Event::Failed(_) | run_event::Event::Cancelled(_))
            );
            if ended {
                break;
            }
        }
        if let Some(plan) = printer.plan.as_ref().filter(|p| waits(p) && !self.out.is_json()) {
            self.out.line(plan_steps(plan, self.out.paint))?;
            self.out.note(format!("approve it with: slipway plan approve {}", plan.id));
        }
        Ok(printer)
    }

    async fn talk(&self) -> anyhow::Result<()> {
        let paint = self.out.paint;
        self.out.note("Type a message; /help shows more, /quit leaves.");
        let mut waiting: Option<Plan> = None;
        loop {
            let prompt = if waiting.is_some() { paint.yellow("plan> ") } else { paint.cyan("> ") };
            let line = tokio::select! {
                line = tokio::task::spawn_blocking(move || read_line(&prompt)) => line??,
                // Once an answer has listened for Ctrl-C, nobody else does.
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(line) = line else { return Ok(()) };
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match (word, &waiting) {
                ("", _) => {}
                ("/quit" | "/exit", _) => return Ok(()),
                ("/help", _) => self.out.line(HELP)?,
                ("/plan", Some(p)) => plan::show(self.out, p)?,
                ("/approve" | "/reject" | "/revise", Some(p)) => {
                    let (id, version) = (p.id.clone(), Some(p.version));
                    let command = match word {
                        "/approve" => PlanCommand::Approve { plan: id.clone(), version },
                        "/reject" => PlanCommand::Reject { plan: id.clone(), version },
                        _ => PlanCommand::Revise { plan: id.clone(), instructions: rest.to_owned(), version },
                    };
                    self.tell(plan(self.api, self.out, command).await)?;
                    waiting = self.api.plan(&id).await.ok().filter(waits);
                }
                ("/plan" | "/approve" | "/reject" | "/revise", None) => self.out.note("no plan waits for review"),
                (command, _) if command.starts_with('/') => self.out.note("there is no such command; /help shows all"),
                _ => match self.send(&line).await {
                    Ok(printer) => waiting = printer.plan.filter(waits).or(waiting.take()),
                    Err(error) => self.tell(Err(error))?,
                },
            }
            if let Some(p) = &waiting {
                // Talking may have applied it.
                waiting = self.api.plan(&p.id).await.ok().filter(waits);
            }
        }
    }

    /// In a conversation an error is told, and the conversation goes on.
    fn tell(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        let Err(error) = result else { return Ok(()) };
        let (_, sentence) = crate::error::explain(&error, "the server");
        self.out.line(format!("{} {sentence}", self.out.paint.red("✗")))
    }
}

fn waits(plan: &Plan) -> bool {
    plan.state() == PlanState::Ready
}

/// One line from the terminal; `None` at its end.
fn read_line(prompt: &str) -> anyhow::Result<Option<String>> {
    let mut out = std::io::stdout().lock();
    write!(out, "{prompt}")?;
    out.flush()?;
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line)? == 0 {
        writeln!(out)?;
        return Ok(None);
    }
    Ok(Some(line.trim().to_owned()))
}
