//! Audits: each inconsistency is planted, found, told apart, and mended; on the engine in process and on a server.

use futures::StreamExt as _;
use slipway_proto::embedding::audit_index_response::Event;
use slipway_proto::embedding::audit_service_client::AuditServiceClient;
use slipway_proto::embedding::{AuditFinding, AuditIndexRequest, AuditSummary, FindingKind};
use slipway_rpc::{Fault, Reason};
use slipway_storage::sea_orm::{ConnectionTrait as _, Statement};

use super::*;
use crate::index::{Point, Server, StandIn, Tenant, VectorIndex, open_for_test};
use crate::service::Source;
use crate::store::Records;

/// A service, with a hand in its engine and its database.
struct Tampered {
    world: World,
    engine: Arc<dyn VectorIndex>,
    records: Records,
    _held: Box<dyn std::any::Any + Send>,
}

impl Tampered {
    async fn start(engine: Arc<dyn VectorIndex>, held: Box<dyn std::any::Any + Send>) -> Tampered {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/embedding.db", dir.path().display());
        let parts = Parts { engine: Some(Source::Given(engine.clone())), ..Parts::default() };
        let world = World::start_with(dir, &url, FileStore::default(), Model::Counting(Arc::default()), parts).await;
        let records = Records::open(&store(&url)).await.unwrap();
        Tampered { world, engine, records, _held: held }
    }

    async fn in_process() -> Tampered {
        let (dir, engine) = open_for_test();
        Self::start(Arc::new(engine), Box::new(dir)).await
    }

    async fn on_a_server() -> Tampered {
        let stand_in = StandIn::start().await;
        let server = Server::new(&stand_in.settings()).unwrap();
        server.create().await.unwrap();
        Self::start(Arc::new(server.current().unwrap()), Box::new(stand_in)).await
    }

    async fn sql(&self, sql: &str) {
        let tx = self.records.begin().await.unwrap();
        let backend = tx.store().backend();
        tx.conn().execute_raw(Statement::from_string(backend, sql)).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn audit(&self, workspace: Option<Uuid>, repair: bool) -> (Vec<AuditFinding>, AuditSummary) {
        let workspace_id = workspace.map(|id| id.to_string()).unwrap_or_default();
        let request = ctx(project(1)).request(AuditIndexRequest { workspace_id, repair });
        let stream = AuditServiceClient::new(self.world.channel.clone()).audit_index(request).await.unwrap().into_inner();
        let steps: Vec<_> = tokio::time::timeout(PATIENCE, stream.collect()).await.expect("the stream ends");
        let (mut findings, mut summary) = (Vec::new(), None);
        for (step, at) in steps.into_iter().zip(1..) {
            let step = step.unwrap();
            assert_eq!(step.sequence, at);
            match step.event.unwrap() {
                Event::Finding(finding) => findings.push(finding),
                Event::Workspace(_) => {}
                Event::Summary(all) => summary = Some(all),
            }
        }
        (findings, summary.expect("the summary is last"))
    }

    /// Finds exactly these, mends them, and finds nothing more.
    async fn finds_and_mends(&self, workspace: Uuid, expected: &[(FindingKind, &str)]) {
        let told = |findings: &[AuditFinding]| findings.iter().map(|f| (f.kind(), f.path.clone())).collect::<Vec<_>>();
        let expected: Vec<_> = expected.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect();
        let (found, summary) = self.audit(Some(workspace), false).await;
        assert_eq!(told(&found), expected);
        assert_eq!((summary.finding_count, summary.repaired_count), (expected.len() as u64, 0));
        assert!(found.iter().all(|f| !f.repaired && !f.detail.is_empty()));
        let (mended, summary) = self.audit(Some(workspace), true).await;
        assert_eq!(told(&mended), expected);
        assert!(mended.iter().all(|f| f.repaired), "{mended:?}");
        assert_eq!(summary.repaired_count, expected.len() as u64);
        let (left, _) = self.audit(None, false).await;
        assert_eq!(told(&left), [], "nothing is left");
    }
}

async fn every_inconsistency_is_found_and_mended(t: &Tampered) {
    let (p, w) = (project(1), Uuid::now_v7());
    let tenant = Tenant { project: p, workspace: w };
    t.world.commit(p, w, &chart()).await;
    t.world.hybrid(p, w, 1).await;
    assert_eq!(t.audit(Some(w), false).await.0, [], "what was built fits together");
    let readme = || async {
        let points = t.engine.points(tenant, t.engine.ids(tenant, false).await.unwrap()).await.unwrap();
        points.into_iter().find(|point| point.path == "README.md").unwrap()
    };
    let victim = readme().await;

    // Chunks that are gone.
    t.engine.remove(tenant, 99, vec![victim.id]).await.unwrap();
    t.finds_and_mends(w, &[(FindingKind::ChunksMissing, "README.md")]).await;
    assert!(readme().await.text == victim.text);

    // Chunks of no file, of one that there is and one that there is not.
    let orphan = |path: &str, ordinal| Point {
        id: tenant.point_id(path, &victim.blob, ordinal),
        path: path.to_owned(),
        vector: Some(vector_of("orphan")),
        ..victim.clone()
    };
    t.engine.upsert(tenant, 1, vec![orphan("README.md", 77), orphan("gone.md", 0)]).await.unwrap();
    t.finds_and_mends(w, &[(FindingKind::ChunksOrphaned, "README.md"), (FindingKind::ChunksOrphaned, "gone.md")]).await;

    // Chunks that carry another's path.
    let wrong = Point { path: "values.yaml".to_owned(), vector: Some(vector_of("x")), ..victim.clone() };
    t.engine.erase(vec![victim.id]).await.unwrap();
    t.engine.upsert(tenant, 99, vec![wrong]).await.unwrap();
    t.finds_and_mends(w, &[(FindingKind::ChunksWrong, "README.md")]).await;

    // Chunks that are marked as another project's, and would be found there.
    let thief = Tenant { project: project(2), workspace: w };
    t.engine.erase(vec![victim.id]).await.unwrap();
    t.engine.upsert(thief, 99, vec![Point { vector: Some(vector_of("x")), ..victim.clone() }]).await.unwrap();
    t.finds_and_mends(w, &[(FindingKind::TenantWrong, "README.md")]).await;
    assert!(t.engine.ids(thief, false).await.unwrap().is_empty(), "nothing is left with the other project");
    t.world.hybrid(p, w, 1).await;

    // Vectors that are gone.
    t.engine.erase(vec![victim.id]).await.unwrap();
    t.engine.upsert(tenant, 1, vec![victim.clone()]).await.unwrap();
    t.finds_and_mends(w, &[(FindingKind::VectorsMissing, "README.md")]).await;
    t.sql("UPDATE workspace_index SET vector_count = 1").await;
    t.finds_and_mends(w, &[(FindingKind::VectorsMissing, "")]).await;

    // Records that are wrong.
    t.sql("UPDATE workspace_index SET chunk_count = chunk_count + 1").await;
    t.finds_and_mends(w, &[(FindingKind::CountMismatch, ""), (FindingKind::VectorsMissing, "")][..1]).await;
    t.sql("UPDATE index_file SET blob = 'other' WHERE path = 'logo.png'").await;
    t.finds_and_mends(w, &[(FindingKind::FileMismatch, "logo.png")]).await;
    t.sql("DELETE FROM index_file WHERE path = 'logo.png'").await;
    t.finds_and_mends(w, &[(FindingKind::CountMismatch, ""), (FindingKind::FileMismatch, "logo.png")]).await;

    // A head whose event was lost.
    t.world.files.commit(p, w, &[("only.md", "the newest content")]);
    t.finds_and_mends(w, &[(FindingKind::StaleRevision, "")]).await;
    assert_eq!(paths(&t.world.search(p, w, "newest").await.unwrap()), ["only.md"]);

    // Content that the file store has lost: found, not mended.
    t.world.files.lose("only.md");
    let (found, summary) = t.audit(Some(w), true).await;
    assert_eq!(
        found.iter().map(|f| (f.kind(), f.path.as_str(), f.repaired)).collect::<Vec<_>>(),
        [(FindingKind::BlobMissing, "only.md", false)]
    );
    assert_eq!((summary.finding_count, summary.repaired_count), (1, 0));
    t.world.files.find_again();

    // A workspace that is gone, and what is left of one without a record.
    t.world.files.delete(p, w);
    t.finds_and_mends(w, &[(FindingKind::DanglingWorkspace, "")]).await;
    assert!(t.engine.ids(tenant, false).await.unwrap().is_empty());
    t.engine.upsert(tenant, 1, vec![victim]).await.unwrap();
    t.finds_and_mends(w, &[(FindingKind::ChunksOrphaned, "")]).await;
    let request = ctx(p).request(AuditIndexRequest { workspace_id: w.to_string(), repair: true });
    let refused = AuditServiceClient::new(t.world.channel.clone()).audit_index(request).await.err().unwrap();
    assert_eq!(Fault::from_status(&refused).reason(), Reason::IndexNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_every_inconsistency_is_found_and_mended() {
    let tampered = Tampered::in_process().await;
    every_inconsistency_is_found_and_mended(&tampered).await;
    tampered.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_every_inconsistency_is_found_and_mended() {
    let tampered = Tampered::on_a_server().await;
    every_inconsistency_is_found_and_mended(&tampered).await;
    tampered.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_stays_in_its_project() {
    let t = Tampered::in_process().await;
    let (mine, theirs) = (Uuid::now_v7(), Uuid::now_v7());
    t.world.commit(project(1), mine, &chart()).await;
    t.world.commit(project(2), theirs, &chart()).await;
    t.world.hybrid(project(1), mine, 1).await;
    t.world.hybrid(project(2), theirs, 1).await;
    let (found, summary) = t.audit(None, true).await;
    assert_eq!((found.len(), summary.workspace_count), (0, 1));
    let request = ctx(project(1)).request(AuditIndexRequest { workspace_id: theirs.to_string(), repair: true });
    let refused = AuditServiceClient::new(t.world.channel.clone()).audit_index(request).await.err().unwrap();
    assert_eq!(Fault::from_status(&refused).reason(), Reason::IndexNotFound);
    assert!(!t.world.search(project(2), theirs, "gateway").await.unwrap().hits.is_empty());
    t.world.stop().await;
}
