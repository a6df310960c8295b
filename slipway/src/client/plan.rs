//! `slipway plan …`

use slipway_proto::filestore::GetRevisionRequest;
use slipway_proto::planner::plan_event::Event;
use slipway_proto::planner::{
    ApprovePlanRequest, CreatePlanRequest, GetPlanRequest, ListPlansRequest, ListPlansResponse, Plan, PlanEvent, PlanState,
    RejectPlanRequest, RevisePlanRequest, WatchPlanRequest, WatchPlanResponse,
};
use uuid::Uuid;

use super::follow::Carries;
use super::{Api, Follow, Plans, required};
use crate::args::Plan as Command;
use crate::error::{Exit, Failure};
use crate::output::{Out, PlanPrinter, Table, count, plan_state, plan_steps, time};

/// Runs one of the plan commands.
pub(crate) async fn plan(api: &Api, out: &Out, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { workspace, request, model } => {
            let workspace = api.workspace(&workspace).await?;
            let request = CreatePlanRequest {
                workspace_id: workspace.id,
                request,
                conversation_id: String::new(),
                model,
                request_id: Uuid::now_v7().to_string(),
            };
            let stream = api.plans.clone().create_plan(request).await?.into_inner();
            follow(api, out, Follow::new(api, stream)).await
        }
        Command::Show { plan } => show(out, &api.plan(&plan).await?),
        Command::List { workspace } => list(api, out, workspace).await,
        Command::Approve { plan, version } => {
            let plan = api.plan(&plan).await?;
            let request = ApprovePlanRequest {
                version: version.unwrap_or(plan.version),
                base_revision_id: plan.base_revision_id,
                plan_id: plan.id,
                request_id: Uuid::now_v7().to_string(),
            };
            let stream = api.plans.clone().approve_plan(request).await?.into_inner();
            follow(api, out, Follow::new(api, stream)).await
        }
        Command::Reject { plan, version } => {
            let plan = api.plan(&plan).await?;
            let request = RejectPlanRequest { version: version.unwrap_or(plan.version), plan_id: plan.id };
            show(out, &required(api.plans.clone().reject_plan(request).await?.into_inner().plan, "plan")?)
        }
        Command::Revise { plan, instructions, version } => {
            let plan = api.plan(&plan).await?;
            let request = RevisePlanRequest {
                version: version.unwrap_or(plan.version),
                plan_id: plan.id,
                instructions,
                request_id: Uuid::now_v7().to_string(),
            };
            let stream = api.plans.clone().revise_plan(request).await?.into_inner();
            follow(api, out, Follow::new(api, stream)).await
        }
        Command::Watch { plan, after } => {
            let request = WatchPlanRequest { plan_id: plan, after_sequence: after };
            let stream = api.plans.clone().watch_plan(request).await?.into_inner();
            follow(api, out, Follow::new(api, stream).until_closed()).await
        }
    }
}

impl Api {
    pub(crate) async fn plan(&self, id: &str) -> anyhow::Result<Plan> {
        let request = GetPlanRequest { plan_id: id.to_owned() };
        required(self.plans.clone().get_plan(request).await?.into_inner().plan, "plan")
    }
}

/// Prints the events; ends with the plan, or with a failure if the plan failed.
async fn follow<R: Carries<PlanEvent>>(api: &Api, out: &Out, mut events: Follow<'_, Plans, R>) -> anyhow::Result<()> {
    let printer = PlanPrinter::new(out, "");
    while let Some(event) = events.next().await? {
        if !print_json(out, &event)? {
            printer.event(&event)?;
        }
        match event.event {
            Some(Event::Ready(plan)) if !out.is_json() => show(out, &plan)?,
            Some(Event::Applied(plan)) if !out.is_json() => applied(api, out, &plan).await?,
            Some(Event::Failed(plan)) => {
                let why = plan.failure.map_or_else(String::new, |f| format!(": {} ({})", f.message, f.reason));
                return Err(Failure::new(Exit::Failed, format!("the plan failed{why}")).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// What an applied plan has made, and where to look.
async fn applied(api: &Api, out: &Out, plan: &Plan) -> anyhow::Result<()> {
    let request = GetRevisionRequest { workspace_id: plan.workspace_id.clone(), revision_id: plan.applied_revision_id.clone() };
    let revision = required(api.files.clone().get_revision(request).await?.into_inner().revision, "revision")?;
    out.line(format!("{} is revision {}", out.paint.bold(&plan.summary), revision.number))?;
    out.note(format!(
        "next: slipway workspace diff {} {} {}",
        plan.workspace_id,
        revision.number.saturating_sub(1),
        revision.number
    ));
    Ok(())
}

/// The event as WatchPlan carries it, when JSON is wanted.
pub(crate) fn print_json(out: &Out, event: &PlanEvent) -> anyhow::Result<bool> {
    Ok(out.is_json() && out.json("planner.v1.WatchPlanResponse", &WatchPlanResponse { event: Some(event.clone()) })?)
}

/// One plan with its steps, and what can be done with it.
pub(crate) fn show(out: &Out, plan: &Plan) -> anyhow::Result<()> {
    if out.json("planner.v1.Plan", plan)? {
        return Ok(());
    }
    let paint = out.paint;
    let state = plan_state(plan);
    let state = match plan.state() {
        PlanState::Applied => paint.green(state),
        PlanState::Failed | PlanState::Rejected => paint.red(state),
        _ => paint.yellow(state),
    };
    out.line("")?;
    out.line(format!("{}  {state}", paint.bold(&plan.summary)))?;
    out.line(paint.dim(format!("plan {} version {}, made for revision {}", plan.id, plan.version, plan.base_revision_id)))?;
    if !plan.steps.is_empty() {
        out.line(plan_steps(plan, paint))?;
    }
    if let Some(failure) = &plan.failure {
        out.line(format!("{} ({})", failure.message, failure.reason))?;
    }
    if !plan.applied_revision_id.is_empty() {
        out.line(format!("applied as revision {}", plan.applied_revision_id))?;
    }
    if plan.state() == PlanState::Ready {
        out.note(format!("next: slipway plan approve {0} | reject {0} | revise {0} \"…\"", plan.id));
    }
    Ok(())
}

async fn list(api: &Api, out: &Out, workspace: Option<String>) -> anyhow::Result<()> {
    let workspace_id = match workspace {
        Some(name) => api.workspace(&name).await?.id,
        None => String::new(),
    };
    let mut response = ListPlansResponse::default();
    loop {
        let page_token = std::mem::take(&mut response.next_page_token);
        let request = ListPlansRequest { workspace_id: workspace_id.clone(), page_size: 1000, page_token };
        let page = api.plans.clone().list_plans(request).await?.into_inner();
        response.plans.extend(page.plans);
        response.next_page_token = page.next_page_token;
        if response.next_page_token.is_empty() {
            break;
        }
    }
    if out.json("planner.v1.ListPlansResponse", &response)? {
        return Ok(());
    }
    if response.plans.is_empty() {
        out.note("there are no plans yet");
        return Ok(());
    }
    let mut table = Table::plain(&["state", "v", "request", "steps", "made (UTC)", "id"], out.paint);
    for plan in &response.plans {
        let request = plan.request.lines().next().unwrap_or_default().to_owned();
        let steps = count(plan.steps.len() as u64, "step");
        table.row([
            plan_state(plan).to_owned(),
            plan.version.to_string(),
            request,
            steps,
            time(plan.create_time.as_ref()),
            plan.id.clone(),
        ]);
    }
    out.line(table.text())
}
