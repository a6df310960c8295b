//! Links: one file by one method until a time, tried over plain HTTP on a real S3 server.

use reqwest::{Method, StatusCode};
use slipway_testkit::s3::S3;

use super::*;

async fn send(method: Method, url: &str) -> StatusCode {
    reqwest::Client::new().request(method, url).body("evil").send().await.unwrap().status()
}

#[tokio::test]
async fn a_link_is_good_for_one_file_by_one_method() {
    let Some(server) = S3::shared().await else { return };
    let house = House::with(buckets::on(server)).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a/naïve name.txt", "one\n"), write("b", "other\n")]).await;
    user.commit(&id, vec![write("a/naïve name.txt", "two\n")]).await;

    let link = user.link(&id, &one.id, "a/naïve name.txt", 0).await.unwrap();
    let file = link.file.as_ref().unwrap();
    assert_eq!((link.method.as_str(), file.size, file.path.as_str()), ("GET", 4, "a/naïve name.txt"));
    let left = link.expire_time.unwrap().seconds - slipway_rpc::now_micros() / 1_000_000;
    assert!((890..=900).contains(&left), "{left}");
    let response = reqwest::get(&link.url).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-disposition"], "attachment; filename*=UTF-8''na%C3%AFve%20name.txt");
    let content = response.bytes().await.unwrap();
    assert_eq!((&content[..], blake3::hash(&content).to_hex().as_str()), (&b"one\n"[..], file.hash.as_str()));

    for method in [Method::PUT, Method::DELETE, Method::HEAD] {
        assert_eq!(send(method.clone(), &link.url).await, StatusCode::FORBIDDEN, "{method}");
    }
    let other = user.link(&id, &one.id, "b", 0).await.unwrap();
    let path = |url: &str| url.split_once('?').unwrap().0.to_owned();
    let forged = link.url.replace(&path(&link.url), &path(&other.url));
    assert_eq!(send(Method::GET, &forged).await, StatusCode::FORBIDDEN, "another file");
    let longer = link.url.replace("X-Amz-Expires=900", "X-Amz-Expires=3000");
    assert_ne!(longer, link.url);
    assert_eq!(send(Method::GET, &longer).await, StatusCode::FORBIDDEN, "a longer time");
    assert_eq!(user.read(&id, &one.id, "a/naïve name.txt").await.unwrap().1, b"one\n");
}

#[tokio::test]
async fn a_link_ends() {
    let Some(server) = S3::shared().await else { return };
    let house = House::with(buckets::on(server)).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "1")]).await;
    let link = user.link(&id, "", "a", 0).await.unwrap();
    assert_eq!(send(Method::GET, &link.url).await, StatusCode::OK);
    let link = user.link(&id, "", "a", 1).await.unwrap();
    // The server's clock tells, and nobody announces it.
    tokio::time::timeout(Duration::from_secs(30), async {
        while send(Method::GET, &link.url).await == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(send(Method::GET, &link.url).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_link_leads_to_the_gateway_where_there_is_no_bucket() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "1")]).await;
    let link = user.link(&id, "", "a", 0).await.unwrap();
    assert!(link.url.starts_with(GATEWAY) && link.method == "GET", "{}", link.url);
    assert_eq!(link.file.unwrap().size, 1);
    assert_eq!(reason(user.link(&id, "", "b", 0).await), "FILE_NOT_FOUND");
    assert_eq!(fields(user.link(&id, "", "a", 3_601).await), ["ttl_seconds"]);
    assert_eq!(fields(user.link(&id, "", "", 0).await), ["path"]);
}

#[tokio::test]
async fn a_bucket_can_be_passed_over() {
    let Some(server) = S3::shared().await else { return };
    let links = crate::LinkSettings { url: "http://elsewhere:1".to_owned(), via: crate::LinkWay::Gateway };
    let house = House::with(Settings { links, ..buckets::on(server) }).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "1")]).await;
    let url = user.link(&id, "", "a", 0).await.unwrap().url;
    assert!(url.starts_with("http://elsewhere:1/files/"), "{url}");
}

#[tokio::test]
async fn an_upload_has_links_too() {
    let house = House::start().await;
    let user = User::of(&house);
    let sender = uploads::Sender::of(&house, &user);
    let upload = sender.begin(uploads::sized(3)).await.unwrap();
    let link = sender.link(&upload.id, "text/plain").await.unwrap();
    assert!(link.url.starts_with(GATEWAY) && link.method == "PUT", "{}", link.url);
    assert_eq!(link.upload.unwrap(), upload);
    assert_eq!(reason(uploads::Sender::of(&house, &User::of(&house)).link(&upload.id, "").await), "UPLOAD_NOT_FOUND");
    assert_eq!(fields(sender.link(&upload.id, "a\u{e9}").await), ["content_type"]);
}
