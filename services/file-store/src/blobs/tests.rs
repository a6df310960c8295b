//! What every blob store does, in a directory and in a bucket of a real S3 server; and what only one of them can suffer.

use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;

use futures::TryStreamExt as _;
use object_store::PutPayload;
use secrecy::SecretString;
use slipway_testkit::s3::{Bucket, S3};
use tempfile::TempDir;

use super::*;
use crate::settings::S3Settings;

/// A blob store, and what it stands on.
struct House {
    blobs: Blobs,
    dir: Option<TempDir>,
}

pub(crate) fn settings(bucket: &Bucket) -> S3Settings {
    // The binary does it first of all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    S3Settings {
        bucket: bucket.name.clone(),
        region: bucket.region.to_owned(),
        endpoint: bucket.endpoint.clone(),
        prefix: "some/where".to_owned(),
        access_key_id: bucket.access_key.to_owned(),
        secret_access_key: SecretString::from(bucket.secret_key),
        allow_http: true,
    }
}

/// One of each kind that this machine has.
async fn houses() -> Vec<House> {
    let mut houses: Vec<House> = [false, true].map(local).into();
    if let Some(server) = S3::shared().await {
        houses.push(House { blobs: Blobs::s3(&settings(&server.bucket().unwrap())).unwrap(), dir: None });
    }
    houses
}

fn local(durable: bool) -> House {
    let dir = tempfile::tempdir().unwrap();
    House { blobs: Blobs::local(dir.path(), durable).unwrap(), dir: Some(dir) }
}

fn content(size: usize) -> (Hash, Vec<u8>) {
    let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    (blake3::hash(&content), content)
}

fn spooled(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

#[tokio::test]
async fn what_is_put_comes_back_whole_and_in_pieces() {
    for House { blobs, dir } in houses().await {
        for size in [0, 1, 1 << 20, PART, (9 << 20) + 3] {
            let (hash, content) = content(size);
            blobs.put_file(hash, spooled(&content), 0).await.unwrap();
            blobs.put(hash, content.clone().into(), 0).await.unwrap();
            assert!(blobs.get(hash).await.unwrap() == content);
            let pieces: Vec<Bytes> = blobs.read(hash, size as u64, 0..size as u64).try_collect().await.unwrap();
            assert!(pieces.concat() == content && pieces.iter().all(|p| p.len() as u64 <= PIECE));
        }
        let missing = blake3::hash(b"never put");
        assert!(blobs.get(missing).await.unwrap_err().is_missing());
        assert!(blobs.get_range(missing, 0..1).await.unwrap_err().is_missing());
        drop(dir);
    }
}

#[tokio::test]
async fn damage_is_noticed_and_mended_by_the_next_put() {
    for House { blobs, dir } in houses().await {
        let hash = blake3::hash(b"content");
        blobs.put(hash, Bytes::from_static(b"content"), 0).await.unwrap();
        blobs.store.put(&key(&hash), PutPayload::from_static(b"c0ntent")).await.unwrap();
        assert!(matches!(blobs.get(hash).await, Err(BlobError::Damaged(_))));
        let read: Result<Vec<Bytes>, _> = blobs.read(hash, 7, 0..7).try_collect().await;
        assert!(matches!(read, Err(BlobError::Damaged(_))));
        let restarted = Blobs::new(blobs.store.clone(), blobs.place.clone());
        restarted.put(hash, Bytes::from_static(b"content"), 0).await.unwrap();
        assert_eq!(restarted.get(hash).await.unwrap(), "content");
        drop(dir);
    }
}

#[tokio::test]
async fn packed_or_not_a_content_is_the_same() {
    let lines: Vec<u8> = b"replicas: 3\n".repeat(5_000);
    let hash = blake3::hash(&lines);
    for House { blobs, dir } in houses().await {
        for put in ["content", "file", "manifest"] {
            match put {
                "content" => blobs.put(hash, lines.clone().into(), 0).await.unwrap(),
                "file" => blobs.put_file(hash, spooled(&lines), 0).await.unwrap(),
                _ => blobs.put_packed(hash, lines.clone().into(), 0).await.unwrap(),
            }
            let size = blobs.stored_size(hash).await.unwrap();
            let packs = dir.is_some() || put == "manifest";
            assert_eq!(size < lines.len() as u64 / 20, packs, "{put}: a link leads to what lies in a bucket");
            assert!(blobs.get(hash).await.unwrap() == lines);
            let part: Vec<Bytes> = blobs.read(hash, lines.len() as u64, 12..36).try_collect().await.unwrap();
            assert_eq!(part.concat(), b"replicas: 3\nreplicas: 3\n");
        }
        drop(dir);
    }
}

#[tokio::test]
async fn large_contents_lie_as_they_are_and_are_read_in_ranges() {
    for House { blobs, dir } in houses().await {
        let lines = b"replicas: 3\n".repeat(200_000);
        let (hash, size) = (blake3::hash(&lines), lines.len() as u64);
        blobs.put(hash, lines.clone().into(), 0).await.unwrap();
        assert_eq!(blobs.stored_size(hash).await.unwrap(), size);
        // A manifest may have the same bytes; whoever reads them as a file gets them all the same.
        blobs.put_packed(hash, lines.clone().into(), 0).await.unwrap();
        assert!(blobs.stored_size(hash).await.unwrap() < size / 20);
        let pieces: Vec<Bytes> = blobs.read(hash, size, 0..size).try_collect().await.unwrap();
        assert!(pieces.concat() == lines);
        let end: Vec<Bytes> = blobs.read(hash, size, size - 3..size).try_collect().await.unwrap();
        assert_eq!(end.concat(), b" 3\n");
        drop(dir);
    }
}

#[tokio::test]
async fn bombs_and_damaged_frames_are_damage() {
    for House { blobs, dir } in houses().await {
        let lines = b"replicas: 3\n".repeat(1_000);
        let (hash, size) = (blake3::hash(&lines), lines.len() as u64);
        let whole = packed::pack(&lines).unwrap();
        let bomb = packed::pack(&vec![0; MAX_PACKED + 1]).unwrap();
        let another = packed::pack(b"replicas: 4\n").unwrap();
        for stored in [whole[..whole.len() - 1].to_vec(), bomb.clone(), another] {
            blobs.store.put(&key(&hash), stored.into()).await.unwrap();
            assert!(matches!(blobs.get(hash).await, Err(BlobError::Damaged(_))));
            let read: Result<Vec<Bytes>, _> = blobs.read(hash, size, 0..size).try_collect().await;
            assert!(matches!(read, Err(BlobError::Damaged(_))));
        }
        // What somebody sends may look packed, and is what it is.
        for content in [whole, bomb] {
            let hash = blake3::hash(&content);
            blobs.put(hash, content.clone().into(), 0).await.unwrap();
            assert!(blobs.get(hash).await.unwrap() == content);
        }
        drop(dir);
    }
}

#[tokio::test]
async fn many_may_write_the_same_at_once() {
    for House { blobs, dir } in houses().await {
        let hash = blake3::hash(b"same");
        let puts = (0..32).map(|_| blobs.put(hash, Bytes::from_static(b"same"), 0));
        futures::future::try_join_all(puts).await.unwrap();
        assert_eq!(blobs.get(hash).await.unwrap(), "same");
        drop(dir);
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_an_upload_leaves_nothing_to_see() {
    let Some(mut server) = S3::start().await else { return };
    let blobs = Blobs::s3(&settings(&server.bucket().unwrap())).unwrap();
    blobs.check().await.unwrap();
    let (hash, content) = content(4 * PART);
    // The content comes through a pipe, so that the test knows how much of it was taken.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let upload = tokio::spawn({
        let blobs = blobs.clone();
        async move { blobs.put_file(hash, OwnedFd::from(reader).into(), 0).await }
    });
    let (first, rest) = content.split_at(2 * PART + (1 << 20));
    let first = first.to_vec();
    // Beyond what a pipe holds: when this is written, two parts were sent and the third is being read.
    let mut writer = tokio::task::spawn_blocking(move || writer.write_all(&first).map(|()| writer)).await.unwrap().unwrap();
    server.kill().await.unwrap();
    let rest = rest.to_vec();
    let written = tokio::task::spawn_blocking(move || writer.write_all(&rest));
    let error = upload.await.unwrap().unwrap_err();
    assert!(matches!(error, BlobError::Away(_)), "{error:?}");
    drop(written.await);
    assert!(matches!(blobs.get(hash).await, Err(BlobError::Away(_))));

    server.restart().await.unwrap();
    assert!(blobs.get(hash).await.unwrap_err().is_missing(), "nothing half-made is visible");
    blobs.put_file(hash, spooled(&content), 0).await.unwrap();
    assert!(blobs.get(hash).await.unwrap() == content);
}

#[tokio::test]
async fn a_refusal_names_what_to_check() {
    let Some(server) = S3::shared().await else { return };
    let good = settings(&server.bucket().unwrap());
    let wrong_key = S3Settings { secret_access_key: SecretString::from("wrong"), ..good.clone() };
    let no_bucket = S3Settings { bucket: "there-is-none".to_owned(), ..good.clone() };
    for (settings, named) in [(wrong_key, "file_store.s3.access_key_id"), (no_bucket, "file_store.s3.bucket")] {
        let blobs = Blobs::s3(&settings).unwrap();
        let (hash, content) = content(10);
        for result in [blobs.check().await, blobs.put(hash, content.into(), 0).await] {
            let error = result.expect_err(named);
            assert!(matches!(error, BlobError::Refused(..)) && error.to_string().contains(named), "{error:?}");
        }
    }
    // A server that is away may come back: it is no reason not to start.
    let away = S3Settings { endpoint: "http://127.0.0.1:9".to_owned(), ..good };
    Blobs::s3(&away).unwrap().check().await.unwrap();
}
