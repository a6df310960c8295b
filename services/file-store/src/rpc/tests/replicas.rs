//! Two replicas on one PostgreSQL database and one bucket: a workspace has one writer, whoever it calls.

use slipway_testkit::s3::S3;

use super::*;

async fn both() -> Option<[House; 2]> {
    let server = S3::shared().await?;
    House::replicas(buckets::on(server)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_commits_on_one_head_one_wins_whichever_replica_it_reaches() {
    let Some(houses) = both().await else { return };
    let user = User::of(&houses[0]);
    let id = user.workspace("w").await.id;
    let mut head = user.commit(&id, vec![write("a", "0")]).await;
    for round in 0..2 {
        let commits = (0..100).map(|n| {
            let user = user.at(&houses[n % 2]);
            let request = commit(&id, &head.id, vec![write("a", format!("{round}/{n}"))]);
            tokio::spawn(async move { user.try_commit(request).await.map(|revision| (n, revision)) })
        });
        let results: Vec<_> = futures::future::join_all(commits).await.into_iter().map(Result::unwrap).collect();
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 99));
        for refused in lost {
            assert_eq!(reason(refused), "BASE_REVISION_STALE");
        }
        let (n, revision) = won.into_iter().next().unwrap().unwrap();
        assert_eq!((revision.number, &revision.parent_id), (head.number + 1, &head.id));
        for house in &houses {
            assert_eq!(user.at(house).read(&id, "", "a").await.unwrap().1, format!("{round}/{n}").as_bytes());
        }
        head = revision;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_is_lost_that_tries_again() {
    let Some(houses) = both().await else { return };
    let user = User::of(&houses[0]);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("start", "")]).await;
    let writers = (0..24).map(|n| {
        let (user, id) = (user.at(&houses[n % 2]), id.clone());
        tokio::spawn(async move {
            loop {
                let base = user.get(&id).await.unwrap().head_revision_id;
                match user.try_commit(commit(&id, &base, vec![write(&format!("file-{n:02}"), format!("{n}"))])).await {
                    Ok(_) => return,
                    Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
                }
            }
        })
    });
    futures::future::join_all(writers).await.into_iter().for_each(|writer| writer.unwrap());
    assert_eq!(user.get(&id).await.unwrap().head_number, 25);
    for n in 0..24 {
        assert_eq!(user.read(&id, "", &format!("file-{n:02}")).await.unwrap().1, format!("{n}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_tried_again_elsewhere_has_the_first_result() {
    let Some(houses) = both().await else { return };
    let user = User::of(&houses[0]);
    let id = user.workspace("w").await.id;
    let request = pb::CommitRevisionRequest { request_id: "once".into(), ..commit(&id, "", vec![write("a", "1")]) };
    let calls = (0..20).map(|n| {
        let (user, request) = (user.at(&houses[n % 2]), request.clone());
        tokio::spawn(async move { user.try_commit(request).await.unwrap() })
    });
    let made: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(made.iter().all(|revision| revision.id == made[0].id && revision.number == 1));
    let later = user.at(&houses[1]).commit(&id, vec![write("a", "2")]).await;
    for house in &houses {
        assert_eq!(user.at(house).try_commit(request.clone()).await.unwrap().id, made[0].id);
    }
    assert_eq!(user.get(&id).await.unwrap().head_revision_id, later.id);
    let other = pb::CommitRevisionRequest { changes: vec![write("a", "3")], ..request };
    assert_eq!(reason(user.at(&houses[1]).try_commit(other).await), "REQUEST_ID_REUSED");
}
