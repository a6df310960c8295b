//! Edits of overlays through the API: what is made, what is told of it, and what a refusal says.

use slipway_proto::filestore::edit::Edit as Said;
use slipway_proto::filestore::edit_service_client::EditServiceClient;

use super::*;

impl User {
    async fn edit(&self, overlay: &str, edits: Vec<Said>) -> Result<pb::EditOverlayResponse, Status> {
        let edits = edits.into_iter().map(|edit| pb::Edit { edit: Some(edit) }).collect();
        self.try_edit(pb::EditOverlayRequest { overlay_id: overlay.into(), edits, ..Default::default() }).await
    }

    async fn try_edit(&self, request: pb::EditOverlayRequest) -> Result<pb::EditOverlayResponse, Status> {
        Ok(EditServiceClient::new(self.channel.clone()).edit_overlay(self.ctx.request(request)).await?.into_inner())
    }

    async fn view(&self, workspace: &str, overlay: &str, path: &str, lines: (u32, u32)) -> Result<pb::ViewFileResponse, Status> {
        let request = pb::ViewFileRequest {
            workspace_id: workspace.into(),
            overlay_id: overlay.into(),
            path: path.into(),
            first_line: lines.0,
            last_line: lines.1,
            ..Default::default()
        };
        Ok(EditServiceClient::new(self.channel.clone()).view_file(self.ctx.request(request)).await?.into_inner())
    }
}

fn replace(path: &str, old: &str, new: &str) -> Said {
    Said::Replace(pb::ReplaceText { path: path.into(), old_text: old.into(), new_text: new.into(), replace_all: false })
}

const VALUES: &str = "replicas: 1\nimage:\n  tag: a\nsidecar:\n  tag: a\n";

/// A workspace with a chart, and an overlay of it.
async fn begun(user: &User) -> (String, String) {
    let workspace = user.workspace("w").await.id;
    user.commit(&workspace, vec![write("values.yaml", VALUES), write("logo.png", "\u{0}PNG")]).await;
    let overlay = user.overlay(&workspace, "").await.unwrap();
    (workspace, overlay.id)
}

#[tokio::test]
async fn edits_change_the_overlay_and_say_where() {
    let house = House::start().await;
    let user = User::of(&house);
    let (workspace, overlay) = begun(&user).await;
    let text = "values.yaml\n<<<<<<< SEARCH\nimage:\n  tag: a\n=======\nimage:\n  tag: b\n>>>>>>> REPLACE\n";
    let edits = vec![
        replace("values.yaml", "replicas: 1", "replicas: 3"),
        Said::Text(pb::EditText { text: text.into(), ..Default::default() }),
        Said::Create(pb::WriteText { path: "NOTES.txt".into(), text: "hello\n".into() }),
        Said::Rename(pb::RenameFile { path: "logo.png".into(), new_path: "icon.png".into(), ..Default::default() }),
    ];
    let edited = user.edit(&overlay, edits).await.unwrap();
    let told: Vec<_> = edited.results.iter().map(|r| (r.path.as_str(), r.r#match(), r.first_line, r.last_line)).collect();
    let exact = pb::EditMatch::Exact;
    assert_eq!(
        told,
        [("values.yaml", exact, 1, 1), ("values.yaml", exact, 3, 3), ("NOTES.txt", exact, 1, 1), ("icon.png", exact, 0, 0)]
    );
    assert!(edited.results[0].unified.contains("-replicas: 1\n+replicas: 3\n"), "{}", edited.results[0].unified);
    let files = user.overlay_files(&workspace, &overlay).await.unwrap();
    let files: Vec<_> = files.iter().map(|(entry, content)| (entry.path.as_str(), content.as_slice())).collect();
    let values = VALUES.replace("replicas: 1", "replicas: 3").replacen("tag: a", "tag: b", 1);
    assert_eq!(files, [("NOTES.txt", &b"hello\n"[..]), ("icon.png", b"\0PNG"), ("values.yaml", values.as_bytes())]);
    let view = user.view(&workspace, &overlay, "values.yaml", (2, 3)).await.unwrap();
    let lines: Vec<_> = view.lines.iter().map(|l| (l.number, l.text.as_str())).collect();
    assert_eq!((lines, view.total_lines, view.truncated), (vec![(2, "image:"), (3, "  tag: b")], 5, false));
    // The head is as it was.
    assert_eq!(user.view(&workspace, "", "values.yaml", (0, 0)).await.unwrap().lines[0].text, "replicas: 1");
}

#[tokio::test]
async fn a_refusal_changes_nothing_and_says_what_would_help() {
    let house = House::start().await;
    let user = User::of(&house);
    let (workspace, overlay) = begun(&user).await;
    let before = user.get_overlay(&overlay).await.unwrap();
    let cases = [
        (replace("values.yaml", "  tag: a", "  tag: b"), "EDIT_AMBIGUOUS", vec![("count", "2"), ("lines", "3, 5")]),
        (replace("values.yaml", "replicaz: 1", "x: 1"), "EDIT_NOT_FOUND", vec![("nearest", "1-1 82%")]),
        (replace("values.yaml", "replicas", "replicas"), "EDIT_MALFORMED", vec![]),
        (replace("logo.png", "PNG", "x"), "FILE_NOT_TEXT", vec![("path", "logo.png")]),
        (replace("other.yaml", "a", "b"), "FILE_NOT_FOUND", vec![("path", "other.yaml")]),
        (replace("../values.yaml", "a", "b"), "PATH_INVALID", vec![]),
        (Said::Text(pb::EditText { text: "Nothing to do.".into(), ..Default::default() }), "EDIT_MALFORMED", vec![("line", "1")]),
        (Said::Create(pb::WriteText { path: "values.yaml".into(), text: "x".into() }), "CHANGE_CONFLICT", vec![]),
        (
            Said::Insert(pb::InsertText { path: "values.yaml".into(), after_line: 9, text: "x".into() }),
            "EDIT_MALFORMED",
            vec![("line", "9")],
        ),
    ];
    for (edit, wanted, metadata) in cases {
        let shown = format!("{edit:?}");
        let first = replace("values.yaml", "replicas: 1", "replicas: 3");
        let (_, refused, facts) = refusal(user.edit(&overlay, vec![first, edit]).await);
        assert_eq!(refused, wanted, "{shown}: {facts:?}");
        for (key, value) in metadata {
            assert_eq!(facts.get(key).map(String::as_str), Some(value), "{shown}: {facts:?}");
        }
    }
    assert_eq!(user.get_overlay(&overlay).await.unwrap(), before);
    assert_eq!(reason(user.view(&workspace, &overlay, "values.yaml", (6, 0)).await), "EDIT_MALFORMED");
}

#[tokio::test]
async fn edits_under_one_request_id_are_made_once_and_a_stale_etag_not_at_all() {
    let house = House::start().await;
    let user = User::of(&house);
    let (workspace, overlay) = begun(&user).await;
    let etag = user.get_overlay(&overlay).await.unwrap().etag;
    let insert = Said::Insert(pb::InsertText { path: "values.yaml".into(), after_line: 0, text: "# top".into() });
    let request = pb::EditOverlayRequest {
        overlay_id: overlay.clone(),
        edits: vec![pb::Edit { edit: Some(insert) }],
        expected_etag: etag,
        request_id: "r-1".into(),
    };
    let first = user.try_edit(request.clone()).await.unwrap();
    let again = user.try_edit(request.clone()).await.unwrap();
    assert_eq!((first.overlay, first.results.len(), again.results.len()), (again.overlay, 1, 0));
    assert_eq!(reason(user.try_edit(pb::EditOverlayRequest { request_id: String::new(), ..request }).await), "ETAG_MISMATCH");
    assert_eq!(user.view(&workspace, &overlay, "values.yaml", (1, 1)).await.unwrap().total_lines, 6);
    let stranger = User::of(&house);
    assert_eq!(reason(stranger.edit(&overlay, vec![replace("values.yaml", "image:", "picture:")]).await), "OVERLAY_NOT_FOUND");
    assert_eq!(reason(stranger.view(&workspace, "", "values.yaml", (1, 1)).await), "WORKSPACE_NOT_FOUND");
}
