//! Histories and the origin of lines, held against `git log --follow` and `git blame` on the same history.

use std::process::Command;

use slipway_proto::filestore::history_service_client::HistoryServiceClient;

use super::*;
use crate::model::tests_with_git::Dice;

impl User {
    async fn history(&self, request: pb::ListFileHistoryRequest) -> Result<pb::ListFileHistoryResponse, Status> {
        let mut client = HistoryServiceClient::new(self.channel.clone());
        Ok(client.list_file_history(self.ctx.request(request)).await?.into_inner())
    }

    async fn blame(&self, workspace: &str, revision: &str, path: &str) -> Result<Vec<pb::BlameRange>, Status> {
        let request = pb::BlameFileRequest { workspace_id: workspace.into(), revision_id: revision.into(), path: path.into() };
        let mut client = HistoryServiceClient::new(self.channel.clone());
        let parts: Vec<_> = client.blame_file(self.ctx.request(request)).await?.into_inner().try_collect().await?;
        let mut ranges: Vec<_> = parts.into_iter().flat_map(|part: pb::BlameFileResponse| part.ranges).collect();
        ranges.sort_by_key(|range| range.start_line);
        Ok(ranges)
    }
}

fn of(workspace: &str, path: &str) -> pb::ListFileHistoryRequest {
    pb::ListFileHistoryRequest { workspace_id: workspace.into(), path: path.into(), ..Default::default() }
}

fn shown(response: &pb::ListFileHistoryResponse) -> Vec<(u64, pb::FileStatus, &str, &str)> {
    let entry = |e: &'_ pb::FileHistoryEntry| (e.revision.as_ref().unwrap().number, e.status());
    response.entries.iter().map(|e| (entry(e).0, entry(e).1, e.path.as_str(), e.old_path.as_str())).collect()
}

#[tokio::test]
async fn a_file_is_followed_through_its_names() {
    use pb::FileStatus::{Added, Deleted, Modified, Renamed};
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let text = "one\ntwo\nthree\nfour\n";
    user.commit(&id, vec![write("a", text), write("other", "1")]).await;
    user.commit(&id, vec![write("other", "2")]).await;
    user.commit(&id, vec![write("a", text.replace("two", "TWO"))]).await;
    user.commit(&id, vec![rename("a", "dir/b")]).await;
    user.commit(&id, vec![delete("dir/b"), write("c", text.replace("two", "TWO").replace("four", "FOUR"))]).await;
    let last = user.commit(&id, vec![delete("c")]).await;
    let whole = user.history(of(&id, "c")).await.unwrap();
    let expected = [
        (6, Deleted, "c", ""),
        (5, Renamed, "c", "dir/b"),
        (4, Renamed, "dir/b", "a"),
        (3, Modified, "a", ""),
        (1, Added, "a", ""),
    ];
    assert_eq!(shown(&whole), expected);
    assert_eq!(
        (whole.entries[2].similarity, whole.entries[1].file.is_some(), whole.entries[0].file.is_some()),
        (100, true, false)
    );
    assert!((50..100).contains(&whole.entries[1].similarity));

    let mut pages = Vec::new();
    let mut request = pb::ListFileHistoryRequest { page_size: 2, ..of(&id, "c") };
    loop {
        let page = user.history(request.clone()).await.unwrap();
        assert!(page.entries.len() <= 2);
        pages.extend(page.entries);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, whole.entries);
    let older = pb::ListFileHistoryRequest { revision_id: last.parent_id, ..of(&id, "c") };
    assert_eq!(shown(&user.history(older).await.unwrap()), &expected[1..]);
    assert_eq!(reason(user.history(of(&id, "never")).await), "FILE_NOT_FOUND");
    assert_eq!(reason(User::of(&house).history(of(&id, "c")).await), "WORKSPACE_NOT_FOUND");
}

#[tokio::test]
async fn lines_have_their_revision_author_and_plan() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "1\n2\n3\n")]).await;
    let plan_id = Uuid::now_v7().to_string();
    let request = pb::CommitRevisionRequest {
        message: "second\nwith more".into(),
        plan_id: plan_id.clone(),
        ..commit(&id, &one.id, vec![write("a", "0\n1\ntwo\n3\n")])
    };
    let two = user.try_commit(request).await.unwrap();
    user.commit(&id, vec![rename("a", "b")]).await;
    let ranges = user.blame(&id, "", "b").await.unwrap();
    let lines = |r: &pb::BlameRange| (r.start_line, r.line_count, r.number, r.original_line);
    assert_eq!(ranges.iter().map(lines).collect::<Vec<_>>(), [(1, 1, 2, 1), (2, 1, 1, 1), (3, 1, 2, 3), (4, 1, 1, 3)]);
    assert_eq!((&ranges[0].plan_id, ranges[0].message.as_str(), &ranges[0].revision_id), (&plan_id, "second", &two.id));
    assert_eq!((&ranges[1].author_id, ranges[1].path.as_str()), (&user.ctx.caller.user.to_string(), "a"));
    assert!(user.blame(&id, &one.id, "a").await.unwrap().iter().all(|range| range.number == 1));
    assert_eq!(reason(user.blame(&id, "", "a").await), "FILE_NOT_FOUND");
    user.commit(&id, vec![write("binary", vec![0, 1])]).await;
    assert_eq!(reason(user.blame(&id, "", "binary").await), "FILE_NOT_TEXT");
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines that are all different, so that there is one way to tell where each comes from.
#[tokio::test]
async fn git_tells_the_same_of_a_random_history() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let directory = tempfile::tempdir().unwrap();
    git(directory.path(), &["init", "--quiet"]);
    let mut dice = Dice(4_711);
    let mut next = 0;
    let mut fresh = |count: usize| -> Vec<String> {
        (0..count)
            .map(|_| {
                next += 1;
                format!("line number {next}")
            })
            .collect()
    };
    let (mut path, mut lines) = ("file".to_owned(), fresh(30));
    for number in 1..=40 {
        let mut changes = vec![write("always", format!("{number}"))];
        if number > 1 && dice.roll(6) == 0 {
            let new = format!("d{number}/file");
            std::fs::create_dir_all(directory.path().join(&new).parent().unwrap()).unwrap();
            git(directory.path(), &["mv", &path, &new]);
            changes.push(rename(&path, &new));
            path = new;
        }
        for _ in 0..dice.roll(4) {
            let at = dice.roll(lines.len() + 1);
            let end = lines.len().min(at + dice.roll(3));
            let new = fresh(dice.roll(3));
            lines.splice(at..end, new);
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        changes.push(write(&path, text.clone()));
        user.commit(&id, changes).await;
        std::fs::write(directory.path().join(&path), text).unwrap();
        std::fs::write(directory.path().join("always"), format!("{number}")).unwrap();
        git(directory.path(), &["add", "--all"]);
        git(directory.path(), &["commit", "--quiet", "--message", &number.to_string()]);
    }
    let printed = git(directory.path(), &["blame", "--line-porcelain", &path]);
    let theirs: Vec<u64> = printed.lines().filter_map(|l| l.strip_prefix("summary ")?.parse().ok()).collect();
    let ranges = user.blame(&id, "", &path).await.unwrap();
    let ours: Vec<u64> = ranges.iter().flat_map(|r| (0..r.line_count).map(|_| r.number)).collect();
    assert_eq!(ours, theirs);
    assert!(ranges.len() > 10, "{ranges:?}");
    let printed = git(directory.path(), &["log", "--follow", "--format=%s", "--", &path]);
    let theirs: Vec<u64> = printed.lines().map(|line| line.parse().unwrap()).collect();
    let history = user.history(of(&id, &path)).await.unwrap();
    assert_eq!(shown(&history).iter().map(|entry| entry.0).collect::<Vec<_>>(), theirs);
}
