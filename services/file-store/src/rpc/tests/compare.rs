//! Comparing revisions.

use super::*;

async fn diff(user: &User, request: pb::DiffRevisionsRequest) -> Result<pb::DiffRevisionsResponse, Status> {
    Ok(user.client.clone().diff_revisions(user.ctx.request(request)).await?.into_inner())
}

fn between(workspace: &str, from: &str, to: &str) -> pb::DiffRevisionsRequest {
    pb::DiffRevisionsRequest {
        workspace_id: workspace.into(),
        from_revision_id: from.into(),
        to_revision_id: to.into(),
        ..Default::default()
    }
}

/// Unpacks an exported tar.gz.
fn unpack(archive: &[u8], dir: &Path) {
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(dir).unwrap();
}

fn tree(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn git_turns_one_revision_into_the_other_by_the_diff() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let ten: String = (1..=30).map(|n| format!("line {n}\n")).collect();
    let one = user
        .commit(
            &id,
            vec![
                write("values.yaml", ten.clone()),
                write("a b", "1"),
                program("run", "x\n"),
                write("gone", "1\n2\n"),
                write("e", ""),
            ],
        )
        .await;
    let changed = ten.replace("line 5\n", "five\n").replace("line 25\n", "");
    let two = user
        .commit(
            &id,
            vec![
                write("values.yaml", changed),
                write("a b", "2\n"),
                delete("gone"),
                write("new/é", "n"),
                delete("e"),
                write("e2", ""),
            ],
        )
        .await;
    for (from, to) in [(&one, &two), (&two, &one)] {
        let files = diff(&user, between(&id, &from.id, &to.id)).await.unwrap().files;
        assert!(files.iter().all(|f| !f.binary) && files.is_sorted_by(|a, b| a.path < b.path));
        let (dir, expected) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        unpack(&user.export(&id, &from.id, pb::ArchiveFormat::TarGz).await.unwrap(), dir.path());
        unpack(&user.export(&id, &to.id, pb::ArchiveFormat::TarGz).await.unwrap(), expected.path());
        let patch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(patch.path(), files.iter().map(|f| f.unified.as_str()).collect::<String>()).unwrap();
        let git = std::process::Command::new("git").current_dir(dir.path()).arg("apply").arg(patch.path()).output().unwrap();
        assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
        assert_eq!(tree(dir.path()), tree(expected.path()));
    }
    let values =
        diff(&user, between(&id, &one.id, "")).await.unwrap().files.into_iter().find(|f| f.path == "values.yaml").unwrap();
    assert_eq!((values.status(), values.additions, values.deletions, values.hunks.len()), (pb::FileStatus::Modified, 1, 2, 2));
    assert_eq!((values.hunks[0].old_start, values.hunks[0].old_lines), (2, 7));
    let none = pb::DiffRevisionsRequest { context_lines: Some(0), ..between(&id, &one.id, &two.id) };
    let values = diff(&user, none).await.unwrap().files.into_iter().find(|f| f.path == "values.yaml").unwrap();
    assert_eq!((values.hunks[1].new_start, values.hunks[1].new_lines, values.hunks[1].old_start), (0, 0, 25));
    assert!(diff(&user, between(&id, &one.id, &one.id)).await.unwrap().files.is_empty());
}

#[tokio::test]
async fn what_is_not_text_or_too_long_is_binary() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("bytes", vec![0, 1]), write("long", "a\n".repeat(400_000)), write("mode", "m")]).await;
    let changes = vec![
        write("bytes", vec![2, 0]),
        write("long", "b\n".repeat(400_000)),
        program("mode", "m"),
        write("big", "x".repeat(2 << 20)),
    ];
    user.commit(&id, changes).await;
    let files = diff(&user, between(&id, &one.id, "")).await.unwrap().files;
    let seen: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.binary, f.unified.is_empty(), f.hunks.is_empty())).collect();
    assert_eq!(
        seen,
        [("big", true, true, true), ("bytes", true, true, true), ("long", true, true, true), ("mode", false, false, true)]
    );
    assert_eq!(files[3].unified, "diff --git a/mode b/mode\nold mode 100644\nnew mode 100755\n");
}

#[tokio::test]
async fn pages_stay_below_three_mebibytes_and_go_on_where_they_ended() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("start", "")]).await;
    for n in 0..6 {
        user.commit(&id, vec![write(&format!("f{n}"), format!("{n} some text\n").repeat(60_000))]).await;
    }
    let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = diff(&user, pb::DiffRevisionsRequest { page_token: token, ..between(&id, &one.id, "") }).await.unwrap();
        assert!(page.encoded_len() <= (3 << 20) + 256, "{}", page.encoded_len());
        seen.extend(page.files.iter().map(|f| (f.path.clone(), f.additions)));
        (pages, token) = (pages + 1, page.next_page_token);
        if token.is_empty() {
            break;
        }
        // The head moves meanwhile; the comparison does not.
        user.commit(&id, vec![write("zzz", format!("{pages}"))]).await;
    }
    assert_eq!(seen, (0..6).map(|n| (format!("f{n}"), 60_000)).collect::<Vec<_>>());
    assert!(pages > 2, "{pages}");
    let small = pb::DiffRevisionsRequest { page_size: 1, ..between(&id, &one.id, "") };
    let page = diff(&user, small).await.unwrap();
    assert_eq!(page.files.len(), 1);
    let other =
        pb::DiffRevisionsRequest { page_token: page.next_page_token, context_lines: Some(1), ..between(&id, &one.id, "") };
    assert_eq!(reason(diff(&user, other).await), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn the_longest_difference_fits_into_a_message() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("start", "")]).await;
    user.commit(&id, vec![write("short-lines", "a\n".repeat(349_000)), write("empty-lines", "\n".repeat(520_000))]).await;
    let first = diff(&user, pb::DiffRevisionsRequest { page_size: 1, ..between(&id, &one.id, "") }).await.unwrap();
    let again = pb::DiffRevisionsRequest { page_size: 1, page_token: first.next_page_token.clone(), ..between(&id, &one.id, "") };
    let second = diff(&user, again).await.unwrap();
    for page in [first, second] {
        assert!(!page.files[0].binary && page.encoded_len() < 4 << 20);
    }
}
