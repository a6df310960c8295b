//! The service on a bucket of a real S3 server: the same answers, and honest ones when the bucket is away.

use slipway_testkit::s3::S3;

use super::*;
use crate::blobs;

pub(super) fn on(server: &S3) -> Settings {
    Settings { s3: Some(blobs::tests::settings(&server.bucket().unwrap())), ..Settings::default() }
}

#[tokio::test]
async fn a_workspace_lives_in_a_bucket() {
    let Some(server) = S3::shared().await else { return };
    let house = House::with(on(server)).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let large = vec![7; (9 << 20) + 5];
    let one = user.commit(&id, vec![write("a", "1"), program("run.sh", "x"), write("empty", "")]).await;
    let two = user.commit(&id, vec![rename("a", "b"), write("c", vec![1; 2 << 20])]).await;
    let archive = user.export(&id, "", pb::ArchiveFormat::TarGz).await.unwrap();
    let other = user.workspace("copy").await.id;
    let copied = user.import(header(&other, "", pb::ArchiveFormat::TarGz), &archive).await.unwrap();
    assert_eq!(copied.hash, two.hash);
    let archive = archives::tar_gz(&[("large", &large)]);
    let three = user.import(header(&other, &copied.id, pb::ArchiveFormat::TarGz), &archive).await.unwrap();

    let house = house.restart().await;
    let user = User { client: house.client.clone(), ..user };
    assert_eq!(user.read(&id, &one.id, "a").await.unwrap().1, b"1");
    assert_eq!(user.read(&id, "", "c").await.unwrap().1, vec![1; 2 << 20]);
    assert_eq!(user.read(&id, "", "empty").await.unwrap().1, b"");
    assert!(user.read(&other, &three.id, "large").await.unwrap().1 == large);
    assert!(!house.dir().join("blobs").exists(), "nothing lies on this machine");
}

#[tokio::test]
async fn a_bucket_that_is_away_changes_nothing_and_says_when_to_come_back() {
    let Some(mut server) = S3::start().await else { return };
    let house = House::with(on(&server)).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "1")]).await;
    server.kill().await.unwrap();
    let request = pb::CommitRevisionRequest { request_id: "r".into(), ..commit(&id, &one.id, vec![write("a", "2")]) };
    let refused = user.try_commit(request.clone()).await;
    assert!(refused.as_ref().unwrap_err().get_error_details().retry_info().is_some());
    let (code, reason, _) = refusal(refused);
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "SERVICE_UNAVAILABLE"));
    assert_eq!(user.get(&id).await.unwrap().head_revision_id, one.id);
    server.restart().await.unwrap();
    assert_eq!(user.try_commit(request).await.unwrap().number, 2);
    assert_eq!(user.read(&id, "", "a").await.unwrap().1, b"2");
}

#[tokio::test]
async fn a_bucket_that_refuses_stops_the_start() {
    let Some(server) = S3::shared().await else { return };
    let mut settings = on(server);
    settings.s3.as_mut().unwrap().bucket = "there-is-none".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("file-store.db").display());
    let store = StoreSettings { url, durability: Durability::Process, ..Default::default() };
    let (data_dir, documents) = (dir.path().to_owned(), slipway_documents::Worker::new("nowhere".into()));
    let deps = Deps { data_dir, store, bus: Bus::in_process(), gateway: None, documents };
    let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).unwrap());
    let error = build(&settings, deps, &mut server).await.unwrap_err();
    assert!(error.to_string().contains("file_store.s3.bucket"), "{error}");
}
