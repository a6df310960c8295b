//! Archives: tar.gz and zip, read with suspicion and written byte for byte the same each time.
//!
//! An upload is read twice from its spool file: [`inspect`] reads all of it and refuses the whole when anything in it is
//! not an ordinary file or folder below the root; only then [`extract`] hands out the contents. So nothing of a refused
//! archive is ever stored. Both readers are our own: the usual ones fold duplicate names together and hold as much memory
//! as a hostile header asks for.

mod inventory;
mod pack;
mod tar;
mod zip;

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use blake3::Hash;
use bytes::Bytes;

use crate::model::{MAX_FILES, PathError};

pub(crate) use inventory::Inventory;
pub(crate) use pack::Packer;

/// The archive formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    TarGz,
    Zip,
}

/// The most bytes of an archive.
pub(crate) const MAX_ARCHIVE_BYTES: u64 = 256 << 20;
/// The most bytes of one file of an archive, and of all.
const MAX_UNPACKED_FILE: u64 = 64 << 20;
const MAX_UNPACKED: u64 = 1 << 30;
/// Contents up to this size stay in memory on their way to the blob store; larger ones go through a file.
const MAX_IN_MEMORY: u64 = 1 << 20;
/// The longest name of an entry that is looked at: a path and a top folder to drop, with room.
const MAX_NAME: usize = 2048;

/// What an archive may expand to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Files.
    pub(crate) files: u64,
    /// Entries of every kind.
    pub(crate) entries: u64,
    /// Bytes of one file.
    pub(crate) file_bytes: u64,
    /// Bytes of all files.
    pub(crate) total_bytes: u64,
    /// Beyond `ratio_from` bytes, all files may be this many times as large as the archive.
    pub(crate) ratio: u64,
    pub(crate) ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: MAX_FILES,
            entries: 2 * MAX_FILES,
            file_bytes: MAX_UNPACKED_FILE,
            total_bytes: MAX_UNPACKED,
            ratio: 100,
            ratio_from: 2 * MAX_UNPACKED_FILE,
        }
    }
}

/// Why an archive is refused, or could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("the archive's entry {entry:?} {what}")]
    Entry { entry: String, what: String },
    #[error("the archive {what}")]
    Damaged { what: String },
    #[error("in the archive, {error}")]
    Path { error: PathError },
    #[error("the archive's entry {entry:?} {what}")]
    TooLarge { entry: String, what: String, limit: (&'static str, u64) },
    #[error("the archive could not be unpacked")]
    Io(#[source] io::Error),
}

impl ArchiveError {
    /// Damage when the bytes are at fault, else our own trouble.
    fn reading(error: io::Error, entry: Option<&str>) -> Self {
        use io::ErrorKind as K;
        if !matches!(error.kind(), K::UnexpectedEof | K::InvalidData | K::InvalidInput) {
            return Self::Io(error);
        }
        let why = if error.kind() == K::UnexpectedEof { "ends too early".to_owned() } else { format!("is damaged: {error}") };
        match entry {
            Some(entry) => refuse(entry, why),
            None => Self::Damaged { what: why },
        }
    }
}

fn refuse(entry: &str, what: impl Into<String>) -> ArchiveError {
    ArchiveError::Entry { entry: entry.to_owned(), what: what.into() }
}

fn damaged(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Damaged { what: what.into() }
}

/// An entry as the archive has it: a regular file or a folder; everything else was refused before.
#[derive(Debug)]
struct RawEntry {
    name: String,
    folder: bool,
    executable: bool,
    size: u64,
}

/// What a reader calls for each entry, with the entry's content.
type Visit<'a> = &'a mut dyn FnMut(&RawEntry, &mut dyn Read) -> Result<(), ArchiveError>;

fn walk(file: &File, format: Format, limits: &Limits, visit: Visit<'_>) -> Result<(), ArchiveError> {
    let mut at: &File = file;
    let length = at.seek(SeekFrom::End(0)).map_err(ArchiveError::Io)?;
    at.seek(SeekFrom::Start(0)).map_err(ArchiveError::Io)?;
    let mut budget = Budget::new(limits, length);
    match format {
        Format::TarGz => tar::walk(file, &mut budget, visit),
        Format::Zip => zip::walk(file, length, &mut budget, visit),
    }
}

/// Reads the whole archive and refuses it, or says which files it has.
pub(crate) fn inspect(file: &File, format: Format, limits: &Limits) -> Result<Inventory, ArchiveError> {
    let mut builder = inventory::Builder::default();
    walk(file, format, limits, &mut |entry, content| {
        builder.add(entry)?;
        let read = io::copy(content, &mut io::sink()).map_err(|e| ArchiveError::reading(e, Some(&entry.name)))?;
        if read == entry.size { Ok(()) } else { Err(refuse(&entry.name, "ends too early")) }
    })?;
    builder.finish()
}

/// The content of a file on its way to the blob store.
#[derive(Debug)]
pub(crate) enum Content {
    Memory(Bytes),
    Spilled(File),
}

/// A file of an archive that was inspected.
#[derive(Debug)]
pub(crate) struct Extracted {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) hash: Hash,
    pub(crate) executable: bool,
    pub(crate) content: Content,
}

/// Hands out the files of an inspected archive, one after the other.
pub(crate) fn extract(
    file: &File,
    format: Format,
    limits: &Limits,
    inventory: Inventory,
    spill_dir: &Path,
    each: &mut dyn FnMut(Extracted) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut paths = inventory.into_paths().into_iter();
    walk(file, format, limits, &mut |entry, content| {
        if entry.folder {
            return Ok(());
        }
        let path = paths.next().ok_or_else(|| damaged("changed while it was read"))?;
        let (hash, content) = read_content(entry, content, spill_dir)?;
        each(Extracted { path, size: entry.size, hash, executable: entry.executable, content })
    })
}

fn read_content(entry: &RawEntry, content: &mut dyn Read, spill_dir: &Path) -> Result<(Hash, Content), ArchiveError> {
    let reading = |e| ArchiveError::reading(e, Some(&entry.name));
    if entry.size <= MAX_IN_MEMORY {
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or_default());
        content.read_to_end(&mut bytes).map_err(reading)?;
        return Ok((blake3::hash(&bytes), Content::Memory(bytes.into())));
    }
    let mut spilled = tempfile::tempfile_in(spill_dir).map_err(ArchiveError::Io)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = content.read(&mut buffer).map_err(reading)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        spilled.write_all(&buffer[..n]).map_err(ArchiveError::Io)?;
    }
    spilled.seek(SeekFrom::Start(0)).map_err(ArchiveError::Io)?;
    Ok((hasher.finalize(), Content::Spilled(spilled)))
}

/// What is left of the limits. Sizes are checked as they are announced, before a byte is expanded.
pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    archive_bytes: u64,
    entries: u64,
    files: u64,
    bytes: u64,
}

impl<'a> Budget<'a> {
    /// Nothing is spent yet of what an archive of this size may be.
    pub(crate) fn new(limits: &'a Limits, archive_bytes: u64) -> Self {
        Self { limits, archive_bytes, entries: 0, files: 0, bytes: 0 }
    }

    /// Counts a file that comes by another way than an archive.
    pub(crate) fn spend_file(&mut self, path: &str, size: u64) -> Result<(), ArchiveError> {
        self.spend(&RawEntry { name: path.to_owned(), folder: false, executable: false, size })
    }

    fn spend(&mut self, entry: &RawEntry) -> Result<(), ArchiveError> {
        let limits = self.limits;
        let too_large =
            |what: String, name, limit| ArchiveError::TooLarge { entry: entry.name.clone(), what, limit: (name, limit) };
        self.entries += 1;
        if self.entries > limits.entries {
            return Err(too_large(format!("is one more than {} entries", limits.entries), "limit_entries", limits.entries));
        }
        if entry.folder {
            return Ok(());
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.files > limits.files {
            return Err(too_large(format!("is one more than {} files", limits.files), "limit_files", limits.files));
        }
        if entry.size > limits.file_bytes {
            return Err(too_large(format!("is larger than {} bytes", limits.file_bytes), "limit_bytes", limits.file_bytes));
        }
        if self.bytes > limits.total_bytes {
            let what = format!("takes the archive beyond {} bytes unpacked", limits.total_bytes);
            return Err(too_large(what, "limit_bytes", limits.total_bytes));
        }
        if self.bytes > limits.ratio_from && self.bytes / limits.ratio > self.archive_bytes {
            let what = format!("takes the archive beyond {} times its packed size", limits.ratio);
            return Err(too_large(what, "limit_ratio", limits.ratio));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
