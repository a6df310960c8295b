//! Commits, reads and stored bytes beside git's, on the same tree in one run. Not a test of anything that must hold: it is
//! run by `tests/bench/files`.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::model::tests_with_git::Dice;

/// How many revisions are made on the first one.
const REVISIONS: usize = 100;

fn git(directory: &Path, arguments: &[&str]) {
    let settings = ["-c", "user.name=b", "-c", "user.email=b@b", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"];
    let done = Command::new("git").current_dir(directory).args(settings).args(arguments).output().unwrap();
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn text(dice: &mut Dice) -> String {
    (0..20 + dice.roll(60)).map(|n| format!("key{n}: value {}\n", dice.roll(100_000))).collect()
}

fn path(n: usize) -> String {
    format!("charts/c{}/templates/file{n}.yaml", n / 40)
}

/// The bytes of all files, and of the blocks that they take on the disk.
fn bytes_below(directory: &Path) -> (u64, u64) {
    let (mut bytes, mut blocks) = (0, 0);
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += found.len();
                blocks += found.blocks();
            }
        }
    }
    // A block is always one of 512 bytes here, whatever the disk's is.
    (bytes, blocks * 512)
}

fn put(directory: &Path, path: &str, text: &str) {
    let target = directory.join(path);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::write(target, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn beside_git() {
    let sizes = std::env::var("SLIPWAY_BENCH_FILES").unwrap_or_else(|_| "1000 20000".to_owned());
    println!("{:>6}  {:<31} {:>10} {:>10} {:>7}", "files", "", "slipway", "git", "ratio");
    for files in sizes.split_whitespace().map(|size| size.parse::<usize>().unwrap()) {
        measure(files).await;
    }
}

async fn measure(files: usize) {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let directory = tempfile::tempdir().unwrap();
    git(directory.path(), &["init", "--quiet"]);
    let mut dice = Dice(1_234_567);
    let texts: Vec<String> = (0..files).map(|_| text(&mut dice)).collect();
    let show = |what: &str, ours: f64, theirs: f64| {
        println!("{files:>6}  {what:<31} {ours:>10.2} {theirs:>10.2} {:>7.2}", ours / theirs);
    };

    let began = Instant::now();
    for (at, part) in texts.chunks(1_000).enumerate() {
        let changes = part.iter().enumerate().map(|(n, text)| write(&path(at * 1_000 + n), text.as_str())).collect();
        user.commit(&id, changes).await;
    }
    let ours = began.elapsed().as_secs_f64();
    for (n, text) in texts.iter().enumerate() {
        put(directory.path(), &path(n), text);
    }
    let began = Instant::now();
    git(directory.path(), &["add", "--all"]);
    git(directory.path(), &["commit", "--quiet", "--message", "first"]);
    show("the first commit, s", ours, began.elapsed().as_secs_f64());

    let (mut ours, mut theirs) = (0.0, 0.0);
    for _ in 0..REVISIONS {
        let changed: Vec<(String, String)> = (0..1 + dice.roll(5)).map(|_| (path(dice.roll(files)), text(&mut dice))).collect();
        let began = Instant::now();
        user.commit(&id, changed.iter().map(|(path, text)| write(path, text.as_str())).collect()).await;
        ours += began.elapsed().as_secs_f64();
        for (path, text) in &changed {
            put(directory.path(), path, text);
        }
        let began = Instant::now();
        let names: Vec<&str> = changed.iter().map(|(path, _)| path.as_str()).collect();
        git(directory.path(), &[&["add", "--"], names.as_slice()].concat());
        git(directory.path(), &["commit", "--quiet", "--message", "more"]);
        theirs += began.elapsed().as_secs_f64();
    }
    show("a commit of 1 to 5 files, ms", ours * 1e3 / REVISIONS as f64, theirs * 1e3 / REVISIONS as f64);

    let began = Instant::now();
    let mut read = 0;
    for n in 0..files {
        read += user.read(&id, "", &path(n)).await.unwrap().1.len();
    }
    let ours = began.elapsed().as_secs_f64();
    let names: String = (0..files).map(|n| format!("HEAD:{}\n", path(n))).collect();
    std::fs::write(directory.path().join(".git/names"), names).unwrap();
    let began = Instant::now();
    let input = std::fs::File::open(directory.path().join(".git/names")).unwrap();
    let mut command = Command::new("git");
    let output = command.current_dir(directory.path()).args(["cat-file", "--batch"]).stdin(input).output().unwrap();
    let theirs = began.elapsed().as_secs_f64();
    assert!(output.stdout.len() > read);
    show("reading a file, µs", ours * 1e6 / files as f64, theirs * 1e6 / files as f64);

    let (bytes, blocks) = bytes_below(&house.dir().join("blobs"));
    let deltas = house.collector.delta_bytes().await;
    git(directory.path(), &["gc", "--quiet"]);
    let (pack, pack_blocks) = bytes_below(&directory.path().join(".git/objects"));
    show("stored after 101 revisions, KiB", (bytes + deltas) as f64 / 1024.0, pack as f64 / 1024.0);
    show("the same, on a disk, KiB", (blocks + deltas) as f64 / 1024.0, pack_blocks as f64 / 1024.0);
    println!("{files:>6}  of which rows, KiB              {:>10.2}", deltas as f64 / 1024.0);
}
