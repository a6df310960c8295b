//! What the search RPCs answer, and to whom.

use slipway_proto::embedding::{EmbedTextsRequest, SelectFilesRequest};
use slipway_rpc::{Fault, Reason};

use super::*;

fn reason(status: &Status) -> Reason {
    Fault::from_status(status).reason()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_finds_no_index_and_no_chunk() {
    let world = World::start(Model::Counting(Arc::default())).await;
    let (mine, theirs) = ((project(1), Uuid::now_v7()), (project(2), Uuid::now_v7()));
    world.commit(mine.0, mine.1, &[("secret.md", "the password is swordfish")]).await;
    world.commit(theirs.0, theirs.1, &[("other.md", "nothing to see, no password")]).await;
    world.hybrid(mine.0, mine.1, 1).await;
    world.hybrid(theirs.0, theirs.1, 1).await;
    assert_eq!(reason(&world.index(theirs.0, mine.1).await.unwrap_err()), Reason::IndexNotFound);
    assert_eq!(reason(&world.search(theirs.0, mine.1, "password").await.unwrap_err()), Reason::IndexNotFound);
    let select = SelectFilesRequest { workspace_id: mine.1.to_string(), request: "password".to_owned(), limit: 5 };
    let refused = world.client().select_files(ctx(theirs.0).request(select)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::IndexNotFound);
    for mode in [SearchMode::Hybrid, SearchMode::Lexical, SearchMode::Dense] {
        let request = SearchRequest {
            workspace_id: theirs.1.to_string(),
            query: "password swordfish".to_owned(),
            limit: 100,
            mode: mode.into(),
            ..SearchRequest::default()
        };
        let found = world.search_with(theirs.0, request).await.unwrap();
        for hit in &found.hits {
            let sum: f64 = hit.parts.iter().map(|p| p.value).sum();
            assert!(!hit.parts.is_empty() && (sum - hit.score).abs() < 1e-9, "{hit:?}");
            assert_eq!(hit.parts.iter().any(|p| p.name == "dense"), hit.dense_rank > 0, "{hit:?}");
        }
        assert_eq!((paths(&found), found.mode()), (vec!["other.md"], mode));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_and_limits_narrow_a_search() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    world.ready(p, w, 1).await;
    let search = |glob: &str, limit| {
        let request = SearchRequest {
            workspace_id: w.to_string(),
            query: "gateway ingress demo".to_owned(),
            limit,
            glob: glob.to_owned(),
            ..SearchRequest::default()
        };
        world.search_with(p, request)
    };
    let all = search("", 100).await.unwrap();
    assert!(paths(&all).contains(&"values.yaml"));
    let templates = search("templates/**", 100).await.unwrap();
    assert!(!templates.hits.is_empty() && paths(&templates).iter().all(|p| p.starts_with("templates/")));
    assert!(search("nowhere/*", 100).await.unwrap().hits.is_empty());
    assert_eq!(search("", 2).await.unwrap().hits.len(), 2);
    assert_eq!(reason(&search("[", 2).await.unwrap_err()), Reason::PatternInvalid);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_names_the_templates_that_use_it() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    let files = [
        ("shop/values.yaml", "# quokkas at the door\ndoor:\n  quokkas: 1\nimage: x\n"),
        ("shop/templates/_helpers.tpl", "{{- define \"shop.wombat\" -}}\nwombat: true\n{{- end }}\n"),
        ("shop/templates/door.yaml", "kind: Service\nports: {{ .Values.door.quokkas }}\n{{ include \"shop.wombat\" . }}\n"),
        ("shop/templates/wall.yaml", "kind: ConfigMap\nimage: {{ .Values.image }}\n"),
        ("other/templates/door.yaml", "kind: Service\nports: {{ .Values.door.quokkas }}\n{{ include \"shop.wombat\" . }}\n"),
    ];
    world.commit(p, w, &files).await;
    world.ready(p, w, 1).await;
    for (query, title) in [("quokkas at the door", "values door"), ("wombat", "define shop.wombat")] {
        let found = world.search(p, w, query).await.unwrap();
        let hit = found.hits.iter().find(|hit| hit.title == title).unwrap_or_else(|| panic!("{title} is not in {found:?}"));
        assert_eq!(hit.used_by, ["shop/templates/door.yaml"], "{title}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_request_selects_the_values_and_the_templates_of_its_kinds() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    let index = world.ready(p, w, 1).await;
    let request = "run three gateway replicas and put an ingress on slipway.example.com";
    let select = SelectFilesRequest { workspace_id: w.to_string(), request: request.to_owned(), limit: 5 };
    let selected = world.client().select_files(ctx(p).request(select)).await.unwrap().into_inner();
    assert_eq!(selected.revision_id, index.revision_id);
    let files: Vec<_> = selected.files.iter().map(|f| f.path.as_str()).collect();
    for needed in ["values.yaml", "templates/ingress.yaml", "templates/gateway/deployment.yaml"] {
        assert!(files.contains(&needed), "{needed} is not in {files:?}");
    }
    for file in &selected.files {
        let sum: f64 = file.parts.iter().map(|p| p.value).sum();
        assert!((sum - file.score).abs() < 1e-9, "{file:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_workspaces_and_bad_requests_are_refused() {
    let world = World::start(Model::None).await;
    let unknown = Uuid::now_v7();
    assert_eq!(reason(&world.index(project(1), unknown).await.unwrap_err()), Reason::IndexNotFound);
    assert_eq!(reason(&world.search(project(1), unknown, "x").await.unwrap_err()), Reason::IndexNotFound);
    assert_eq!(reason(&world.search(project(1), unknown, "").await.unwrap_err()), Reason::FieldInvalid);
    assert_eq!(reason(&world.search(project(1), unknown, "a\0b").await.unwrap_err()), Reason::FieldInvalid);
    let embed = EmbedTextsRequest { texts: vec!["x".to_owned()] };
    let refused = world.client().embed_texts(ctx(project(1)).request(embed)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::EmbedderUnavailable);
    assert!(refused.message().contains("make demo"), "{}", refused.message());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_embedded_in_order() {
    let world = World::start(Model::Counting(Arc::default())).await;
    let texts: Vec<_> = (0..100).map(|n| format!("text number{n}")).collect();
    let request = ctx(project(1)).request(EmbedTextsRequest { texts: texts.clone() });
    let response = world.client().embed_texts(request).await.unwrap().into_inner();
    assert_eq!(response.model, "all-MiniLM-L6-v2");
    let values: Vec<_> = response.embeddings.into_iter().map(|e| e.values).collect();
    assert_eq!(values, texts.iter().map(|t| vector_of(t)).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_model_fails_words_still_find_and_the_index_says_so() {
    let embedder = Arc::new(CountingEmbedder::default());
    let world = World::start(Model::Counting(embedder.clone())).await;
    let (p, w) = (project(1), Uuid::now_v7());
    embedder.failing.store(true, Ordering::SeqCst);
    world.commit(p, w, &chart()).await;
    let index = world.ready(p, w, 1).await;
    assert_eq!((index.mode(), index.embedded_count), (SearchMode::Lexical, 0));
    let why = &index.mode_reason;
    assert!(why.contains("have their vector") || why.contains("out of order"), "{why}");
    assert!(paths(&world.search(p, w, "gateway replicas").await.unwrap())[..2].contains(&"values.yaml"));
    embedder.failing.store(false, Ordering::SeqCst);
    world.hybrid(p, w, 1).await;
    world.stop().await;
}

/// The files under a directory, by their paths in it.
fn files_under(root: &std::path::Path) -> Vec<(String, String)> {
    let (mut dirs, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_chart_gives_the_files_that_its_changes_need() {
    let chart = files_under(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/helm/slipway"));
    let chart: Vec<_> = chart.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let models = [Some(Model::None), crate::testing::weights().map(Model::Files)];
    for (model, hybrid) in models.into_iter().flatten().zip([false, true]) {
        let world = World::start(model).await;
        let (p, w) = (project(1), Uuid::now_v7());
        world.commit(p, w, &chart).await;
        if hybrid {
            world.hybrid(p, w, 1).await
        } else {
            world.ready(p, w, 1).await
        };
        let cases: [(&str, &[&str]); 5] = [
            (
                "run three gateway replicas and put an ingress on slipway.example.com",
                &["values.yaml", "templates/deployment.yaml", "templates/ingress.yaml"],
            ),
            ("enable autoscaling between two and ten pods", &["values.yaml", "templates/horizontalpodautoscaler.yaml"]),
            ("raise the memory limit to 2Gi", &["values.yaml", "templates/deployment.yaml"]),
            ("deny egress with a network policy", &["values.yaml", "templates/networkpolicy.yaml"]),
            ("keep the data on a larger disk", &["values.yaml", "templates/persistentvolumeclaim.yaml"]),
        ];
        for (request, needed) in cases {
            let select = SelectFilesRequest { workspace_id: w.to_string(), request: request.to_owned(), limit: 10 };
            let selected = world.client().select_files(ctx(p).request(select)).await.unwrap().into_inner().files;
            let found: Vec<_> = selected.iter().map(|f| (f.path.as_str(), f.score, f.reason.as_str())).collect();
            for path in needed {
                assert!(found.iter().any(|f| f.0 == *path), "{request} (hybrid: {hybrid}) misses {path}: {found:#?}");
            }
        }
        world.stop().await;
    }
}
