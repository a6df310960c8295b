//! Charts from where people keep them: Helm pushes and indexes, a registry and a web server hand out, and a workspace has
//! exactly what was packed.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use slipway_testkit::registry::Registry;
use slipway_testkit::suite::free_port;
use slipway_testkit::tools::{find, skipped};
use slipway_testkit::{Suite, SuiteOptions};
use tempfile::TempDir;
use tokio::process::Child;

use crate::command_line::{chart, ok, print, run};
use crate::story::{self, suite_with};

/// Lets the server of a test fetch from this machine.
const IMPORTS: &str = "[file_store.import]\nhttp = true\nprivate_addresses = true\nhosts = [\"127.0.0.1\"]\n";

async fn house() -> Suite {
    suite_with(SuiteOptions { config: IMPORTS.into(), ..SuiteOptions::default() }).await
}

/// Helm in a home of its own.
struct Helm {
    home: TempDir,
}

impl Helm {
    fn find(test: &str) -> Option<Self> {
        if find("helm").is_none() {
            skipped(test, "helm is not installed: scripts/tools.sh helm");
            return None;
        }
        Some(Self { home: tempfile::tempdir().unwrap() })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(find("helm").unwrap());
        for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")] {
            command.env(name, self.home.path().join(folder));
        }
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The small chart at a version, packed into a directory.
    fn package(&self, version: &str, to: &Path) -> String {
        let source = self.home.path().join("shop");
        chart(&source);
        self.run(&["package", source.to_str().unwrap(), "--version", version, "--destination", to.to_str().unwrap()]);
        to.join(format!("shop-{version}.tgz")).to_str().unwrap().to_owned()
    }
}

/// What a workspace has to hold: the small chart, whose `Chart.yaml` Helm has written anew.
fn is_the_chart(url: &str, workspace: &str, version: &str) {
    for (path, text) in story::small_chart() {
        let held = ok(url, &["workspace", "cat", workspace, path]);
        match path {
            "Chart.yaml" => assert!(held.contains(&format!("version: {version}\n")), "{held}"),
            _ => assert_eq!(held, text, "{path}"),
        }
    }
}

#[tokio::test]
async fn a_chart_that_helm_pushed_comes_from_its_registry() {
    let test = "a_chart_that_helm_pushed_comes_from_its_registry";
    let (Some(helm), Some(registry)) = (Helm::find(test), Registry::start(test).await) else { return };
    let packed = tempfile::tempdir().unwrap();
    for version in ["1.2.0", "1.3.0"] {
        let package = helm.package(version, packed.path());
        helm.run(&["push", &package, &format!("oci://{}/charts", registry.address()), "--plain-http"]);
    }
    let suite = house().await;
    let url = suite.url();
    let place = format!("oci+http://{}/charts/shop", registry.address());
    let first = print(&url, &["files", "import", &format!("{place}:1.2.0")]);
    assert_eq!(first["version"], "1.2.0", "{first}");
    is_the_chart(&url, "shop", "1.2.0");

    // The same workspace goes on to the next version; what came before stays a revision.
    let second = print(&url, &["files", "import", &format!("{place}:1.3.0"), "--workspace", "shop"]);
    assert_eq!(second["revision"]["number"], "2", "{second}");
    is_the_chart(&url, "shop", "1.3.0");

    let missing = run(&url, &["files", "import", &format!("{place}:9.9.9"), "--name", "missing"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("404"), "{said}");
    assert!(!ok(&url, &["workspace", "list"]).contains("missing"), "a workspace is left of an import that failed");
}

/// A web server over a directory, as most chart repositories are.
async fn site(directory: &Path) -> (String, Child) {
    let port = free_port().unwrap();
    let mut command = tokio::process::Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"]).arg(directory);
    let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let started = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the web server does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (format!("http://127.0.0.1:{port}"), server)
}

#[tokio::test]
async fn a_chart_comes_from_a_repository_that_helm_indexed() {
    let test = "a_chart_comes_from_a_repository_that_helm_indexed";
    let Some(helm) = Helm::find(test) else { return };
    if find("python3").is_none() {
        return skipped(test, "python3 is not installed, and with it no web server");
    }
    let directory = tempfile::tempdir().unwrap();
    let packages = ["1.2.0", "1.2.7", "1.10.0", "2.0.0-rc.1"].map(|version| helm.package(version, directory.path()));
    helm.run(&["repo", "index", directory.path().to_str().unwrap()]);
    let (repository, _server) = site(directory.path()).await;
    let suite = house().await;
    let url = suite.url();
    for (name, version, expected) in
        [("newest", "", "1.10.0"), ("patched", "~1.2.0", "1.2.7"), ("next", "2.0.0-rc.1", "2.0.0-rc.1")]
    {
        let mut arguments = vec!["files", "import", &repository, "--chart", "shop", "--name", name];
        arguments.extend(if version.is_empty() { vec![] } else { vec!["--version", version] });
        assert_eq!(print(&url, &arguments)["version"], expected);
        is_the_chart(&url, name, expected);
    }

    // What was packed after it was indexed is not what was announced.
    std::fs::copy(&packages[0], &packages[1]).unwrap();
    let changed = run(&url, &["files", "import", &repository, "--chart", "shop", "--version", "1.2.7", "--workspace", "newest"]);
    assert!(!changed.status.success(), "a package with another checksum is taken");
    is_the_chart(&url, "newest", "1.10.0");
}
