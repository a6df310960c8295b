//! The container image, built from the Dockerfile with this build of the binary: what it is, and that it runs.
//!
//! No image can be pulled in a test, so the runtime image is made of this machine's C library, and the one with `git` of its `git`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use slipway_testkit::tools::skipped;

use super::docker::Docker;
use crate::story::{binary, repository};

const BASE: &str = "slipway-test-runtime:latest";
const GIT: &str = "slipway-test-git:latest";
const IMAGE: &str = "slipway-test";
const NONROOT: &str = "65532:65532";

/// The shared objects that the binary is linked with, and the one part of the C library that only `git` needs.
fn libraries() -> Vec<PathBuf> {
    let core = Command::new("git").arg("--exec-path").output().expect("git runs").stdout;
    let helper = PathBuf::from(String::from_utf8_lossy(&core).trim()).join("git-remote-http");
    let of_git = linked(&helper).into_iter().filter(|l| l.file_name().is_some_and(|name| name == "libresolv.so.2"));
    linked(&binary()).into_iter().chain(of_git).collect()
}

/// As `ldd` tells.
fn linked(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|w| w.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// The smallest runtime image: the loader, the C library, certificates, and a home for the user.
fn base_image(docker: &Docker) {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, owner: u64, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        archive.append_data(&mut header, path, bytes).expect("an archive in memory");
    };
    let libraries = libraries();
    // A directory without an entry of its own would be its owner's alone.
    let folders: BTreeSet<&Path> = libraries.iter().flat_map(|l| l.ancestors().skip(1)).collect();
    for folder in
        folders.into_iter().filter(|f| f.parent().is_some()).chain(["/etc", "/etc/ssl", "/etc/ssl/certs", "/home"].map(Path::new))
    {
        add(&folder.to_string_lossy()[1..], 0o755, 0, tar::EntryType::Directory, b"");
    }
    for library in &libraries {
        let bytes = std::fs::read(library).expect("a library that ldd names");
        add(&library.to_string_lossy()[1..], 0o755, 0, tar::EntryType::Regular, &bytes);
    }
    let certificates = std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    add("etc/ssl/certs/ca-certificates.crt", 0o644, 0, tar::EntryType::Regular, &certificates);
    let users = b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
    add("etc/passwd", 0o644, 0, tar::EntryType::Regular, users);
    add("home/nonroot/", 0o700, 65532, tar::EntryType::Directory, b"");
    add("tmp/", 0o1777, 0, tar::EntryType::Directory, b"");
    import(docker, BASE, archive);
}

/// What the Dockerfile's own stage lays out, of this machine's `git`.
fn git_image(docker: &Docker) {
    let dir = tempfile::tempdir().expect("a directory");
    let laid_out = Command::new(repository().join("infra/image/git-files")).arg(dir.path()).status().expect("the script runs");
    assert!(laid_out.success());
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    archive.follow_symlinks(false);
    archive.append_dir_all("out", dir.path()).expect("an archive in memory");
    import(docker, GIT, archive);
}

fn import(docker: &Docker, name: &str, archive: tar::Builder<Vec<u8>>) {
    let bytes = archive.into_inner().expect("an archive in memory");
    let mut import = docker.command(&["import", "-", name]);
    let mut child = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("docker starts");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("docker import reads");
    assert!(child.wait().expect("docker import ends").success());
}

/// Builds the image as `make image BINARY=...` does, and says what it is.
fn build(docker: &Docker, version: &str) -> Value {
    let mut command = Command::new(repository().join("infra/image/build"));
    command.args(["--no-cache", "--quiet"]).env("DOCKER", docker.client()).env("RUNTIME_IMAGE", BASE).env("IMAGE", IMAGE);
    command.env("GIT_IMAGE", GIT);
    command.env("BINARY", binary()).env("VERSION", version).env("SOURCE_DATE_EPOCH", "1700000000");
    let output = docker.aim(&mut command).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = docker.ok(&["image", "inspect", &format!("{IMAGE}:{version}")]);
    serde_json::from_str::<Vec<Value>>(&text).expect("JSON").remove(0)
}

/// A container that is removed with the test.
struct Container<'a>(&'a Docker, String);

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // The daemon may be gone already.
        let _ = self.0.output(&["rm", "--force", &self.1]);
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the size is a result")]
fn the_image_is_small_and_reproducible_and_runs() {
    let docker = match Docker::find() {
        Ok(docker) => docker,
        Err(why) => return skipped("the_image_is_small_and_reproducible_and_runs", &format!("{why:#}")),
    };
    base_image(&docker);
    git_image(&docker);
    let (one, two) = (build(&docker, "one"), build(&docker, "two"));
    assert_eq!(one["RootFS"]["Layers"], two["RootFS"]["Layers"], "the same binary gives the same layers");
    assert_eq!(one["RootFS"]["Layers"].as_array().expect("layers").len(), 3, "the base's, git, and the binary");
    let (image, binary) = (one["Size"].as_u64().expect("a size"), std::fs::metadata(binary()).expect("a file").len());
    println!("the image has {} MiB, of which the binary is {}", image >> 20, binary >> 20);
    assert!(image - binary < 64 << 20, "beside the binary there is little");
    let config = &one["Config"];
    assert_eq!((config["User"].as_str(), config["Healthcheck"].is_null()), (Some(NONROOT), true), "{config}");
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], "one");
    assert_eq!(config["Labels"]["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");
    runs(&docker);
}

/// On a read-only file system, without a capability and without a network, as the chart has it.
fn runs(docker: &Docker) {
    let image = format!("{IMAGE}:one");
    let hardened = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp"];
    let version = docker.ok(&[&["run", "--rm"], &hardened[..], &[&image, "--version"]].concat());
    assert_eq!(version, format!("slipway {}", env!("CARGO_PKG_VERSION")));
    let home = ["--tmpfs=/home/nonroot:uid=65532"];
    let id = docker.ok(&[&["run", "--detach"], &hardened[..], &home, &[&image]].concat());
    let container = Container(docker, id);
    let started = Instant::now();
    let models = loop {
        let output = docker.output(&["exec", &container.1, "/usr/local/bin/slipway", "models"]);
        if output.status.success() {
            break String::from_utf8_lossy(&output.stdout).into_owned();
        }
        let log = docker.output(&["logs", &container.1]);
        assert!(started.elapsed() < Duration::from_secs(30), "{}", String::from_utf8_lossy(&log.stderr));
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(models.contains("builtin/rules"), "{models}");
    let processes = docker.ok(&["top", &container.1]);
    assert!(processes.lines().nth(1).is_some_and(|l| l.starts_with("65532")), "{processes}");
    git_runs(docker, &container);
    let shell = docker.output(&["exec", &container.1, "/bin/sh", "-c", "true"]);
    assert!(!shell.status.success(), "there is no shell in it");
    let stopped = docker.ok(&["stop", "--time=20", &container.1]);
    let code = docker.ok(&["inspect", "--format={{.State.ExitCode}}", &stopped]);
    assert_eq!(code, "0", "SIGTERM ends it in order");
}

/// An import from Git, for which the server starts the program; and its helper for https, which finds nobody here.
fn git_runs(docker: &Docker, container: &Container<'_>) {
    for command in [
        &["files", "import", "/etc/ssl", "--name", "shop"][..],
        &["files", "export", "shop", "/tmp/shop.bundle", "--git"],
        &["files", "import", "/tmp/shop.bundle", "--name", "again"],
    ] {
        docker.ok(&[&["exec", &container.1, "/usr/local/bin/slipway"], command].concat());
    }
    let lost = docker.output(&["exec", &container.1, "/usr/bin/git", "ls-remote", "https://127.0.0.1:9/shop.git"]);
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(said.contains("127.0.0.1") && !said.contains("remote helper"), "{said}");
}

#[test]
fn the_context_holds_all_that_the_workspace_needs() {
    let ignore = std::fs::read_to_string(repository().join("infra/image/Dockerfile.dockerignore")).unwrap();
    let kept: Vec<&str> = ignore.lines().filter_map(|l| l.strip_prefix('!')).collect();
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let path = Path::new(member.as_str().unwrap());
        assert!(kept.iter().any(|k| path.starts_with(k)), "the image cannot be built without {}", path.display());
    }
    for file in ["Cargo.toml", "Cargo.lock", "tests/*/main.rs"] {
        assert!(kept.contains(&file), "{file}");
    }
    let targets = std::fs::read_to_string(repository().join("slipway/Cargo.toml")).unwrap();
    for line in targets.lines().filter(|l| l.starts_with("path = \"../")) {
        let path = line.trim_start_matches("path = \"../").trim_end_matches('"');
        let parts: Vec<&str> = path.split('/').collect();
        assert!(matches!(parts[..], ["tests", _, "main.rs"]), "the image cannot be built without {path}");
    }
}
