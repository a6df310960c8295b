//! Merges held against what git makes of the same histories.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use blake3::Hash;

use super::super::{Print, RenameSearch};
use super::*;

const WORDS: [&str; 24] = [
    "image",
    "replicas",
    "service",
    "port",
    "name",
    "labels",
    "ingress",
    "host",
    "path",
    "tls",
    "secret",
    "volume",
    "mount",
    "limits",
    "cpu",
    "memory",
    "probe",
    "command",
    "args",
    "env",
    "value",
    "key",
    "annotations",
    "selector",
];

/// A generator whose numbers depend on the seed alone.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn line(&mut self) -> String {
        // A few lines are everywhere, as they are in real files.
        match self.roll(8) {
            0 => "{{- end }}".to_owned(),
            1 => "spec:".to_owned(),
            _ => format!("  {}{}: {}", WORDS[self.roll(24)], self.roll(40), self.roll(1_000)),
        }
    }

    fn text(&mut self, lines: usize) -> Vec<String> {
        (0..lines).map(|_| self.line()).collect()
    }
}

/// Paths, with lines and whether they are programs.
type Files = BTreeMap<String, (Vec<String>, bool)>;

fn tree(dice: &mut Dice) -> Files {
    (0..3 + dice.roll(5))
        .map(|n| {
            let lines = 8 + dice.roll(30);
            (format!("d{}/file{n}.yaml", dice.roll(3)), (dice.text(lines), dice.roll(6) == 0))
        })
        .collect()
}

/// What somebody may do to a tree.
fn change(files: &mut Files, dice: &mut Dice, who: usize) {
    for _ in 0..1 + dice.roll(4) {
        let Some(path) = files.keys().nth(dice.roll(files.len().max(1))).cloned() else { return };
        match dice.roll(16) {
            0 => drop(files.remove(&path)),
            1 => {
                let lines = 5 + dice.roll(10);
                files.insert(format!("new/{who}-{}", dice.roll(50)), (dice.text(lines), false));
            }
            2 => {
                let lines = 3 + dice.roll(4);
                files.insert(format!("new/both{}", dice.roll(3)), (dice.text(lines), false));
            }
            3 | 4 => {
                let (mut lines, mode) = files.remove(&path).unwrap();
                if dice.roll(2) == 0 {
                    edit(&mut lines, dice);
                }
                files.insert(format!("moved{}/{}", dice.roll(2), path.rsplit('/').next().unwrap()), (lines, mode));
            }
            5 => files.get_mut(&path).unwrap().1 ^= true,
            _ => edit(&mut files.get_mut(&path).unwrap().0, dice),
        }
    }
}

fn edit(lines: &mut Vec<String>, dice: &mut Dice) {
    let at = dice.roll(lines.len() + 1);
    let end = lines.len().min(at + dice.roll(4));
    let count = dice.roll(4);
    let new = dice.text(count);
    lines.splice(at..end, new);
}

fn is_open(lines: &[String]) -> bool {
    lines.len() % 7 == 3 || lines.is_empty()
}

/// A text as a file has it; now and then without an end of its last line.
fn bytes(lines: &[String]) -> Vec<u8> {
    let text = lines.join("\n");
    if is_open(lines) { text.into_bytes() } else { (text + "\n").into_bytes() }
}

/// The files, all ending with their last line's end: what else counts is another thing in newer versions of git.
fn closed(mut files: Files) -> Files {
    for (lines, _) in files.values_mut() {
        while is_open(lines) {
            lines.push("end".to_owned());
        }
    }
    files
}

/// A manifest of files, and their contents.
fn manifest(files: &Files, contents: &mut HashMap<Hash, Vec<u8>>) -> Manifest {
    let entries = files.iter().map(|(path, (lines, executable))| {
        let content = bytes(lines);
        let hash = blake3::hash(&content);
        let size = content.len() as u64;
        contents.insert(hash, content);
        FileEntry { path: path.clone(), size, hash, executable: *executable }
    });
    Manifest::new(entries.collect()).unwrap()
}

fn renames(old: &Manifest, new: &Manifest, contents: &HashMap<Hash, Vec<u8>>, empty: bool) -> Vec<Rename> {
    let search = RenameSearch::new(old, new, empty);
    let prints = search.to_compare().iter().map(|entry| (entry.hash, Print::of(&contents[&entry.hash]))).collect();
    search.finish(&prints)
}

/// Our merge, as the service makes it; `None` when there are conflicts.
fn merge(base: &Files, ours: &Files, theirs: &Files) -> Option<Vec<(FileEntry, Vec<u8>)>> {
    let mut contents = HashMap::new();
    let [base, ours, theirs] = [base, ours, theirs].map(|files| manifest(files, &mut contents));
    let (our, their) = (renames(&base, &ours, &contents, false), renames(&base, &theirs, &contents, false));
    let plan = plan(&base, &ours, &theirs, &our, &their);
    let mut merged: Vec<_> = plan.files.into_iter().map(|entry| (entry.clone(), contents[&entry.hash].clone())).collect();
    let mut clean = plan.conflicts.is_empty();
    for file in plan.contents {
        let [base, ours, theirs] = [&file.base, &file.ours, &file.theirs].map(|entry| contents[&entry.hash].as_slice());
        match merge_lines(base, ours, theirs) {
            Merged::Clean(content) => {
                merged.push((FileEntry { path: file.path, executable: file.executable, ..file.base }, content));
            }
            Merged::Conflict(lines) => {
                assert!(!lines.is_empty());
                clean = false;
            }
        }
    }
    clean.then_some(merged)
}

/// Histories, as `git fast-import` takes them.
#[derive(Default)]
pub(in crate::model) struct Import(Vec<u8>);

impl Import {
    pub(in crate::model) fn commit<'a>(
        &mut self,
        name: &str,
        parent: Option<&str>,
        files: impl Iterator<Item = (&'a str, bool, &'a [u8])>,
    ) {
        write!(self.0, "commit refs/heads/{name}\ncommitter t <t@t> 1 +0000\ndata 1\nx\n").unwrap();
        if let Some(parent) = parent {
            writeln!(self.0, "from refs/heads/{parent}\ndeleteall").unwrap();
        }
        for (path, executable, content) in files {
            let mode = if executable { "100755" } else { "100644" };
            write!(self.0, "M {mode} inline {path}\ndata {}\n", content.len()).unwrap();
            self.0.extend_from_slice(content);
            self.0.push(b'\n');
        }
    }

    fn files(&mut self, name: &str, parent: Option<&str>, files: &Files) {
        let contents: Vec<_> = files.iter().map(|(path, (lines, mode))| (path.as_str(), *mode, bytes(lines))).collect();
        self.commit(name, parent, contents.iter().map(|(path, mode, content)| (*path, *mode, content.as_slice())));
    }

    pub(in crate::model) fn run(&self, repository: &Path) {
        let mut command = Command::new("git");
        command.arg("-C").arg(repository).args(["fast-import", "--quiet", "--force"]);
        let mut git = command.stdin(Stdio::piped()).spawn().unwrap();
        git.stdin.take().unwrap().write_all(&self.0).unwrap();
        assert!(git.wait().unwrap().success());
    }
}

pub(in crate::model) fn git(repository: &Path, arguments: &[&str]) -> (bool, String) {
    // A folder that was renamed is nothing to us; git would move what the other side added to it.
    let settings = ["-c", "merge.directoryRenames=false"];
    let output = Command::new("git").arg("-C").arg(repository).args(settings).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(in crate::model) fn repository() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    assert!(git(directory.path(), &["init", "--quiet", "--bare"]).0);
    directory
}

#[test]
fn random_histories_merge_as_git_merges_them() {
    const HISTORIES: usize = 400;
    let mut dice = Dice(20_261_125);
    let repository = repository();
    let mut import = Import::default();
    let mut merges = Vec::new();
    for n in 0..HISTORIES {
        let base = tree(&mut dice);
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        change(&mut ours, &mut dice, 1);
        change(&mut theirs, &mut dice, 2);
        import.files(&format!("b{n}"), None, &base);
        import.files(&format!("o{n}"), Some(&format!("b{n}")), &ours);
        import.files(&format!("t{n}"), Some(&format!("b{n}")), &theirs);
        let merged = merge(&base, &ours, &theirs);
        if let Some(files) = &merged {
            let files = files.iter().map(|(entry, content)| (entry.path.as_str(), entry.executable, content.as_slice()));
            import.commit(&format!("m{n}"), None, files);
        }
        merges.push(merged.is_some());
    }
    import.run(repository.path());

    let (mut clean, mut report) = (0, String::new());
    for (n, ours) in merges.iter().enumerate() {
        let (theirs, printed) = git(repository.path(), &["merge-tree", "--write-tree", &format!("o{n}"), &format!("t{n}")]);
        let tree = printed.lines().next().unwrap_or_default();
        let same =
            *ours == theirs && (!ours || git(repository.path(), &["rev-parse", &format!("m{n}^{{tree}}")]).1.trim() == tree);
        if !same {
            let _ = writeln!(report, "history {n}: ours is clean: {ours}, git's is clean: {theirs}\n{printed}");
        }
        clean += usize::from(theirs);
    }
    assert!(clean > HISTORIES / 4 && clean < HISTORIES * 9 / 10, "{clean} of {HISTORIES} are clean: that shows little");
    assert!(report.is_empty(), "{report}");
}

#[test]
fn random_renames_are_those_that_git_finds() {
    const TREES: usize = 200;
    let mut dice = Dice(7_777);
    let repository = repository();
    let mut import = Import::default();
    let mut found = Vec::new();
    for n in 0..TREES {
        let old = tree(&mut dice);
        let mut new = old.clone();
        for _ in 0..3 {
            change(&mut new, &mut dice, 1);
        }
        let [old, new] = [old, new].map(closed);
        import.files(&format!("a{n}"), None, &old);
        import.files(&format!("b{n}"), None, &new);
        let mut contents = HashMap::new();
        let [old, new] = [&old, &new].map(|files| manifest(files, &mut contents));
        let renames = renames(&old, &new, &contents, true);
        let shown = |r: &Rename| format!("R{:03}\t{}\t{}", r.similarity, r.from.path, r.to.path);
        found.push(renames.iter().map(shown).collect::<Vec<_>>());
    }
    import.run(repository.path());
    for (n, ours) in found.iter().enumerate() {
        let (_, printed) = git(repository.path(), &["diff-tree", "-r", "-M", "--raw", &format!("a{n}"), &format!("b{n}")]);
        let theirs: Vec<_> = printed.lines().filter_map(|line| line.find(" R").map(|at| line[at + 1..].to_owned())).collect();
        assert_eq!(*ours, theirs, "trees {n}");
    }
    assert!(found.iter().flatten().count() > TREES / 2);
}

fn entry(path: &str, content: &str) -> FileEntry {
    let hash = blake3::hash(content.as_bytes());
    FileEntry { path: path.to_owned(), size: content.len() as u64, hash, executable: false }
}

#[test]
fn lines_that_touch_clash_and_others_do_not() {
    let merge = |ours: &str, theirs: &str| match merge_lines(b"1\n2\n3\n4\n5\n", ours.as_bytes(), theirs.as_bytes()) {
        Merged::Clean(text) => Ok(String::from_utf8(text).unwrap()),
        Merged::Conflict(clashes) => Err(clashes),
    };
    assert_eq!(merge("one\n2\n3\n4\n5\n", "1\n2\nthree\n4\n5\n"), Ok("one\n2\nthree\n4\n5\n".into()));
    assert_eq!(merge("one\n2\n3\n4\n5\n", "one\n2\n3\n4\n5"), Ok("one\n2\n3\n4\n5".into()));
    let lines = |start, lines: &[&str]| Lines { start, lines: lines.iter().map(|line| (*line).to_owned()).collect() };
    let clash = |base, ours, theirs| Err(vec![LineClash { base, ours, theirs }]);
    assert_eq!(
        merge("one\n2\n3\n4\n5\n", "1\ntwo\n3\n4\n5\n"),
        clash(lines(1, &["1", "2"]), lines(1, &["one", "2"]), lines(1, &["1", "two"]))
    );
    assert_eq!(merge("0\n1\n2\n3\n5\n", "1\n2\n3\nfour\n5\n"), clash(lines(4, &["4"]), lines(5, &[]), lines(4, &["four"])),);
    assert_eq!(merge("", "1\n2\n3\n4\n5\n"), Ok(String::new()));
}

#[test]
fn what_cannot_be_brought_together_is_named() {
    let tree = |files: &[(&str, &str)]| Manifest::new(files.iter().map(|(p, c)| entry(p, c)).collect()).unwrap();
    let base = tree(&[("a", "1"), ("b", "2")]);
    let kinds = |ours: &[(&str, &str)], theirs: &[(&str, &str)], our: &[Rename], their: &[Rename]| {
        let plan = plan(&base, &tree(ours), &tree(theirs), our, their);
        plan.conflicts.into_iter().map(|c| (c.path, c.kind)).collect::<Vec<_>>()
    };
    let rename = |to: &str| vec![Rename { from: entry("a", "1"), to: entry(to, "1"), similarity: 100 }];
    let named = |path: &str, kind| vec![(path.to_owned(), kind)];
    let (b, both) = (("b", "2"), [("a", "1"), ("b", "2")]);
    assert_eq!(kinds(&[("a", "x"), b], &[b], &[], &[]), named("a", ConflictKind::ModifyDelete));
    assert_eq!(kinds(&[both[0], b, ("n", "1")], &[both[0], b, ("n", "2")], &[], &[]), named("n", ConflictKind::AddAdd));
    assert_eq!(kinds(&[("c", "1"), b], &[("d", "1"), b], &rename("c"), &rename("d")), named("a", ConflictKind::RenameRename));
    assert_eq!(kinds(&[("c", "1"), b], &[b], &rename("c"), &[]), named("a", ConflictKind::ModifyDelete));
    assert_eq!(kinds(&[("c", "1"), b], &[both[0], b, ("c", "9")], &rename("c"), &[]), named("c", ConflictKind::AddAdd));
    assert!(kinds(&[("c", "1"), b], &[("a", "x"), b], &rename("c"), &[]).is_empty());
    assert!(kinds(&[b], &[b], &[], &[]).is_empty());
}
