//! Workspaces: made, listed, deleted, and nobody else's.

use super::*;

async fn list(user: &User, size: u32, token: &str) -> Result<pb::ListWorkspacesResponse, Status> {
    let request = pb::ListWorkspacesRequest { page_size: size, page_token: token.into() };
    Ok(user.client.clone().list_workspaces(user.ctx.request(request)).await?.into_inner())
}

async fn remove(user: &User, id: &str) -> Result<(), Status> {
    let request = pb::DeleteWorkspaceRequest { workspace_id: id.into() };
    user.client.clone().delete_workspace(user.ctx.request(request)).await.map(drop)
}

#[tokio::test]
async fn a_new_workspace_is_empty_and_survives_a_restart() {
    let house = House::start().await;
    let user = User::of(&house);
    let made = user.workspace("demo ✓").await;
    assert_eq!((made.name.as_str(), made.head_revision_id.as_str(), made.head_number), ("demo ✓", "", 0));
    assert_eq!(made.project_id, user.ctx.project.to_string());
    assert!(made.create_time.is_some() && made.create_time == made.update_time);
    let house = house.restart().await;
    let user = User { client: house.client.clone(), ..user };
    assert_eq!(user.get(&made.id).await.unwrap(), made);
}

#[tokio::test]
async fn one_request_id_makes_one_workspace() {
    let house = House::start().await;
    let user = User::of(&house);
    let request = |name: &str| pb::CreateWorkspaceRequest { name: name.into(), request_id: "once".into() };
    let calls = (0..20).map(|_| {
        let mut client = user.client.clone();
        let request = user.ctx.request(request("a"));
        async move { client.create_workspace(request).await.unwrap().into_inner().workspace.unwrap().id }
    });
    let ids = futures::future::join_all(calls).await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    let (code, reason, facts) = refusal(user.client.clone().create_workspace(user.ctx.request(request("b"))).await);
    assert_eq!((code, reason.as_str(), &facts["first_id"]), (Code::AlreadyExists, "REQUEST_ID_REUSED", &ids[0]));
    // Another project may use the same id.
    let other = User::of(&house);
    let made = other.client.clone().create_workspace(other.ctx.request(request("b"))).await.unwrap().into_inner();
    assert_ne!(made.workspace.unwrap().id, ids[0]);
}

#[tokio::test]
async fn pages_are_stable_while_workspaces_come_and_go() {
    let house = House::start().await;
    let user = User::of(&house);
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(user.workspace(&format!("w{n}")).await.id);
    }
    made.reverse();
    let first = list(&user, 3, "").await.unwrap();
    let ids = |page: &pb::ListWorkspacesResponse| page.workspaces.iter().map(|w| w.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), made[..3]);
    user.workspace("later").await;
    remove(&user, &made[2]).await.unwrap();
    remove(&user, &made[3]).await.unwrap();
    let second = list(&user, 3, &first.next_page_token).await.unwrap();
    assert_eq!(ids(&second), made[4..7]);
    assert_eq!(second.next_page_token, "");
    // A token is good for its project and its call only.
    let other = User::of(&house);
    assert_eq!(reason(list(&other, 3, &first.next_page_token).await), "PAGE_TOKEN_INVALID");
    assert_eq!(reason(list(&user, 3, "nonsense").await), "PAGE_TOKEN_INVALID");
    assert!(list(&other, 0, "").await.unwrap().workspaces.is_empty());
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_told() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let revision = user.commit(&id, vec![write("a", "1")]).await;
    remove(&user, &id).await.unwrap();
    assert_eq!(reason(user.get(&id).await), "WORKSPACE_NOT_FOUND");
    assert_eq!(reason(remove(&user, &id).await), "WORKSPACE_NOT_FOUND");
    assert_eq!(reason(user.read(&id, &revision.id, "a").await), "WORKSPACE_NOT_FOUND");
    let events = house.events(2).await;
    assert_eq!(events[1].0, "workspace.deleted");
    let Some(slipway_proto::events::event::Event::WorkspaceDeleted(deleted)) = &events[1].1.event else { panic!() };
    assert_eq!(deleted.workspace_id, id);
    assert_eq!(events[1].1.project_id, user.ctx.project.to_string());
}
