//! Directories and archives on this machine: packed, sent, received, unpacked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use slipway_proto::filestore::import_archive_request::Part;
use slipway_proto::filestore::{ArchiveFormat, ImportArchiveHeader, ImportArchiveRequest, Revision};
use walkdir::WalkDir;

use super::{Api, required};
use crate::error::Failure;

/// The API takes at most 1 MiB a message.
const CHUNK: usize = 512 << 10;
/// Folders that no one means to import.
const LEFT_OUT: [&str; 1] = [".git"];

/// A packed directory.
pub(crate) struct Packed {
    /// tar, gzip-compressed.
    pub(crate) bytes: Bytes,
    /// How many files it has.
    pub(crate) files: u64,
    /// Entries that were left out: links, sockets and the like.
    pub(crate) skipped: Vec<String>,
}

/// Packs a directory, in the order of its paths. Blocks: call it off the runtime's threads.
pub(crate) fn pack(dir: &Path) -> anyhow::Result<Packed> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.mode(tar::HeaderMode::Deterministic);
    let (mut files, mut skipped) = (0, Vec::new());
    let kept = |e: &walkdir::DirEntry| e.depth() == 0 || !LEFT_OUT.iter().any(|n| e.file_name() == *n);
    for entry in WalkDir::new(dir).sort_by_file_name().into_iter().filter_entry(kept) {
        let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
        let path = entry.path().strip_prefix(dir)?;
        if entry.file_type().is_file() {
            let mut file = File::open(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
            tar.append_file(Path::new("files").join(path), &mut file)
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            files += 1;
        } else if !entry.file_type().is_dir() {
            skipped.push(path.display().to_string());
        }
    }
    if files == 0 {
        bail!("there are no files in {}", dir.display());
    }
    let bytes = tar.into_inner()?.finish()?.into();
    Ok(Packed { bytes, files, skipped })
}

/// The archive format that a file's name tells.
pub(crate) fn format_of(path: &Path) -> Option<ArchiveFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        Some(ArchiveFormat::TarGz)
    } else {
        name.ends_with(".zip").then_some(ArchiveFormat::Zip)
    }
}

/// The name of a new workspace: the directory's, or the archive's without its ending.
pub(crate) fn name_of(path: &Path) -> anyhow::Result<String> {
    let full = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
    let name = full.file_name().and_then(|n| n.to_str()).unwrap_or("workspace");
    let ending = [".tar.gz", ".tgz", ".zip"].into_iter().find(|e| name.to_ascii_lowercase().ends_with(e));
    Ok(name[..name.len() - ending.map_or(0, str::len)].to_owned())
}

/// Sends an archive as the workspace's new head.
pub(crate) async fn send(api: &Api, header: ImportArchiveHeader, archive: Bytes) -> anyhow::Result<Revision> {
    let chunks = archive.len().div_ceil(CHUNK);
    let first = ImportArchiveRequest { part: Some(Part::Header(header)) };
    let rest = (0..chunks).map(move |i| {
        let chunk = archive.slice(i * CHUNK..archive.len().min((i + 1) * CHUNK));
        ImportArchiveRequest { part: Some(Part::Chunk(chunk)) }
    });
    let stream = tokio_stream::iter(std::iter::once(first).chain(rest));
    required(api.files.clone().import_archive(stream).await?.into_inner().revision, "revision")
}

/// Unpacks a tar.gz into a directory that must not exist yet. Blocks.
pub(crate) fn unpack(archive: impl Read, dir: &Path) -> anyhow::Result<u64> {
    std::fs::create_dir(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} is there already; name a new directory", dir.display())).into()
        }
        _ => anyhow::Error::from(e).context(format!("cannot make {}", dir.display())),
    })?;
    let mut files = 0;
    for entry in tar::Archive::new(GzDecoder::new(archive)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        if !entry.unpack_in(dir).with_context(|| format!("cannot write {path}"))? {
            bail!("the archive has a path that leaves its root: {path}");
        }
        files += u64::from(entry.header().entry_type().is_file());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/.git")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/.git/HEAD"), "x").unwrap();
        std::fs::write(dir.path().join("a/b/c.txt"), "hello").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a/link")).unwrap();
        let packed = pack(&dir.path().join("a")).unwrap();
        assert_eq!((packed.files, packed.skipped.as_slice()), (1, ["link".to_owned()].as_slice()));
        let out = dir.path().join("out");
        assert_eq!(unpack(packed.bytes.as_ref(), &out).unwrap(), 1);
        assert_eq!(std::fs::read_to_string(out.join("files/b/c.txt")).unwrap(), "hello");
        assert!(unpack(packed.bytes.as_ref(), &out).unwrap_err().to_string().contains("is there already"));
    }

    #[test]
    fn the_same_directory_packs_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1").unwrap();
        std::fs::write(dir.path().join("y"), "2").unwrap();
        assert_eq!(pack(dir.path()).unwrap().bytes, pack(dir.path()).unwrap().bytes);
    }

    #[test]
    fn an_empty_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(pack(dir.path()).is_err());
    }

    #[test]
    fn formats_are_told_by_name() {
        assert_eq!(format_of(Path::new("x/a.TGZ")), Some(ArchiveFormat::TarGz));
        assert_eq!(format_of(Path::new("a.tar.gz")), Some(ArchiveFormat::TarGz));
        assert_eq!(format_of(Path::new("a.zip")), Some(ArchiveFormat::Zip));
        assert_eq!(format_of(Path::new("zip")), None);
        assert_eq!(format_of(Path::new("..")), None);
    }
}
