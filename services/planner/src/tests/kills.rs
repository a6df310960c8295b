//! A process that dies, at several points, and the one that comes after it. Dying is the end of a runtime: its tasks stop
//! wherever they are, and nothing is said to anybody.

use std::path::Path;
use std::sync::Arc;

use slipway_proto::planner as proto;
use tokio::runtime::{Builder, Runtime};

use super::fakes::{self, CommitMode, Reply, World};
use super::{Suite, check_dense, failure, last_plan, names, settings};

fn process() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a plan of two steps until something hangs, and kills the process there. Gives the plan as it was reviewed.
fn die(dir: &Path, world: &Arc<World>, prepare: impl FnOnce(&World)) -> proto::Plan {
    let runtime = process();
    let plan = runtime.block_on(async {
        let suite = Suite::start(dir, world).await;
        let plan = suite.ready(&[("update", "values.yaml"), ("create", "templates/i.yaml")]).await;
        prepare(world);
        tokio::select! {
            events = suite.approve_as(&plan, "once") => panic!("it did not hang: {events:?}"),
            () = world.hanging.notified() => {}
        }
        plan
    });
    runtime.shutdown_background();
    plan
}

/// Starts again and waits for the plan's end. Gives all its events.
fn live(dir: &Path, world: &Arc<World>, plan: &proto::Plan) -> Vec<proto::PlanEvent> {
    let runtime = process();
    let events = runtime.block_on(async {
        let suite = Suite::start(dir, world).await;
        let events = suite.watch(&plan.id, 0).await.unwrap();
        for after in 0..=events.len() as u64 {
            let rest = suite.watch(&plan.id, after).await.unwrap();
            assert_eq!(rest, events[usize::try_from(after).unwrap()..], "from {after}");
        }
        let apply = usize::try_from(plan.last_sequence).unwrap();
        assert_eq!(
            suite.approve_as(plan, "once").await.unwrap(),
            events[apply..],
            "the same call follows the apply from its start"
        );
        events
    });
    runtime.shutdown_background();
    check_dense(&events, 1);
    events
}

fn check_applied_once(world: &World, events: &[proto::PlanEvent]) {
    let applied = last_plan(events);
    assert_eq!(applied.state(), proto::PlanState::Applied, "{applied:?}");
    assert_eq!(world.lock().revisions.len(), 2, "exactly one new revision");
    assert_eq!(applied.applied_revision_id, world.head().id.to_string());
    assert!(world.text("values.yaml").unwrap().contains("replicas: 3"));
    assert_eq!(world.text("templates/i.yaml").unwrap(), "kind: Ingress\n");
    assert_eq!(names(events).iter().filter(|n| **n == "restarted").count(), 1);
}

#[test]
fn killed_in_the_first_step() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
    let plan = die(dir.path(), &world, |w| w.say(Reply::Hang));
    world.say(fakes::edit_replicas(3));
    world.say(fakes::create_file("templates/i.yaml", "kind: Ingress\n"));
    let events = live(dir.path(), &world, &plan);
    check_applied_once(&world, &events);
    assert_eq!(names(&events).iter().filter(|n| **n == "step_started").count(), 3, "the first step is begun again");
}

#[test]
fn killed_in_the_second_step() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
    let plan = die(dir.path(), &world, |w| {
        w.say(fakes::edit_replicas(3));
        w.say(Reply::Hang);
    });
    let asked = world.lock().prompts.len();
    world.say(fakes::create_file("templates/i.yaml", "kind: Ingress\n"));
    let events = live(dir.path(), &world, &plan);
    check_applied_once(&world, &events);
    assert_eq!(world.lock().prompts.len(), asked + 1, "the finished step is kept");
    assert!(world.last_prompt().contains("replicas: 3"), "and seen by the next");
}

/// What a step did before it ended is nowhere but in the process that dies: the step begins again on the file as it was.
#[test]
fn killed_between_two_edits() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
    let edits = |text: &str| serde_json::json!({"path": "values.yaml", "edits": text});
    let plan = die(dir.path(), &world, |w| {
        w.say(fakes::calls(&[("edit", edits("<<<<<<< SEARCH\nworker:\n=======\nlabourer:\n>>>>>>> REPLACE\n"))]));
        w.say(Reply::Hang);
    });
    assert_eq!(world.counts(), (0, 1), "nothing is to be seen of the edit");
    let diff = "--- a/values.yaml\n+++ b/values.yaml\n@@ -71,2 +80,2 @@\n gateway:\n-  replicas: 1\n+  replicas: 3\n";
    world.say(fakes::calls(&[("edit", edits(diff)), ("done", serde_json::json!({}))]));
    world.say(fakes::create_file("templates/i.yaml", "kind: Ingress\n"));
    let events = live(dir.path(), &world, &plan);
    check_applied_once(&world, &events);
    assert_eq!(world.text("values.yaml").unwrap(), "gateway:\n  replicas: 3\nworker:\n  replicas: 1\n");
    assert_eq!(names(&events).iter().filter(|n| **n == "edit").count(), 3, "each edit that was made is told");
    assert_eq!(world.counts(), (1, 2), "and all of them are one commit");
}

#[test]
fn killed_between_the_commit_and_its_note() {
    for forget in [false, true] {
        let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
        let plan = die(dir.path(), &world, |w| {
            w.say(fakes::edit_replicas(3));
            w.say(fakes::create_file("templates/i.yaml", "kind: Ingress\n"));
            w.lock().commit_mode = CommitMode::HangAfter;
        });
        assert_eq!(world.lock().revisions.len(), 2, "the commit was made");
        world.lock().commit_mode = CommitMode::Normal;
        world.lock().forget_requests = forget;
        let events = live(dir.path(), &world, &plan);
        check_applied_once(&world, &events);
    }
}

#[test]
fn killed_while_drafting() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
    let runtime = process();
    let id = runtime.block_on(async {
        let suite = Suite::start(dir.path(), &world).await;
        world.say(Reply::Hang);
        tokio::select! {
            events = suite.create("x") => panic!("it did not hang: {events:?}"),
            () = world.hanging.notified() => {}
        }
        let list = suite.client().list_plans(suite.ctx.request(proto::ListPlansRequest::default())).await.unwrap();
        list.into_inner().plans[0].id.clone()
    });
    runtime.shutdown_background();
    process().block_on(async {
        world.say(fakes::plan(&[("update", "values.yaml")]));
        let suite = Suite::start(dir.path(), &world).await;
        while suite.get(&id).await.unwrap().state() == proto::PlanState::Drafting {
            tokio::task::yield_now().await;
        }
        let plan = suite.get(&id).await.unwrap();
        assert_eq!((plan.state(), plan.steps.len()), (proto::PlanState::Ready, 1));
    });
}

#[test]
fn a_job_that_kills_its_workers_fails_its_plan() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
    let once = crate::Settings { max_attempts: 1, ..settings() };
    let runtime = process();
    let plan = runtime.block_on(async {
        let suite = Suite::start_with(dir.path(), &world, once.clone()).await;
        let plan = suite.ready(&[("update", "values.yaml")]).await;
        world.say(Reply::Hang);
        tokio::select! {
            _ = suite.approve(&plan) => panic!("it did not hang"),
            () = world.hanging.notified() => {}
        }
        plan
    });
    runtime.shutdown_background();
    process().block_on(async {
        let suite = Suite::start_with(dir.path(), &world, once).await;
        let events = suite.watch(&plan.id, 0).await.unwrap();
        let (reason, message) = failure(&last_plan(&events));
        assert!(reason == "INTERNAL" && message.contains("never finished"), "{message}");
    });
    assert_eq!(world.lock().revisions.len(), 1);
}
