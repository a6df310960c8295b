//! The cache in front of a real S3 server, which is killed to see where contents come from.

use slipway_testkit::s3::S3;

use super::*;
use crate::blobs::{Blobs, tests::settings};
use crate::settings::CacheSettings;

const DAY: Duration = Duration::from_secs(86_400);

struct House {
    server: S3,
    dir: tempfile::TempDir,
    clock: Clock,
    bucket: slipway_testkit::s3::Bucket,
}

impl House {
    async fn start() -> Option<Self> {
        let server = S3::start().await?;
        let bucket = server.bucket().unwrap();
        Some(Self { server, dir: tempfile::tempdir().unwrap(), clock: Clock::default(), bucket })
    }

    /// A process with a cache of one MiB.
    fn blobs(&self) -> Blobs {
        let cache = CacheSettings { mib: 1, idle_days: 30 };
        Blobs::s3(&settings(&self.bucket)).unwrap().cached(self.dir.path(), &cache, self.clock.clone()).unwrap()
    }

    fn files(&self) -> Vec<(String, u64)> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap);
        files.map(|f| (f.file_name().into_string().unwrap(), f.metadata().unwrap().len())).collect()
    }

    fn has(&self, hash: Hash) -> bool {
        self.dir.path().join(hash.to_hex().as_str()).exists()
    }
}

fn content(n: u8, size: usize) -> (Hash, Bytes) {
    let content = Bytes::from(vec![n; size]);
    (blake3::hash(&content), content)
}

async fn read(blobs: &Blobs, hash: Hash, size: usize) -> Result<Vec<u8>, BlobError> {
    let pieces: Vec<Bytes> = blobs.read(hash, size as u64, 0..size as u64).try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn idle_contents_leave_and_come_back_with_the_next_read() {
    let Some(mut house) = House::start().await else { return };
    let blobs = house.blobs();
    let ((one, content), (two, other)) = (content(1, 300_000), content(2, 10));
    blobs.put(one, content.clone(), 0).await.unwrap();
    blobs.put(two, other.clone(), 0).await.unwrap();
    house.server.kill().await.unwrap();
    assert!(read(&blobs, one, content.len()).await.unwrap() == content, "written through");
    house.clock.advance(29 * DAY);
    assert_eq!(blobs.get(two).await.unwrap(), other, "used, so that it stays");
    house.clock.advance(2 * DAY);
    let blobs = house.blobs();
    assert_eq!(blobs.evict_idle().await, 1, "what a restart found is as old as it was");
    assert!(!house.has(one) && house.has(two));
    assert!(matches!(read(&blobs, one, content.len()).await, Err(BlobError::Away(_))));
    house.server.restart().await.unwrap();
    assert!(read(&blobs, one, content.len()).await.unwrap() == content);
    house.server.kill().await.unwrap();
    assert!(read(&blobs, one, content.len()).await.unwrap() == content, "it is back");
}

#[tokio::test]
async fn a_damaged_file_is_mended_from_the_bucket() {
    let Some(house) = House::start().await else { return };
    let blobs = house.blobs();
    let (hash, content) = content(1, 100);
    blobs.put(hash, content.clone(), 0).await.unwrap();
    let path = house.dir.path().join(hash.to_hex().as_str());
    for damage in [&b"x"[..], &[0; 100], &[1; 101]] {
        std::fs::write(&path, damage).unwrap();
        assert_eq!(read(&blobs, hash, 100).await.unwrap(), content);
        std::fs::write(&path, damage).unwrap();
        assert_eq!(blobs.get(hash).await.unwrap(), content);
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read(&blobs, hash, 100).await.unwrap(), content);
}

#[tokio::test]
async fn it_stays_within_its_bound_also_after_a_restart() {
    let Some(house) = House::start().await else { return };
    let blobs = house.blobs();
    let all: Vec<_> = (0..4).map(|n| content(n, 300_000)).collect();
    for (hash, content) in &all[..3] {
        blobs.put(*hash, content.clone(), 0).await.unwrap();
        house.clock.advance(DAY);
    }
    blobs.get(all[0].0).await.unwrap();
    std::fs::write(house.dir.path().join(".half-written"), "x").unwrap();
    let blobs = house.blobs();
    blobs.put(all[3].0, all[3].1.clone(), 0).await.unwrap();
    assert_eq!(house.files().iter().map(|(_, size)| size).sum::<u64>(), 900_000);
    assert!(house.has(all[0].0) && !house.has(all[1].0), "what was not used for longest goes first");
    let (hash, large) = content(9, 2 << 20);
    blobs.put(hash, large.clone(), 0).await.unwrap();
    assert!(read(&blobs, hash, large.len()).await.unwrap() == large, "even what is larger than the cache is read");
    assert!(house.files().iter().map(|(_, size)| size).sum::<u64>() <= 1 << 20);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_stops_nobody() {
    let Some(house) = House::start().await else { return };
    let blobs = house.blobs();
    // Root may write anywhere, but nobody can write below what is no directory.
    std::fs::remove_dir(house.dir.path()).unwrap();
    std::fs::write(house.dir.path(), "").unwrap();
    let (hash, content) = content(1, 100);
    blobs.put(hash, content.clone(), 0).await.unwrap();
    assert_eq!(read(&blobs, hash, 100).await.unwrap(), content);
    assert_eq!(blobs.get(hash).await.unwrap(), content);
    std::fs::remove_file(house.dir.path()).unwrap();
    std::fs::create_dir(house.dir.path()).unwrap();
}
