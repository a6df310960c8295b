//! Links: one object, one method, until a time, tried with a plain HTTP client that has no token.

use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RANGE};
use reqwest::{Method, Response, StatusCode};
use slipway_proto::filestore::file_change::Change;
use slipway_proto::filestore::{
    BeginUploadRequest, CreateDownloadLinkRequest, CreateDownloadLinkResponse, CreateUploadLinkRequest, FileChange,
    GetUploadRequest, Upload, WriteFile,
};
use slipway_testkit::suite::Client;
use slipway_testkit::{Suite, SuiteOptions};

use crate::story::{self, commit, only_for_one_process, suite_with};

const MIB: usize = 1 << 20;

/// At scale links lead to where the settings say, which the suite of a test cannot know before it has its ports.
async fn house(test: &str) -> Option<Suite> {
    if only_for_one_process(test, "links lead to the gateway of one process") {
        return None;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    Some(suite_with(SuiteOptions::default().with_two_tenants()).await)
}

async fn send(method: Method, url: &str, headers: &[(reqwest::header::HeaderName, &str)], body: Vec<u8>) -> Response {
    let mut request = reqwest::Client::new().request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.send().await.unwrap()
}

async fn get(url: &str, headers: &[(reqwest::header::HeaderName, &str)]) -> Response {
    send(Method::GET, url, headers, Vec::new()).await
}

async fn link(client: &Client, workspace: &str, path: &str, ttl_seconds: u32) -> CreateDownloadLinkResponse {
    let request =
        CreateDownloadLinkRequest { workspace_id: workspace.into(), path: path.into(), ttl_seconds, ..Default::default() };
    client.files.clone().create_download_link(request).await.unwrap().into_inner()
}

async fn begin(client: &Client, size: usize) -> Upload {
    let request = BeginUploadRequest { size: size as u64, ..Default::default() };
    client.transfer.clone().begin_upload(request).await.unwrap().into_inner().upload.unwrap()
}

async fn upload_link(client: &Client, upload: &Upload, content_type: &str) -> String {
    let request =
        CreateUploadLinkRequest { upload_id: upload.id.clone(), content_type: content_type.into(), ..Default::default() };
    client.transfer.clone().create_upload_link(request).await.unwrap().into_inner().url
}

async fn get_upload(client: &Client, upload: &Upload) -> Upload {
    let request = GetUploadRequest { upload_id: upload.id.clone() };
    client.transfer.clone().get_upload(request).await.unwrap().into_inner().upload.unwrap()
}

#[tokio::test]
async fn a_file_comes_by_its_link_and_nothing_else_does() {
    let Some(suite) = house("links").await else { return };
    let client = suite.client_as("alice-write").unwrap();
    let text: String = (0..300_000).map(|n| format!("{n}\n")).collect();
    let (workspace, _) = story::workspace(&client, &[("a/naïve name.txt", &text), ("b", "other")]).await;
    let linked = link(&client, &workspace, "a/naïve name.txt", 0).await;
    let url = linked.url.as_str();
    assert!(url.starts_with(&suite.url()), "{url}");

    let whole = get(url, &[]).await;
    assert_eq!(whole.status(), StatusCode::OK);
    for (name, value) in [
        ("content-disposition", "attachment; filename*=UTF-8''na%C3%AFve%20name.txt"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("content-length", &text.len().to_string()),
    ] {
        assert_eq!(whole.headers()[name], value);
    }
    let etag = whole.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", linked.file.unwrap().hash));
    assert!(whole.text().await.unwrap() == text);
    assert_eq!(get(url, &[(IF_NONE_MATCH, &etag)]).await.status(), StatusCode::NOT_MODIFIED);

    for (range, from, to) in
        [("bytes=3-9", 3, 10), ("bytes=1500000-", 1_500_000, text.len()), ("bytes=-5", text.len() - 5, text.len())]
    {
        let part = get(url, &[(RANGE, range)]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.headers()[CONTENT_RANGE], format!("bytes {from}-{}/{}", to - 1, text.len()));
        assert!(part.text().await.unwrap() == text[from..to], "{range}");
    }
    let beyond = get(url, &[(RANGE, "bytes=99999999-")]).await;
    assert_eq!(
        (beyond.status(), beyond.headers()[CONTENT_RANGE].to_str().unwrap()),
        (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{}", text.len()).as_str())
    );

    for method in [Method::PUT, Method::DELETE, Method::HEAD, Method::POST] {
        assert_eq!(send(method.clone(), url, &[], b"evil".to_vec()).await.status(), StatusCode::FORBIDDEN, "{method}");
    }
    let other = link(&client, &workspace, "b", 0).await.url;
    let query = |url: &str| url.split_once('?').unwrap().1.to_owned();
    for forged in [
        url.replace(&query(url), &query(&other)),
        url.replace("a/na", "b/na"),
        url.replace("expires=", "expires=9"),
        format!("{}x", url),
        url.replace("signature=", "signature=A"),
        url.replace("signature=", "sig="),
    ] {
        let refused = get(&forged, &[]).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{forged}");
        assert!(refused.text().await.unwrap().len() < 200);
    }
    assert_eq!(get(&format!("{}/files/nonsense", suite.url()), &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_link_ends_with_its_time_and_with_its_file() {
    let Some(suite) = house("links").await else { return };
    let client = suite.client_as("alice-write").unwrap();
    let (workspace, _) = story::workspace(&client, &[("a", "a")]).await;
    let short = link(&client, &workspace, "a", 1).await.url;
    // The server's clock tells, and nobody announces it.
    tokio::time::timeout(Duration::from_secs(30), async {
        while get(&short, &[]).await.status() == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    let expired = get(&short, &[]).await;
    assert_eq!((expired.status(), expired.text().await.unwrap().as_str()), (StatusCode::FORBIDDEN, "the link has expired\n"));
    let long = link(&client, &workspace, "a", 0).await.url;
    assert_eq!(get(&long, &[]).await.status(), StatusCode::OK);
    let request = slipway_proto::filestore::DeleteWorkspaceRequest { workspace_id: workspace };
    client.files.clone().delete_workspace(request).await.unwrap();
    assert_eq!(get(&long, &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bytes_go_into_an_upload_by_its_link() {
    let Some(suite) = house("links").await else { return };
    let client = suite.client_as("alice-write").unwrap();
    let content: Vec<u8> = (0..20 * MIB + 3).map(|n| (n % 253) as u8).collect();
    let upload = begin(&client, content.len()).await;
    let url = upload_link(&client, &upload, "text/plain").await;
    let plain = [(CONTENT_TYPE, "text/plain")];
    assert_eq!(
        send(Method::PUT, &url, &[(CONTENT_TYPE, "text/html")], content[..10].to_vec()).await.status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(get(&url, &[]).await.status(), StatusCode::FORBIDDEN);
    let half = send(Method::PUT, &url, &plain, content[..9 * MIB].to_vec()).await;
    assert_eq!(half.status(), StatusCode::ACCEPTED);
    assert!(half.text().await.unwrap().contains(&format!("\"committedBytes\":\"{}\"", 9 * MIB)));
    assert_eq!(send(Method::PUT, &url, &plain, content[..10].to_vec()).await.status(), StatusCode::CONFLICT);
    let range = format!("bytes {}-{}/{}", 9 * MIB, content.len() - 1, content.len());
    let more = [(CONTENT_TYPE, "text/plain"), (CONTENT_RANGE, range.as_str())];
    assert_eq!(send(Method::PUT, &url, &more, [&content[9 * MIB..], b"!"].concat()).await.status(), StatusCode::BAD_REQUEST);
    // Of what was too long, whole pieces were kept.
    let at = usize::try_from(get_upload(&client, &upload).await.committed_bytes).unwrap();
    let range = format!("bytes {at}-{}/{}", content.len() - 1, content.len());
    let rest = [(CONTENT_TYPE, "text/plain"), (CONTENT_RANGE, range.as_str())];
    let done = send(Method::PUT, &url, &rest, content[at..].to_vec()).await;
    assert_eq!(done.status(), StatusCode::CREATED);

    let finished = get_upload(&client, &upload).await;
    assert_eq!(finished.committed_bytes, content.len() as u64);
    assert!(done.text().await.unwrap().contains(&finished.content_hash));
    let (workspace, base) = story::workspace(&client, &[("a", "a")]).await;
    let write = WriteFile { path: "big".into(), content_hash: finished.content_hash, ..Default::default() };
    commit(&client, &workspace, &base.id, vec![FileChange { change: Some(Change::Write(write)) }]).await.unwrap();
    let url = link(&client, &workspace, "big", 0).await.url;
    assert!(get(&url, &[]).await.bytes().await.unwrap() == content);
}
