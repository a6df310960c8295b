//! Plans: one revision each or one reason, no step done twice, and an index that knows.

use std::time::{Duration, Instant, SystemTime};

use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use slipway_proto::embedding::GetIndexRequest;
use slipway_proto::filestore::{ListRevisionsRequest, ReadFileRequest, read_file_response};
use slipway_proto::planner::{GetPlanRequest, Plan, PlanEvent, PlanState, StepState, plan_event};

use super::{compare, stored};
use crate::faults::cases::{Asked, Call};
use crate::faults::load::{Person, Told, approval_request, draft_request, watch_plan};
use crate::faults::report::{Row, Wrong};
use crate::faults::trail::{Entry, Trail, Until, plan_entries};
use crate::faults::world::World;

/// How long the index may take to hear of a revision once everything is back.
const HEARS: Duration = Duration::from_secs(45);

pub(super) async fn check(world: &World, told: &Told, person: &mut Person, row: &mut Row) -> Result<(), String> {
    let Some(plan) = &told.plan else {
        if !told.workspace.is_empty() && told.gave_up.is_none() {
            row.wrong(Wrong::Failed, format!("{}: there is no plan: {}", told.case.tag(), last_of(told)));
        }
        return Ok(());
    };
    let all = stored_plan(person, &plan.id, 0).await?;
    for trail in &told.plans {
        compare(trail, &all, row);
    }
    cursors(told, person, &plan.id, &all, row).await?;
    let events: Vec<PlanEvent> = all.iter().filter_map(|e| PlanEvent::decode(e.bytes.as_slice()).ok()).collect();
    steps(told, &events, row);
    asked_again(told, &events, &world.calls.of(&told.case.tag()), row);
    let now = find_plan(person, &plan.id).await?;
    match now.state() {
        PlanState::Applied => revision(told, &now, person, row).await?,
        PlanState::Failed => {
            let failure = now.failure.unwrap_or_default();
            row.wrong(Wrong::Failed, format!("{}: {}: {}", told.case.tag(), failure.reason, failure.message));
        }
        state => row.wrong(Wrong::Lost, format!("{}: the plan is {state:?}", told.case.tag())),
    }
    again(told, person, row).await
}

fn last_of(told: &Told) -> String {
    let trail = told.plans.last().or(told.runs.last());
    let last = trail.and_then(|trail| trail.events.values().next_back()).cloned().unwrap_or_default();
    match told.plans.is_empty() {
        true => format!("{:?}", slipway_proto::conversation::RunEvent::decode(last.as_slice()).unwrap_or_default().event),
        false => format!("{:?}", PlanEvent::decode(last.as_slice()).unwrap_or_default().event),
    }
}

async fn stored_plan(person: &mut Person, id: &str, after: u64) -> Result<Vec<Entry>, String> {
    let entries = person.call("WatchPlan", |client| {
        watch_plan(client, id.to_owned(), after, Until::Applied).map(|r| r.map(tonic::Response::new)).boxed()
    });
    stored(entries.await?).await
}

async fn find_plan(person: &mut Person, id: &str) -> Result<Plan, String> {
    let request = GetPlanRequest { plan_id: id.to_owned() };
    let found = person.call("GetPlan", |client| {
        let request = request.clone();
        async move { client.planner.clone().get_plan(request).await }.boxed()
    });
    found.await?.plan.ok_or_else(|| "GetPlan gave none".to_owned())
}

async fn cursors(told: &Told, person: &mut Person, id: &str, all: &[Entry], row: &mut Row) -> Result<(), String> {
    if !super::is_sample(told) {
        return Ok(());
    }
    for after in 1..all.len() {
        let rest = stored_plan(person, id, after as u64).await?;
        row.cursors += 1;
        if rest.iter().map(|e| &e.bytes).ne(all[after..].iter().map(|e| &e.bytes)) {
            row.wrong(Wrong::Stream, format!("{}: after {after} other bytes of the plan come", told.case.tag()));
        }
    }
    Ok(())
}

/// Every edit belongs to the step that was begun last, and no step ends twice.
fn steps(told: &Told, events: &[PlanEvent], row: &mut Row) {
    let (mut current, mut done) = (None, Vec::new());
    for event in events {
        match &event.event {
            Some(plan_event::Event::StepStarted(step)) => current = Some(step.number),
            Some(plan_event::Event::Restarted(_)) => current = None,
            Some(plan_event::Event::Edit(edit)) if current != Some(edit.step_number) => {
                row.wrong(Wrong::Orphan, format!("{}: an edit of step {} outside of it", told.case.tag(), edit.step_number));
            }
            Some(plan_event::Event::StepEnded(step)) if step.state() == StepState::Done => {
                if done.contains(&step.number) {
                    row.wrong(Wrong::Twice, format!("{}: step {} ended twice", told.case.tag(), step.number));
                }
                done.push(step.number);
            }
            _ => {}
        }
    }
}

/// What is stored is not asked for again.
fn asked_again(told: &Told, events: &[PlanEvent], calls: &[Call], row: &mut Row) {
    for event in events {
        let time = time_of(event.create_time);
        let late: Vec<&Call> = match &event.event {
            Some(plan_event::Event::Ready(_)) => {
                calls.iter().filter(|call| call.asked == Asked::Draft && call.time > time).collect()
            }
            Some(plan_event::Event::StepEnded(step)) if step.state() == StepState::Done => {
                let edit = Asked::Edit(step.path.clone());
                calls.iter().filter(|call| call.asked == edit && call.time > time).collect()
            }
            _ => continue,
        };
        if let Some(call) = late.first() {
            let after = call.time.duration_since(time).unwrap_or_default();
            let tag = told.case.tag();
            row.wrong(
                Wrong::Again,
                format!("{tag}: {:?} was asked {after:?} after it was stored ({} times)", call.asked, late.len()),
            );
        }
    }
}

pub(super) fn time_of(time: Option<prost_types::Timestamp>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

async fn revision(told: &Told, plan: &Plan, person: &mut Person, row: &mut Row) -> Result<(), String> {
    let tag = told.case.tag();
    let request = ListRevisionsRequest { workspace_id: told.workspace.clone(), ..Default::default() };
    let listed = person.call("ListRevisions", |client| {
        let request = request.clone();
        async move { client.files.clone().list_revisions(request).await }.boxed()
    });
    let revisions = listed.await?.revisions;
    match revisions.iter().filter(|revision| revision.plan_id == plan.id).count() {
        1 if revisions.len() == 2 => row.revisions += 1,
        0 => row.wrong(Wrong::Lost, format!("{tag}: the plan is applied and has no revision")),
        _ => row.wrong(Wrong::Twice, format!("{tag}: {} revisions", revisions.len())),
    }
    for path in told.case.paths() {
        let text = read(told, person, &path).await?;
        if text != "an new line\n" {
            row.wrong(Wrong::Garbled, format!("{tag}: {path} holds {text:?}"));
        }
    }
    indexed(told, person, row).await
}

async fn read(told: &Told, person: &mut Person, path: &str) -> Result<String, String> {
    let request = ReadFileRequest { workspace_id: told.workspace.clone(), path: path.to_owned(), ..Default::default() };
    let opened = person.call("ReadFile", |client| {
        let request = request.clone();
        async move { client.files.clone().read_file(request).await }.boxed()
    });
    let (mut stream, mut bytes) = (opened.await?, Vec::new());
    while let Some(part) = stream.next().await {
        if let Some(read_file_response::Part::Chunk(chunk)) = part.map_err(|status| format!("{path}: {status:?}"))?.part {
            bytes.extend_from_slice(&chunk);
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{path} is not text"))
}

/// The event of the revision has reached the index.
async fn indexed(told: &Told, person: &mut Person, row: &mut Row) -> Result<(), String> {
    let deadline = Instant::now() + HEARS;
    let request = GetIndexRequest { workspace_id: told.workspace.clone() };
    loop {
        let found = person.call("GetIndex", |client| {
            let request = request.clone();
            async move { client.embedding.clone().get_index(request).await }.boxed()
        });
        // Not found means that it has not heard of the workspace yet.
        let index = found.await.ok().and_then(|found| found.index).unwrap_or_default();
        if index.revision_number >= 2 {
            person.untyped.clear();
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("{}: the index is at revision {} of 2", told.case.tag(), index.revision_number);
            row.wrong(Wrong::Unsent, what);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The same requests once more must give the first plan.
async fn again(told: &Told, person: &mut Person, row: &mut Row) -> Result<(), String> {
    if told.plans.len() < 2 {
        return Ok(());
    }
    let (draft, approval) = (draft_request(told), approval_request(told).unwrap_or_default());
    let drafted = person.call("CreatePlan", |client| {
        let request = draft.clone();
        async move {
            let stream = client.planner.clone().create_plan(request).await?.into_inner();
            Ok(tonic::Response::new(plan_entries(stream, Until::Drafted, |r| r.event)))
        }
        .boxed()
    });
    same(&told.plans[0], drafted.await?.next().await, row);
    let approved = person.call("ApprovePlan", |client| {
        let request = approval.clone();
        async move {
            let stream = client.planner.clone().approve_plan(request).await?.into_inner();
            Ok(tonic::Response::new(plan_entries(stream, Until::Applied, |r| r.event)))
        }
        .boxed()
    });
    same(&told.plans[1], approved.await?.next().await, row);
    Ok(())
}

fn same(trail: &Trail, first: Option<Result<Entry, tonic::Status>>, row: &mut Row) {
    match first {
        Some(Ok(entry)) if entry.id == trail.id => {}
        other => row.wrong(Wrong::Twice, format!("{}: the same request again gave {other:?}", trail.request_id)),
    }
}
