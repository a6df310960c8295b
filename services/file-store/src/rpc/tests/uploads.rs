//! Uploads: they go on where they broke off, become exactly what was sent, and leave nothing behind.

use slipway_testkit::s3::S3;

use super::*;
use crate::UploadSettings;
use crate::blobs::PIECE_BYTES;

const MIB: usize = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// Somebody with the client of uploads.
pub(super) struct Sender {
    user: User,
    client: TransferServiceClient<Channel>,
}

impl Sender {
    pub(super) fn of(house: &House, user: &User) -> Self {
        Self { user: user.clone(), client: house.transfer.clone() }
    }

    pub(super) async fn begin(&self, request: pb::BeginUploadRequest) -> Result<pb::Upload, Status> {
        Ok(self.client.clone().begin_upload(self.user.ctx.request(request)).await?.into_inner().upload.unwrap())
    }

    pub(super) async fn send(&self, id: &str, offset: u64, content: &[u8]) -> Result<pb::Upload, Status> {
        let header = pb::UploadPartHeader { upload_id: id.into(), offset };
        let mut parts = vec![part(pb::upload_part_request::Part::Header(header))];
        let chunk = |chunk: &[u8]| part(pb::upload_part_request::Part::Chunk(Bytes::copy_from_slice(chunk)));
        parts.extend(content.chunks(MIB).map(chunk));
        self.send_parts(futures::stream::iter(parts)).await
    }

    pub(super) async fn send_parts(
        &self,
        parts: impl futures::Stream<Item = pb::UploadPartRequest> + Send + 'static,
    ) -> Result<pb::Upload, Status> {
        Ok(self.client.clone().upload_part(self.user.ctx.request(parts)).await?.into_inner().upload.unwrap())
    }

    pub(super) async fn get(&self, id: &str) -> Result<pb::Upload, Status> {
        let request = pb::GetUploadRequest { upload_id: id.into() };
        Ok(self.client.clone().get_upload(self.user.ctx.request(request)).await?.into_inner().upload.unwrap())
    }

    pub(super) async fn finish(&self, id: &str) -> Result<pb::Upload, Status> {
        let request = pb::FinishUploadRequest { upload_id: id.into() };
        Ok(self.client.clone().finish_upload(self.user.ctx.request(request)).await?.into_inner().upload.unwrap())
    }

    pub(super) async fn link(&self, id: &str, content_type: &str) -> Result<pb::CreateUploadLinkResponse, Status> {
        let (upload_id, content_type) = (id.into(), content_type.into());
        let request = pb::CreateUploadLinkRequest { upload_id, content_type, ttl_seconds: 0 };
        Ok(self.client.clone().create_upload_link(self.user.ctx.request(request)).await?.into_inner())
    }

    async fn delete(&self, id: &str) -> Result<(), Status> {
        let request = pb::DeleteUploadRequest { upload_id: id.into() };
        self.client.clone().delete_upload(self.user.ctx.request(request)).await.map(drop)
    }

    /// All of a content at once.
    pub(super) async fn upload(&self, content: &[u8]) -> pb::Upload {
        let id = self.begin(sized(content.len())).await.unwrap().id;
        self.send(&id, 0, content).await.unwrap();
        self.finish(&id).await.unwrap()
    }
}

pub(super) fn part(part: pb::upload_part_request::Part) -> pb::UploadPartRequest {
    pb::UploadPartRequest { part: Some(part) }
}

pub(super) fn sized(size: usize) -> pb::BeginUploadRequest {
    pb::BeginUploadRequest { size: size as u64, ..Default::default() }
}

pub(super) fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

/// A change that writes a content that is there.
pub(super) fn place(path: &str, hash: &str) -> pb::FileChange {
    let write = pb::WriteFile { path: path.into(), content_hash: hash.into(), ..Default::default() };
    pb::FileChange { change: Some(pb::file_change::Change::Write(write)) }
}

fn hex(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn stored(house: &House, hash: &str) -> Option<Bytes> {
    house.collector.blobs().fetch(blake3::Hash::from_hex(hash).unwrap()).await.ok()
}

fn pieces(house: &House) -> usize {
    let uploads = house.dir().join("blobs/uploads");
    std::fs::read_dir(uploads).map_or(0, |dirs| dirs.map(|dir| archives::files_below(&dir.unwrap().path())).sum())
}

async fn houses() -> Vec<House> {
    let mut houses = vec![House::start().await];
    if let Some(server) = S3::shared().await {
        houses.push(House::with(buckets::on(server)).await);
    }
    houses
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    for house in houses().await {
        let user = User::of(&house);
        let sender = Sender::of(&house, &user);
        let content = bytes(3 * PIECE_BYTES + 5);
        let upload = sender.begin(sized(content.len())).await.unwrap();
        assert_eq!((upload.committed_bytes, upload.content_hash.as_str()), (0, ""));
        // The first sender loses its connection after one piece and a half.
        let header = pb::UploadPartHeader { upload_id: upload.id.clone(), offset: 0 };
        let chunks: Vec<_> = content[..PIECE_BYTES * 3 / 2].chunks(MIB).map(Bytes::copy_from_slice).collect();
        let parts = [part(pb::upload_part_request::Part::Header(header))].into_iter();
        let parts = parts.chain(chunks.into_iter().map(|chunk| part(pb::upload_part_request::Part::Chunk(chunk))));
        let parts = futures::StreamExt::chain(futures::stream::iter(parts.collect::<Vec<_>>()), futures::stream::pending());
        let broken = tokio::spawn({
            let sender = Sender::of(&house, &user);
            async move { sender.send_parts(parts).await }
        });
        while sender.get(&upload.id).await.unwrap().committed_bytes == 0 {
            tokio::task::yield_now().await;
        }
        broken.abort();
        let _ = broken.await;

        let house = house.restart().await;
        let sender = Sender::of(&house, &user);
        let at = sender.get(&upload.id).await.unwrap().committed_bytes;
        assert_eq!(at, PIECE_BYTES as u64);
        let (code, reason, facts) = refusal(sender.send(&upload.id, 0, &content).await);
        assert_eq!((code, reason.as_str()), (Code::Aborted, "UPLOAD_OFFSET_WRONG"));
        assert_eq!(facts["committed_bytes"], at.to_string());
        let (code, reason, facts) = refusal(sender.finish(&upload.id).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "UPLOAD_INCOMPLETE"));
        assert_eq!(facts["committed_bytes"], at.to_string());
        // The rest in two calls, of which the first ends inside of a piece.
        let start = PIECE_BYTES + 7;
        let more = sender.send(&upload.id, at, &content[PIECE_BYTES..start]).await.unwrap();
        assert_eq!(more.committed_bytes, start as u64);
        sender.send(&upload.id, start as u64, &content[start..]).await.unwrap();
        let finished = sender.finish(&upload.id).await.unwrap();
        assert_eq!(finished.content_hash, hex(&content));
        assert_eq!(sender.finish(&upload.id).await.unwrap(), finished, "finishing is idempotent");
        assert!(stored(&house, &finished.content_hash).await.unwrap() == content);
        assert_eq!(pieces(&house), 0, "pieces go with the finishing");
    }
}

#[tokio::test]
async fn checksums_are_kept() {
    for house in houses().await {
        let user = User::of(&house);
        let sender = Sender::of(&house, &user);
        let content = bytes(PIECE_BYTES + 1);
        let (right, wrong) = (hex(&content), hex(b"other"));
        let (sha, other) = (sha256(&content), sha256(b"other"));
        for (blake3, sha256, expected) in [
            (right.clone(), String::new(), None),
            (String::new(), sha.clone(), None),
            (right.clone(), sha, None),
            (wrong.clone(), String::new(), Some("blake3")),
            (String::new(), other.clone(), Some("sha256")),
            (right.clone(), other, Some("sha256")),
        ] {
            let request = pb::BeginUploadRequest { blake3, sha256, ..sized(content.len()) };
            let id = sender.begin(request).await.unwrap().id;
            sender.send(&id, 0, &content).await.unwrap();
            let finished = sender.finish(&id).await;
            let Some(expected) = expected else {
                assert_eq!(finished.unwrap().content_hash, right);
                continue;
            };
            let (code, reason, facts) = refusal(finished);
            assert_eq!(
                (code, reason.as_str(), facts["checksum"].as_str()),
                (Code::FailedPrecondition, "UPLOAD_CORRUPT", expected)
            );
        }
        assert!(stored(&house, &wrong).await.is_none(), "nothing lies under a name that it does not have");
        let empty = sender.upload(b"").await;
        assert_eq!((empty.content_hash, empty.size), (hex(b""), 0));
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let house = House::start().await;
    let user = User::of(&house);
    let sender = Sender::of(&house, &user);
    assert_eq!(fields(sender.begin(sized((1 << 30) + 1)).await), ["size"]);
    let bad = pb::BeginUploadRequest { blake3: "x".into(), sha256: "y".into(), ..Default::default() };
    assert_eq!(fields(sender.begin(bad).await), ["blake3", "sha256"]);
    let id = sender.begin(sized(10)).await.unwrap().id;
    assert_eq!(fields(sender.send(&id, 0, &bytes(11)).await), ["chunk"]);
    assert_eq!(sender.get(&id).await.unwrap().committed_bytes, 0);
    assert_eq!(fields(sender.send_parts(futures::stream::iter(vec![])).await), ["header"]);
    let stranger = Sender::of(&house, &User::of(&house));
    assert_eq!(reason(stranger.get(&id).await), "UPLOAD_NOT_FOUND");
    assert_eq!(reason(stranger.send(&id, 0, b"x").await), "UPLOAD_NOT_FOUND");
    assert_eq!(reason(stranger.finish(&id).await), "UPLOAD_NOT_FOUND");
    assert_eq!(reason(stranger.delete(&id).await), "UPLOAD_NOT_FOUND");
    sender.send(&id, 0, &bytes(10)).await.unwrap();
    sender.delete(&id).await.unwrap();
    assert_eq!((reason(sender.get(&id).await), pieces(&house)), ("UPLOAD_NOT_FOUND".to_owned(), 0));
}

#[tokio::test]
async fn a_project_has_so_many_uploads() {
    let uploads = UploadSettings { max_open: 2, ..Default::default() };
    let house = House::with(Settings { uploads, ..Settings::default() }).await;
    let user = User::of(&house);
    let sender = Sender::of(&house, &user);
    let once = pb::BeginUploadRequest { request_id: "once".into(), ..sized(1) };
    let first = sender.begin(once.clone()).await.unwrap();
    assert_eq!(sender.begin(once.clone()).await.unwrap(), first);
    assert_eq!(reason(sender.begin(pb::BeginUploadRequest { size: 2, ..once }).await), "REQUEST_ID_REUSED");
    sender.begin(sized(1)).await.unwrap();
    let (code, reason, facts) = refusal(sender.begin(sized(1)).await);
    assert_eq!((code, reason.as_str(), facts["limit"].as_str()), (Code::FailedPrecondition, "UPLOADS_FULL", "2"));
    Sender::of(&house, &User::of(&house)).begin(sized(1)).await.unwrap();
    house.clock.advance(25 * HOUR);
    sender.begin(sized(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_send_at_once_mix_nothing_up() {
    let house = House::start().await;
    let user = User::of(&house);
    let content = bytes(2 * PIECE_BYTES + 3);
    let id = Sender::of(&house, &user).begin(sized(content.len())).await.unwrap().id;
    let senders = (0..4).map(|n| {
        let (sender, id) = (Sender::of(&house, &user), id.clone());
        // Cut otherwise, so that their pieces would not fit together.
        let content = content[..content.len() - n].to_vec();
        tokio::spawn(async move { sender.send(&id, 0, &content).await.map(drop) })
    });
    let sent = futures::future::join_all(senders).await;
    assert!(sent.iter().any(|sent| sent.as_ref().unwrap().is_ok()));
    let sender = Sender::of(&house, &user);
    let at = sender.get(&id).await.unwrap().committed_bytes;
    sender.send(&id, at, &content[at as usize..]).await.unwrap();
    assert_eq!(sender.finish(&id).await.unwrap().content_hash, hex(&content));
}

#[tokio::test]
async fn a_finished_upload_keeps_its_content_until_it_expires() {
    let mut houses = Vec::new();
    for house in self::houses().await {
        let gc = crate::GcSettings { interval_minutes: 0, grace_minutes: 0 };
        let settings = Settings { gc, ..house.settings.clone() };
        houses.push(House::with(settings).await);
    }
    for house in houses {
        let user = User::of(&house);
        let sender = Sender::of(&house, &user);
        let half = sender.begin(sized(PIECE_BYTES * 2)).await.unwrap().id;
        sender.send(&half, 0, &bytes(PIECE_BYTES)).await.unwrap();
        let finished = sender.upload(&bytes(PIECE_BYTES + 9)).await;
        assert_eq!(user.collect().await.unwrap().removed, 0);
        assert!(stored(&house, &finished.content_hash).await.is_some());
        sender.send(&half, PIECE_BYTES as u64, &bytes(5)).await.unwrap();
        house.clock.advance(25 * HOUR);
        assert_eq!(reason(sender.get(&finished.id).await), "UPLOAD_NOT_FOUND");
        assert_eq!(user.collect().await.unwrap().removed, 1);
        assert!(stored(&house, &finished.content_hash).await.is_none());
        assert_eq!((reason(sender.get(&half).await), pieces(&house)), ("UPLOAD_NOT_FOUND".to_owned(), 0));
    }
}

async fn range(user: &User, workspace: &str, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Status> {
    let request = pb::ReadFileRequest { workspace_id: workspace.into(), path: path.into(), offset, length, ..Default::default() };
    Ok(user.read_request(request).await?.1)
}

#[tokio::test]
async fn what_was_uploaded_becomes_a_file_and_can_be_read_in_part() {
    for house in houses().await {
        let user = User::of(&house);
        let sender = Sender::of(&house, &user);
        let id = user.workspace("w").await.id;
        let content = bytes(64 * MIB + 1);
        let hash = sender.upload(&content).await.content_hash;
        let revision = user.commit(&id, vec![place("big", &hash), write("small", "x")]).await;
        assert_eq!((revision.file_count, revision.total_bytes), (2, 64 * MIB as u64 + 2));
        assert!(user.read(&id, "", "big").await.unwrap().1 == content);
        for (offset, length) in [(0, 1), (5, 3 * MIB as u64), (64 * MIB as u64, 0), (64 * MIB as u64 + 1, 9), (7, u64::MAX)] {
            let end = if length == 0 { u64::MAX } else { length.saturating_add(offset) }.min(content.len() as u64);
            let part = range(&user, &id, "big", offset, length).await.unwrap();
            assert!(part == content[offset as usize..end as usize], "{offset} {length}");
        }
        assert_eq!(fields(range(&user, &id, "big", content.len() as u64 + 1, 0).await), ["offset"]);
        // What a file has may be written elsewhere, when the upload is long gone.
        house.clock.advance(30 * HOUR);
        user.commit(&id, vec![place("copy", &hash)]).await;
        let head = user.get(&id).await.unwrap().head_revision_id;
        let refused = user.try_commit(commit(&id, &head, vec![place("x", &hex(b"nobody has this"))])).await;
        let (code, reason, facts) = refusal(refused);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CONTENT_NOT_FOUND"));
        assert_eq!(facts["content_hash"], hex(b"nobody has this"));
    }
}

#[tokio::test]
async fn a_hash_gives_nobody_anothers_content() {
    let house = House::start().await;
    let (user, stranger) = (User::of(&house), User::of(&house));
    let (id, theirs) = (user.workspace("w").await.id, stranger.workspace("w").await.id);
    let hash = Sender::of(&house, &user).upload(b"mine").await.content_hash;
    user.commit(&id, vec![place("a", &hash)]).await;
    for changes in [vec![place("a", &hash)], vec![write("b", "b"), place("a", &hash)]] {
        assert_eq!(reason(stranger.try_commit(commit(&theirs, "", changes)).await), "CONTENT_NOT_FOUND");
    }
    let header = pb::ImportArchiveHeader { content_hash: hash.clone(), ..header(&theirs, "", pb::ArchiveFormat::Zip) };
    assert_eq!(reason(stranger.import(header, b"").await), "CONTENT_NOT_FOUND");
    let both =
        pb::WriteFile { path: "a".into(), content_hash: "x".into(), content: Bytes::from_static(b"y"), ..Default::default() };
    let both = pb::FileChange { change: Some(pb::file_change::Change::Write(both)) };
    let wrong = user.try_commit(commit(&id, "", vec![both])).await;
    assert_eq!(fields(wrong), ["changes[0].write.content", "changes[0].write.content_hash"]);
}

#[tokio::test]
async fn an_archive_may_be_uploaded_before_it_is_imported() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let archive = archives::tar_gz(&[("x/a", b"1"), ("x/b", b"2")]);
    let content_hash = Sender::of(&house, &user).upload(&archive).await.content_hash;
    let header = pb::ImportArchiveHeader { content_hash, ..header(&id, "", pb::ArchiveFormat::TarGz) };
    assert_eq!(fields(user.import(header.clone(), &archive).await), ["chunk"]);
    user.import(header, b"").await.unwrap();
    assert_eq!(user.paths(&id, "").await, ["a", "b"]);
}

/// The most memory that this process ever had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "what was measured is to be read")]
#[ignore = "moves a GiB; to be run alone, since it looks at the memory of the process"]
async fn a_gib_goes_up_and_down_in_bounded_memory() {
    const SIZE: usize = 1 << 30;
    let (house, before) = (House::start().await, peak());
    let user = User::of(&house);
    let sender = Sender::of(&house, &user);
    let id = user.workspace("w").await.id;
    let block = |n: usize| Bytes::from((0..MIB).map(|at| (at.wrapping_mul(31) ^ n) as u8).collect::<Vec<_>>());
    let mut hasher = blake3::Hasher::new();
    for n in 0..SIZE / MIB {
        hasher.update(&block(n));
    }
    let blake3 = hasher.finalize().to_hex().to_string();
    let began = std::time::Instant::now();
    let upload = sender.begin(pb::BeginUploadRequest { blake3: blake3.clone(), ..sized(SIZE) }).await.unwrap();
    let header = pb::UploadPartHeader { upload_id: upload.id.clone(), offset: 0 };
    let parts = [part(pb::upload_part_request::Part::Header(header))].into_iter();
    let parts = parts.chain((0..SIZE / MIB).map(move |n| part(pb::upload_part_request::Part::Chunk(block(n)))));
    sender.send_parts(futures::stream::iter(parts)).await.unwrap();
    let sent = began.elapsed();
    sender.finish(&upload.id).await.unwrap();
    let finished = began.elapsed();
    user.commit(&id, vec![place("big", &blake3)]).await;
    let began = std::time::Instant::now();
    let request = pb::ReadFileRequest { workspace_id: id.clone(), path: "big".into(), ..Default::default() };
    let mut parts = user.client.clone().read_file(user.ctx.request(request)).await.unwrap().into_inner();
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
    while let Some(message) = parts.message().await.unwrap() {
        if let Some(pb::read_file_response::Part::Chunk(chunk)) = message.part {
            hasher.update(&chunk);
            size += chunk.len();
        }
    }
    let grown = peak() - before;
    println!("1 GiB: sent {sent:?}, finished {finished:?}, read {:?}, memory grew by {grown} MiB at most", began.elapsed());
    assert_eq!((size, hasher.finalize().to_hex().to_string()), (SIZE, blake3));
    assert!(grown < 128, "memory grew by {grown} MiB");
}
