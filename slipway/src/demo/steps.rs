//! The steps of the demo, one call of the API after the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slipway_proto::conversation::{CreateConversationRequest, RunState, SendMessageRequest, SendMessageResponse};
use slipway_proto::embedding::{Hit, SearchMode, SearchRequest};
use slipway_proto::filestore::{
    ArchiveFormat, CreateWorkspaceRequest, ExportArchiveRequest, GetRevisionRequest, ImportArchiveHeader, RestoreRevisionRequest,
    Revision,
};
use slipway_proto::planner::plan_event::Event;
use slipway_proto::planner::{ApprovePlanRequest, ApprovePlanResponse, Plan, PlanState};
use uuid::Uuid;

use super::chart::Story;
use super::stage::{INDENT, Stage, seconds};
use super::validate::{Helm, Verdict, kinds, yaml};
use crate::client::{
    Api, Follow, Plans, Runs, diff_all, index_mode, pack, print_plan_json, required, send_archive, unpack, wait_for_index,
    wait_for_vectors,
};
use crate::error::{Exit, Failure};
use crate::output::{PlanPrinter, RunPrinter, bytes, count, place, plan_steps, unified};

const INDEX_LIMIT: Duration = Duration::from_secs(90);
/// Vectors come after words; a slow machine need not hold up the demo.
const VECTORS_LIMIT: Duration = Duration::from_secs(20);
/// How long the change may take to rank high.
const RANK_LIMIT: Duration = Duration::from_secs(4);
/// Hits that are shown.
const SHOWN: usize = 3;

/// The demo under way.
pub(super) struct Steps<'a, 'b> {
    api: &'a Api,
    stage: &'a mut Stage<'b>,
    story: &'a Story,
    directory: &'a Path,
    workspace: String,
    conversation: String,
}

impl<'a, 'b> Steps<'a, 'b> {
    pub(super) fn new(api: &'a Api, stage: &'a mut Stage<'b>, story: &'a Story, directory: &'a Path) -> Self {
        Self { api, stage, story, directory, workspace: String::new(), conversation: String::new() }
    }

    /// All of them.
    pub(super) async fn play(mut self, chart: &Path) -> anyhow::Result<()> {
        let first = self.import(chart).await?;
        self.index(&first).await?;
        self.ask().await?;
        let plan = self.request().await?;
        let second = self.approve(&plan).await?;
        self.validate(&first, &second).await?;
        self.diff(&first, &second).await?;
        self.search(&second).await?;
        self.restore(&first).await
    }

    async fn import(&mut self, chart: &Path) -> anyhow::Result<Revision> {
        self.stage.step("import", "Import the chart as a workspace")?;
        let name = chart.canonicalize()?.file_name().map_or_else(|| "chart".to_owned(), |n| n.to_string_lossy().into_owned());
        let request = CreateWorkspaceRequest { name, request_id: id() };
        let workspace = self.api.files.clone().create_workspace(request).await?.into_inner().workspace;
        self.workspace = required(workspace, "workspace")?.id;
        let dir = chart.to_owned();
        let packed = tokio::task::spawn_blocking(move || pack(&dir)).await??;
        let header = ImportArchiveHeader {
            workspace_id: self.workspace.clone(),
            format: ArchiveFormat::TarGz.into(),
            message: "import the chart".into(),
            request_id: id(),
            ..Default::default()
        };
        let revision = send_archive(self.api, header, packed.bytes).await?;
        expect(revision.number == 1, || format!("the import is revision {}, not 1", revision.number))?;
        expect(revision.file_count == packed.files, || format!("{} files arrived of {}", revision.file_count, packed.files))?;
        let what = format!("{}, {}", count(revision.file_count, "file"), bytes(revision.total_bytes));
        self.stage.done(format!("revision 1: {what}, hash {}", short(&revision.hash)))?;
        Ok(revision)
    }

    async fn index(&mut self, revision: &Revision) -> anyhow::Result<()> {
        self.stage.step("index", "Wait until it is searchable")?;
        let began = Instant::now();
        let mut index = wait_for_index(self.api, &self.workspace, &revision.id, INDEX_LIMIT).await?;
        let what = format!("{} of {}", count(index.chunk_count, "chunk"), count(index.file_count, "file"));
        self.stage.done(format!("{what}, searchable by words after {}", seconds(began.elapsed())))?;
        if index.mode() == SearchMode::Lexical && !index.model.is_empty() {
            index = wait_for_vectors(self.api, &self.workspace, VECTORS_LIMIT).await?;
        }
        match index.mode() {
            SearchMode::Lexical => self.stage.skipped(format!("searched {}", index_mode(&index))),
            _ => self.stage.done(format!("searched {}, after {}", index_mode(&index), seconds(began.elapsed()))),
        }
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        self.stage.step("ask", "Ask a question; the answer streams and cites its sources")?;
        let request = CreateConversationRequest { workspace_id: self.workspace.clone(), request_id: id(), ..Default::default() };
        let conversation = self.api.conversations.clone().create_conversation(request).await?.into_inner().conversation;
        self.conversation = required(conversation, "conversation")?.id;
        let answer = self.say(&self.story.question, RunPrinter::new(self.stage.out, INDENT)).await?;
        expect(!answer.text.trim().is_empty(), || "the answer is empty".to_owned())?;
        expect(!answer.citations.is_empty(), || "the answer cites nothing".to_owned())
    }

    async fn request(&mut self) -> anyhow::Result<Plan> {
        self.stage.step("plan", "Ask for a change; a plan forms and waits for review")?;
        let answer = self.say(&self.story.request, RunPrinter::new(self.stage.out, INDENT).without_words()).await?;
        let Some(plan) = answer.plan else { return Err(failed("the request led to no plan")) };
        expect(plan.state() == PlanState::Ready, || format!("the plan is {} and not ready", crate::output::plan_state(&plan)))?;
        expect(!plan.steps.is_empty(), || "the plan has no steps".to_owned())?;
        if !self.stage.out.is_json() {
            self.stage.block(&format!("\n{}", self.stage.paint().bold(&plan.summary)))?;
            self.stage.block(&plan_steps(&plan, self.stage.paint()))?;
        }
        Ok(plan)
    }

    /// Says something in the conversation and shows what comes.
    async fn say(&self, text: &str, mut printer: RunPrinter<'b>) -> anyhow::Result<RunPrinter<'b>> {
        self.stage.says("you", text)?;
        self.stage.block("\n")?;
        let request = SendMessageRequest {
            conversation_id: self.conversation.clone(),
            text: text.to_owned(),
            request_id: id(),
            ..Default::default()
        };
        let stream = self.api.conversations.clone().send_message(request).await?.into_inner();
        let mut events = Follow::<Runs, SendMessageResponse>::new(self.api, stream);
        while let Some(event) = events.next().await? {
            printer.event(&event)?;
        }
        let Some(run) = &printer.run else { return Err(failed("the run's stream ended without a last event")) };
        expect(run.state() == RunState::Completed, || {
            run.failure
                .as_ref()
                .map_or_else(|| "the run did not complete".to_owned(), |f| format!("{} ({})", f.message, f.reason))
        })?;
        Ok(printer)
    }

    async fn approve(&mut self, plan: &Plan) -> anyhow::Result<Revision> {
        self.stage.step("apply", "Approve it; the edits stream, and become one revision")?;
        let request = ApprovePlanRequest {
            plan_id: plan.id.clone(),
            version: plan.version,
            base_revision_id: plan.base_revision_id.clone(),
            request_id: Uuid::now_v7().to_string(),
        };
        let stream = self.api.plans.clone().approve_plan(request).await?.into_inner();
        let mut events = Follow::<Plans, ApprovePlanResponse>::new(self.api, stream);
        let printer = PlanPrinter::new(self.stage.out, INDENT);
        let mut applied = None;
        while let Some(event) = events.next().await? {
            if !print_plan_json(self.stage.out, &event)? {
                printer.event(&event)?;
            }
            match event.event {
                Some(Event::Applied(plan)) => applied = Some(plan.applied_revision_id),
                Some(Event::Failed(plan)) => {
                    return Err(failed(
                        plan.failure.map_or_else(|| "the plan failed".to_owned(), |f| format!("{} ({})", f.message, f.reason)),
                    ));
                }
                _ => {}
            }
        }
        let Some(revision_id) = applied else { return Err(failed("the plan's stream ended without a last event")) };
        let request = GetRevisionRequest { workspace_id: self.workspace.clone(), revision_id };
        let revision = required(self.api.files.clone().get_revision(request).await?.into_inner().revision, "revision")?;
        expect(revision.number == 2, || format!("the plan made revision {}, not 2", revision.number))?;
        let began = Instant::now();
        wait_for_index(self.api, &self.workspace, &revision.id, INDEX_LIMIT).await?;
        let searchable = seconds(began.elapsed());
        self.stage.done(format!("revision 2, hash {}, searchable {searchable} after the commit", short(&revision.hash)))?;
        Ok(revision)
    }

    async fn validate(&mut self, first: &Revision, second: &Revision) -> anyhow::Result<()> {
        self.stage.step("validate", "Validate the changed chart")?;
        let before = self.export(first).await?;
        let changed = self.export(second).await?;
        let parsed = yaml(&changed)?;
        self.stage.done(format!("{} parse: Chart.yaml, values.yaml and what else is no template", count(parsed, "YAML file")))?;
        let values = std::fs::read_to_string(changed.join("values.yaml"))?;
        if let Some(unmet) = self.story.unmet(&values) {
            return Err(failed(format!("the change is not what was asked for: {unmet}")));
        }
        let is = self.story.expected.iter().map(|(path, value)| format!("{} = {value}", path.join("."))).collect::<Vec<_>>();
        self.stage.done(is.join(", "))?;
        let Some(helm) = Helm::find() else {
            return self.stage.skipped("helm lint and helm template were skipped: helm is not on the PATH");
        };
        match helm.judge(&["lint"], &changed, &before).await? {
            Verdict::Good(_) => self.stage.done("helm lint is content")?,
            Verdict::AsBefore(why) => self.stage.skipped(format!("helm lint was not content before the change either: {why}"))?,
        }
        match helm.judge(&["template", "demo"], &changed, &before).await? {
            Verdict::Good(text) => {
                let kinds: Vec<_> = kinds(&text).into_iter().map(|(kind, n)| format!("{n} {kind}")).collect();
                self.stage.done(format!("helm template renders {}", kinds.join(", ")))
            }
            Verdict::AsBefore(why) => {
                self.stage.skipped(format!("helm template could not render the chart before the change either: {why}"))
            }
        }
    }

    /// A revision as files on this machine.
    async fn export(&self, revision: &Revision) -> anyhow::Result<PathBuf> {
        let request = ExportArchiveRequest {
            workspace_id: self.workspace.clone(),
            revision_id: revision.id.clone(),
            format: ArchiveFormat::TarGz.into(),
            ..Default::default()
        };
        let mut stream = self.api.files.clone().export_archive(request).await?.into_inner();
        let mut archive = Vec::new();
        while let Some(part) = stream.message().await? {
            archive.extend_from_slice(&part.chunk);
        }
        let dir = self.directory.join(format!("revision-{}", revision.number));
        let target = dir.clone();
        tokio::task::spawn_blocking(move || unpack(archive.as_slice(), &target)).await??;
        Ok(dir)
    }

    async fn diff(&mut self, first: &Revision, second: &Revision) -> anyhow::Result<()> {
        self.stage.step("compare", "Compare revision 1 with revision 2")?;
        let files = diff_all(self.api, &self.workspace, &first.id, &second.id, 2).await?;
        expect(files.iter().any(|f| f.path == "values.yaml"), || "values.yaml has not changed".to_owned())?;
        self.stage.block(&unified(&files, self.stage.paint()))
    }

    async fn search(&mut self, revision: &Revision) -> anyhow::Result<()> {
        self.stage.step("search", "Find the change by search")?;
        self.stage.says("search", &self.story.query)?;
        let request = SearchRequest {
            workspace_id: self.workspace.clone(),
            query: self.story.query.clone(),
            limit: 50,
            ..Default::default()
        };
        let began = Instant::now();
        // A chunk is found by its words first; its vector, which comes a moment later, moves it up.
        let (response, found) = loop {
            let response = self.api.search.clone().search(request.clone()).await?.into_inner();
            let is_change = |hit: &Hit| hit.path == "values.yaml" && hit.text.contains(&self.story.sign);
            let found = response.hits.iter().position(is_change);
            if found.is_some_and(|n| n < SHOWN) || began.elapsed() > RANK_LIMIT {
                break (response, found);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        expect(response.revision_id == revision.id, || "the search answered from another revision".to_owned())?;
        let paint = self.stage.paint();
        for (n, hit) in response.hits.iter().enumerate().filter(|(n, _)| *n < SHOWN || Some(*n) == found) {
            let (place, title) = (paint.cyan(place(&hit.path, hit.start_line, hit.end_line)), paint.dim(&hit.title));
            let mark = if Some(n) == found { paint.green("  ← the change") } else { String::new() };
            self.stage.block(&format!("{:>2}. {place}  {title}{mark}", n + 1))?;
        }
        expect(found.is_some(), || format!("the search does not find `{}` in values.yaml", self.story.sign))
    }

    async fn restore(&mut self, first: &Revision) -> anyhow::Result<()> {
        self.stage.step("restore", "Restore revision 1, as revision 3")?;
        let request = RestoreRevisionRequest {
            workspace_id: self.workspace.clone(),
            revision_id: first.id.clone(),
            request_id: id(),
            ..Default::default()
        };
        let third = required(self.api.files.clone().restore_revision(request).await?.into_inner().revision, "revision")?;
        expect(third.number == 3, || format!("the restore is revision {}, not 3", third.number))?;
        expect(third.hash == first.hash, || format!("revision 3 has hash {} and revision 1 has {}", third.hash, first.hash))?;
        self.stage
            .done(format!("revision 3 has hash {}, as revision 1 has: the same files, and nothing was lost", short(&third.hash)))
    }
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> anyhow::Result<()> {
    if holds { Ok(()) } else { Err(failed(otherwise())) }
}

fn failed(sentence: impl Into<String>) -> anyhow::Error {
    Failure::new(Exit::Failed, sentence).into()
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn id() -> String {
    Uuid::now_v7().to_string()
}
