//! Charts from repositories and registries, real HTTP servers on this machine: what was announced comes, or nothing does.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use pb::import_chart_request::Source;
use sha2::Digest as _;

use super::*;
use crate::ImportSettings;

/// What is at which path: a content type and bytes.
type Pages = HashMap<String, (String, Vec<u8>)>;

/// A site, and how often it was asked.
struct Site {
    pages: Pages,
    /// Registries want a guest's token first.
    token: bool,
    asked: AtomicUsize,
}

async fn serve(pages: Pages, token: bool) -> (String, Arc<Site>) {
    // The binary does it first of all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let site = Arc::new(Site { pages, token, asked: AtomicUsize::new(0) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().fallback(answer).with_state(site.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, site)
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    site.asked.fetch_add(1, Ordering::Relaxed);
    let host = request.headers()[header::HOST].to_str().unwrap();
    let path = request.uri().path();
    if path == "/token" {
        assert_eq!(request.uri().query(), Some("service=test&scope=repository:charts/shop:pull"));
        return r#"{"token": "guest"}"#.into_response();
    }
    if path == "/away" {
        return (StatusCode::FOUND, [(header::LOCATION, "http://169.254.169.254/latest")]).into_response();
    }
    let known = request.headers().get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer guest");
    if site.token && !known {
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"x\"");
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    match site.pages.get(path) {
        Some((kind, page)) => ([(header::CONTENT_TYPE, kind.clone())], page.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn sha256(content: &[u8]) -> String {
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn chart(version: &str) -> Vec<u8> {
    let meta = format!("name: shop\nversion: {version}\n");
    archives::tar_gz(&[("shop/Chart.yaml", meta.as_bytes()), ("shop/templates/a.yaml", b"a: 1\n")])
}

fn page(content: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    ("application/octet-stream".to_owned(), content.into())
}

/// The settings that let tests call this machine.
async fn house() -> House {
    let import = ImportSettings { private_addresses: true, http: true, hosts: vec!["127.0.0.1".into()], ..Default::default() };
    House::with(Settings { import, ..Settings::default() }).await
}

impl User {
    async fn import_chart(&self, house: &House, workspace: &str, source: Source) -> Result<pb::ImportChartResponse, Status> {
        let base = self.get(workspace).await.unwrap().head_revision_id;
        let request = pb::ImportChartRequest {
            workspace_id: workspace.into(),
            base_revision_id: base,
            source: Some(source),
            ..Default::default()
        };
        Ok(house.transfer.clone().import_chart(self.ctx.request(request)).await?.into_inner())
    }
}

fn repository(url: &str, version: &str) -> Source {
    Source::Repository(pb::ChartRepository { url: url.into(), chart: "shop".into(), version: version.into() })
}

#[tokio::test]
async fn a_chart_comes_from_a_repository_by_its_version() {
    let (old, new) = (chart("1.2.0"), chart("1.10.0"));
    let index = format!(
        "entries:\n  shop:\n  - version: 1.2.0\n    urls: [charts/shop-1.2.0.tgz]\n    digest: {}\n  - version: 1.10.0\n    urls: [charts/shop-1.10.0.tgz]\n    digest: sha256:{}\n  - version: 0.1.0\n    urls: [charts/shop-1.2.0.tgz]\n    digest: {}\n  - version: 0.2.0\n    urls: [http://169.254.169.254/x.tgz]\n    digest: aa\n  - version: 0.3.0\n    urls: [/away]\n    digest: aa\n",
        sha256(&old),
        sha256(&new),
        sha256(&new),
    );
    let pages = Pages::from([
        ("/helm/index.yaml".to_owned(), page(index)),
        ("/helm/charts/shop-1.2.0.tgz".to_owned(), page(old.clone())),
        ("/helm/charts/shop-1.10.0.tgz".to_owned(), page(new.clone())),
    ]);
    let (address, _) = serve(pages, false).await;
    let url = format!("http://{address}/helm");
    let house = house().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let newest = user.import_chart(&house, &id, repository(&url, "")).await.unwrap();
    assert_eq!((newest.version.as_str(), newest.digest), ("1.10.0", format!("sha256:{}", sha256(&new))));
    assert_eq!(user.paths(&id, "").await, ["Chart.yaml", "templates/a.yaml"]);
    assert_eq!(newest.revision.unwrap().message, "import chart 1.10.0");
    let older = user.import_chart(&house, &id, repository(&format!("{url}/"), "~1.2")).await.unwrap();
    assert_eq!((older.version.as_str(), older.revision.unwrap().number), ("1.2.0", 2));
    for (url, version) in [
        (url.as_str(), "9"),
        (&url, "0.1.0"),
        (&url, "0.2.0"),
        (&url, "0.3.0"),
        (&format!("http://{address}/nowhere"), ""),
        ("http://169.254.169.254/", ""),
        ("https://example.com/", ""),
    ] {
        let refused = reason(user.import_chart(&house, &id, repository(url, version)).await);
        assert_eq!(refused, "IMPORT_REFUSED", "{url} {version}");
    }
    assert_eq!(user.get(&id).await.unwrap().head_number, 2);
    assert_eq!(archives::files_below(&house.dir().join("spool")), 0);
}

fn registry(archive: &[u8], announced: &str, kind: &str) -> (Pages, String) {
    let manifest = format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "sha256:x", "size": 1}},
            "layers": [{{"mediaType": "{kind}", "digest": "sha256:{announced}", "size": {}}}]}}"#,
        archive.len()
    );
    let digest = sha256(manifest.as_bytes());
    let oci = |content: &str| ("application/vnd.oci.image.manifest.v1+json".to_owned(), content.as_bytes().to_vec());
    let pages = Pages::from([
        ("/v2/charts/shop/manifests/1.0.0_build.5".to_owned(), oci(&manifest)),
        (format!("/v2/charts/shop/manifests/sha256:{digest}"), oci(&manifest)),
        (format!("/v2/charts/shop/manifests/sha256:{}", "b".repeat(64)), oci(&manifest)),
        (format!("/v2/charts/shop/blobs/sha256:{announced}"), page(archive)),
    ]);
    (pages, digest)
}

const LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

#[tokio::test]
async fn a_chart_comes_from_a_registry_by_tag_or_digest() {
    let archive = chart("1.0.0");
    for token in [false, true] {
        let (pages, digest) = registry(&archive, &sha256(&archive), LAYER);
        let (address, site) = serve(pages, token).await;
        let house = house().await;
        let user = User::of(&house);
        let id = user.workspace("w").await.id;
        let oci = |rest: &str| Source::Oci(format!("oci+http://{address}/charts/shop{rest}"));
        let imported = user.import_chart(&house, &id, oci(":1.0.0_build.5")).await.unwrap();
        assert_eq!((imported.version.as_str(), imported.digest), ("1.0.0+build.5", format!("sha256:{}", sha256(&archive))));
        assert_eq!(site.asked.load(Ordering::Relaxed), if token { 4 } else { 2 });
        assert_eq!(user.paths(&id, "").await, ["Chart.yaml", "templates/a.yaml"]);
        user.import_chart(&house, &id, oci(&format!("@sha256:{digest}"))).await.unwrap();
        let wrong = oci(&format!("@sha256:{}", "b".repeat(64)));
        assert_eq!(reason(user.import_chart(&house, &id, wrong).await), "IMPORT_REFUSED", "another manifest than was named");
        assert_eq!(reason(user.import_chart(&house, &id, oci(":none")).await), "IMPORT_REFUSED");
        assert_eq!(fields(user.import_chart(&house, &id, oci("")).await), ["oci"]);
        assert_eq!(user.get(&id).await.unwrap().head_number, 2);
    }
}

#[tokio::test]
async fn an_artifact_that_is_not_what_it_says_is_refused() {
    let archive = chart("1.0.0");
    for (announced, kind) in [(sha256(b"other"), LAYER), (sha256(&archive), "application/vnd.oci.image.layer.v1.tar+gzip")] {
        let (pages, _) = registry(&archive, &announced, kind);
        let (address, _) = serve(pages, false).await;
        let house = house().await;
        let user = User::of(&house);
        let id = user.workspace("w").await.id;
        let source = Source::Oci(format!("oci+http://{address}/charts/shop:1.0.0_build.5"));
        assert_eq!(reason(user.import_chart(&house, &id, source).await), "IMPORT_REFUSED", "{kind}");
        assert_eq!(user.get(&id).await.unwrap().head_number, 0);
    }
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let _ = rustls::crypto::ring::default_provider().install_default();
    for text in ["oci://127.0.0.1:1/a:1", "oci+http://example.com/a:1", "oci://localhost/a:1"] {
        assert_eq!(reason(user.import_chart(&house, &id, Source::Oci(text.into())).await), "IMPORT_REFUSED", "{text}");
    }
}
