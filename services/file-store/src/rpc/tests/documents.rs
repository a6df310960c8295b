//! Documents through the API, with a worker that counts: how readers fare with real ones is shown from outside.

use std::os::unix::fs::PermissionsExt as _;

use slipway_proto::filestore::document_service_client::DocumentServiceClient;

use super::garbage::{delete_workspace, grace};
use super::*;

/// Reads everything, adds a line to `count`, and says what it read; what begins with `bad` it refuses.
const WORKER: &str =
    "#!/bin/sh\necho x >> DIR/count\nread -r line\ncase $line in bad*) echo no good >&2; exit 65;; esac\necho $2: $line\n";

impl House {
    fn hire(&self) {
        let (dir, worker) = (self.place.dir.path(), self.place.dir.path().join("worker"));
        std::fs::write(&worker, WORKER.replace("DIR", dir.to_str().unwrap())).unwrap();
        std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn read_count(&self) -> usize {
        std::fs::read_to_string(self.place.dir.path().join("count")).unwrap_or_default().lines().count()
    }
}

impl User {
    async fn text(&self, workspace: &str, path: &str) -> Result<String, Status> {
        let request = pb::GetDocumentTextRequest { workspace_id: workspace.into(), path: path.into(), ..Default::default() };
        let mut client = DocumentServiceClient::new(self.channel.clone());
        Ok(client.get_document_text(self.ctx.request(request)).await?.into_inner().text)
    }
}

#[tokio::test]
async fn a_document_is_read_once_and_its_text_leaves_with_it() {
    let house = House::with(Settings { gc: grace(60), ..Settings::default() }).await;
    let user = User::of(&house);
    let workspace = user.workspace("w").await.id;
    let files =
        || vec![write("a.pdf", "one\n"), write("b/same.pdf", "one\n"), write("same.docx", "one\n"), write("c.odt", "bad\n")];
    user.commit(&workspace, files()).await;
    let status = user.text(&workspace, "a.pdf").await.unwrap_err();
    assert_eq!(reason(Err::<(), _>(status)), "INTERNAL", "there is no worker yet, which is not kept");
    house.hire();
    for _ in 0..2 {
        assert_eq!(user.text(&workspace, "a.pdf").await.unwrap(), "pdf: one\n");
        assert_eq!(user.text(&workspace, "b/same.pdf").await.unwrap(), "pdf: one\n");
        assert_eq!(user.text(&workspace, "same.docx").await.unwrap(), "office: one\n");
        let refused = user.text(&workspace, "c.odt").await.unwrap_err();
        assert_eq!(refused.message(), "the document cannot be read: no good");
    }
    assert_eq!(house.read_count(), 3, "by content and format");

    delete_workspace(&user, &workspace).await.unwrap();
    for _ in 0..2 {
        house.clock.advance(Duration::from_secs(3_605));
        user.collect().await.unwrap();
    }
    let again = user.workspace("again").await.id;
    user.commit(&again, files()).await;
    assert_eq!(user.text(&again, "a.pdf").await.unwrap(), "pdf: one\n");
    assert_eq!(house.read_count(), 4);
}
