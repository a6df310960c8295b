//! Listing, reading and searching files.

use super::*;

async fn search(user: &User, request: pb::SearchFilesRequest) -> Result<pb::SearchFilesResponse, Status> {
    Ok(user.client.clone().search_files(user.ctx.request(request)).await?.into_inner())
}

#[tokio::test]
async fn files_are_listed_by_path_glob_and_page() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let all = |request: pb::ListFilesRequest| user.list_files(pb::ListFilesRequest { workspace_id: id.clone(), ..request });
    let empty = all(pb::ListFilesRequest::default()).await.unwrap();
    assert_eq!((empty.files.len(), empty.revision_id.as_str(), empty.next_page_token.as_str()), (0, "", ""));
    let one = user.commit(&id, ["templates/b.yaml", "a.yaml", "templates/x/c.yaml", "z.txt"].map(|p| write(p, p)).to_vec()).await;
    let paths = |page: &pb::ListFilesResponse| page.files.iter().map(|f| f.path.clone()).collect::<Vec<_>>();
    let listed = all(pb::ListFilesRequest::default()).await.unwrap();
    assert_eq!(paths(&listed), ["a.yaml", "templates/b.yaml", "templates/x/c.yaml", "z.txt"]);
    assert_eq!(listed.revision_id, one.id);
    assert_eq!(listed.files[0].hash, blake3::hash(b"a.yaml").to_hex().to_string());
    let glob = |glob: &str| pb::ListFilesRequest { glob: glob.into(), ..Default::default() };
    assert_eq!(paths(&all(glob("templates/**/*.yaml")).await.unwrap()), ["templates/b.yaml", "templates/x/c.yaml"]);
    assert_eq!(paths(&all(glob("*.yaml")).await.unwrap()), ["a.yaml"]);
    assert_eq!(reason(all(glob("[")).await), "PATTERN_INVALID");

    // A listing goes on in the revision it began with.
    let first = all(pb::ListFilesRequest { page_size: 2, ..Default::default() }).await.unwrap();
    user.commit(&id, vec![delete("z.txt"), delete("templates/x/c.yaml"), write("m", "")]).await;
    let next = pb::ListFilesRequest { page_size: 2, page_token: first.next_page_token.clone(), ..Default::default() };
    let second = all(next.clone()).await.unwrap();
    assert_eq!((paths(&second), &second.revision_id), (vec!["templates/x/c.yaml".to_owned(), "z.txt".to_owned()], &one.id));
    assert_eq!(second.next_page_token, "");
    assert_eq!(reason(all(pb::ListFilesRequest { glob: "*".into(), ..next.clone() }).await), "PAGE_TOKEN_INVALID");
    let other = user.workspace("other").await.id;
    assert_eq!(reason(user.list_files(pb::ListFilesRequest { workspace_id: other, ..next }).await), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn long_listings_fit_into_messages() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let deep = vec!["d".repeat(250); 4].join("/");
    for batch in 0..4 {
        user.commit(&id, (0..1_000).map(|n| write(&format!("{deep}/{batch}-{n}"), "")).collect()).await;
    }
    let (mut token, mut seen, mut pages) = (String::new(), 0, 0);
    loop {
        let request =
            pb::ListFilesRequest { workspace_id: id.clone(), page_size: 5_000, page_token: token, ..Default::default() };
        let page = user.list_files(request).await.unwrap();
        assert!(page.encoded_len() <= 3 << 20);
        (seen, pages, token) = (seen + page.files.len(), pages + 1, page.next_page_token);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (4_000, 2));
}

#[tokio::test]
async fn a_file_streams_whatever_its_size() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let large: Vec<u8> = (0..3 << 20).map(|n: u32| (n % 253) as u8).collect();
    let one = user.commit(&id, vec![write("empty", ""), program("large", ""), write("small", "x")]).await;
    user.commit(&id, vec![write("large", large.clone())]).await;
    assert_eq!(user.read(&id, "", "empty").await.unwrap().1, b"");
    let (entry, content) = user.read(&id, "", "large").await.unwrap();
    assert!(content == large);
    assert_eq!((entry.path.as_str(), entry.size, entry.executable), ("large", 3 << 20, true));
    assert_eq!(user.read(&id, &one.id, "large").await.unwrap().1, b"");
    let (code, reason, facts) = refusal(user.read(&id, "", "none").await);
    assert_eq!((code, reason.as_str(), facts["path"].as_str()), (Code::NotFound, "FILE_NOT_FOUND", "none"));
    assert_eq!(super::reason(user.read(&user.workspace("e").await.id, "", "x").await), "REVISION_NOT_FOUND");
}

#[tokio::test]
async fn lines_are_found_by_path_and_line() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let find = |pattern: &str| pb::SearchFilesRequest { workspace_id: id.clone(), pattern: pattern.into(), ..Default::default() };
    let nothing = search(&user, find("x")).await.unwrap();
    assert_eq!((nothing.matches.len(), nothing.revision_id.as_str()), (0, ""));
    let one = user
        .commit(
            &id,
            vec![
                write("b.yaml", "replicas: 1\r\nimage: a.b\nreplicas: 2"),
                write("a/x.txt", "REPLICAS: 9\n"),
                write("bytes", vec![0xff, b'r', b'e', b'p', b'l', b'i', b'c', b'a', b's']),
                write("with-nul", b"replicas\0".to_vec()),
            ],
        )
        .await;
    let lines = |found: &pb::SearchFilesResponse| {
        found.matches.iter().map(|m| (m.path.clone(), m.line, m.text.clone())).collect::<Vec<_>>()
    };
    let hit = |path: &str, line, text: &str| (path.to_owned(), line, text.to_owned());
    let found = search(&user, find("replicas")).await.unwrap();
    assert_eq!(lines(&found), [hit("b.yaml", 1, "replicas: 1"), hit("b.yaml", 3, "replicas: 2")]);
    assert!(!found.truncated && found.revision_id == one.id);
    let any = search(&user, pb::SearchFilesRequest { ignore_case: true, ..find("replicas") }).await.unwrap();
    assert_eq!(lines(&any)[0], hit("a/x.txt", 1, "REPLICAS: 9"));
    let cut = search(&user, pb::SearchFilesRequest { limit: 1, ..find("replicas") }).await.unwrap();
    assert!(cut.truncated && cut.matches.len() == 1);
    let exact = search(&user, pb::SearchFilesRequest { limit: 2, ..find("replicas") }).await.unwrap();
    assert!(!exact.truncated && exact.matches.len() == 2);
    assert_eq!(search(&user, find("a.b")).await.unwrap().matches.len(), 1);
    let regex = search(&user, pb::SearchFilesRequest { regex: true, ..find("^\\w+: \\d$") }).await.unwrap();
    assert_eq!(regex.matches.len(), 3);
    let glob = search(&user, pb::SearchFilesRequest { regex: true, glob: "a/**".into(), ..find(".") }).await.unwrap();
    assert_eq!(glob.matches.len(), 1);
    for bad in ["(", "(a{1000}){1000}", "[z-a]", "(?<x"] {
        assert_eq!(reason(search(&user, pb::SearchFilesRequest { regex: true, ..find(bad) }).await), "PATTERN_INVALID", "{bad}");
    }
    assert_eq!(reason(search(&user, pb::SearchFilesRequest { glob: "{".into(), ..find("x") }).await), "PATTERN_INVALID");
}
