//! Tests of what is read out of a history.

use super::*;

struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.run(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.arg("-C").arg(self.0.path()).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }

    fn commit(&self, subject: &str, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.run(&["add", "--all"]);
        self.run(&["commit", "--quiet", "-m", subject]);
    }

    fn history(&self) -> History {
        History::open(self.0.path()).unwrap()
    }
}

/// Two charts, one of them with a chart inside, and a directory that is none.
fn charts() -> Repository {
    let repository = Repository::new();
    repository.commit(
        "Start",
        &[
            ("charts/a/Chart.yaml", "name: a"),
            ("charts/a/values.yaml", "x: 1"),
            ("charts/a/charts/inner/Chart.yaml", "name: inner"),
            ("charts/b/Chart.yaml", "name: b"),
            ("tools/run.sh", "echo"),
        ],
    );
    repository.commit("[a] Raise the x of a (#12)", &[("charts/a/values.yaml", "x: 2")]);
    repository.commit("Change both charts", &[("charts/a/values.yaml", "x: 3"), ("charts/b/Chart.yaml", "name: b2")]);
    repository.commit("Add a file", &[("charts/b/new.yaml", "y: 1")]);
    repository.commit("Rename what is inside", &[("charts/a/charts/inner/Chart.yaml", "name: inside")]);
    repository.commit("Speak up", &[("tools/run.sh", "echo loud")]);
    repository.commit("[a] (#13)", &[("charts/a/values.yaml", "x: 4")]);
    repository
}

fn found(samples: &[Sample]) -> Vec<(&str, &str, Vec<&str>)> {
    samples.iter().map(|s| (s.package.as_str(), s.request.as_str(), s.truth.iter().map(String::as_str).collect())).collect()
}

#[test]
fn commits_of_one_package_that_only_modify_become_samples() {
    let repository = charts();
    let samples = repository.history().sample("HEAD", "", 1, 100).unwrap();
    let expected = [
        ("charts/a", "Raise the x of", vec!["values.yaml"]),
        ("charts/a", "Rename what is inside", vec!["charts/inner/Chart.yaml"]),
        ("tools", "Speak up", vec!["run.sh"]),
    ];
    assert_eq!(found(&samples), expected);
    let below = repository.history().sample("HEAD", "tools/", 1, 100).unwrap();
    assert_eq!(found(&below), [("tools", "Speak up", vec!["run.sh"])]);
}

#[test]
fn what_is_searched_is_the_state_before() {
    let repository = charts();
    let history = repository.history();
    let samples = history.sample("HEAD", "", 1, 100).unwrap();
    let files = history.files(&samples[0]).unwrap();
    let paths: Vec<_> = files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["Chart.yaml", "charts/inner/Chart.yaml", "values.yaml"]);
    let blobs: Vec<&str> = files.iter().map(|f| f.blob.as_str()).collect();
    assert_eq!(history.read(&blobs, 100).unwrap(), [&b"name: a"[..], b"name: inner", b"x: 1"]);
    assert_eq!(history.read(&blobs, 4).unwrap(), [&b""[..], b"", b"x: 1"], "what is too large is not read");
    assert_eq!(history.read(&["0".repeat(40).as_str(), blobs[2]], 100).unwrap(), [&b""[..], b"x: 1"]);
}

#[test]
fn a_seed_chooses_the_same_commits_each_time() {
    let repository = Repository::new();
    repository.commit("Start", &[("Chart.yaml", "name: x"), ("values.yaml", "n: 0")]);
    for n in 1..12 {
        let word = ["one", "two", "three"][n % 3];
        repository.commit(&format!("Change the number {word}"), &[("values.yaml", &format!("n: {n}"))]);
    }
    let draw = |seed| repository.history().sample("HEAD", "", seed, 5).unwrap();
    assert_eq!(draw(1).len(), 5);
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert!(draw(1).iter().all(|s| s.package.is_empty()), "a chart may be the whole repository");
}

#[test]
fn options_are_no_revisions_and_a_bare_repository_will_do() {
    let repository = charts();
    assert!(repository.history().sample("--output=/dev/null", "", 1, 1).is_err());
    let bare = tempfile::tempdir().unwrap();
    let to = bare.path().to_str().unwrap().to_owned();
    repository.run(&["clone", "--quiet", "--bare", ".", &to]);
    assert_eq!(History::open(bare.path()).unwrap().sample("HEAD", "", 1, 100).unwrap().len(), 3);
    assert!(History::open(Path::new("/dev/null")).is_err());
}
