//! What is refused, and that nothing changes by it.

use slipway_proto::planner as proto;
use slipway_rpc::Reason;
use uuid::Uuid;

use super::fakes::World;
use super::{Suite, ctx};

#[tokio::test]
async fn another_projects_plan_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = Suite::start(dir.path(), &World::new()).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let ours = std::mem::replace(&mut suite.ctx, ctx(Uuid::now_v7()));
    for fault in [
        suite.get(&plan.id).await.unwrap_err(),
        suite.approve(&plan).await.unwrap_err(),
        suite.reject(&plan).await.unwrap_err(),
        suite.revise(&plan, "x", "").await.unwrap_err(),
        suite.revise(&plan, "x", "id").await.unwrap_err(),
        suite.watch(&plan.id, 0).await.unwrap_err(),
        suite
            .classify(proto::ClassifyIntentRequest { text: "yes".into(), open_plan_id: plan.id.clone(), ..Default::default() })
            .await
            .unwrap_err(),
    ] {
        assert_eq!(fault.reason(), Reason::PlanNotFound);
    }
    assert_eq!(suite.create("x").await.unwrap_err().reason(), Reason::WorkspaceNotFound);
    let list = suite.client().list_plans(suite.ctx.request(proto::ListPlansRequest::default())).await.unwrap();
    assert!(list.into_inner().plans.is_empty());
    suite.ctx = ours;
    assert_eq!(suite.get(&plan.id).await.unwrap(), plan);
}

#[tokio::test]
async fn what_cannot_be_planned_on_is_refused_before_anything_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let suite = Suite::start(dir.path(), &World::new()).await;
    let request = |workspace: Uuid, model: &str| proto::CreatePlanRequest {
        workspace_id: workspace.to_string(),
        request: "x".into(),
        model: model.into(),
        request_id: "again".into(),
        ..Default::default()
    };
    for (request, reason) in [
        (request(suite.world.empty_workspace, ""), Reason::WorkspaceEmpty),
        (request(Uuid::now_v7(), ""), Reason::WorkspaceNotFound),
        (request(suite.world.workspace, "nobody/none"), Reason::ModelNotFound),
        (request(suite.world.workspace, "none"), Reason::ModelNotFound),
        (proto::CreatePlanRequest::default(), Reason::FieldInvalid),
    ] {
        assert_eq!(suite.create_as(request).await.unwrap_err().reason(), reason);
    }
    let list = suite.client().list_plans(suite.ctx.request(proto::ListPlansRequest::default())).await.unwrap();
    assert!(list.into_inner().plans.is_empty());
    suite.world.say(super::fakes::plan(&[("update", "values.yaml")]));
    suite.create_as(request(suite.world.workspace, "builtin/rules")).await.unwrap();
}

#[tokio::test]
async fn a_call_without_an_identity_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let suite = Suite::start(dir.path(), &World::new()).await;
    let status = suite.client().get_plan(proto::GetPlanRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
}
