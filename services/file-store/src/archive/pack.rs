//! Writes archives: the same files make the same bytes, whoever asks and whenever.
//!
//! A [`Packer`] does no I/O of its own: contents go in piece by piece, and what has become of them is taken out.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{EntryType, Header};
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::Format;
use crate::model::{FileEntry, Manifest};

/// 1 January 1980, the first day that zip knows; tar readers complain of 1970.
const MTIME: u64 = 315_532_800;
const BLOCK: usize = 512;

/// An archive in the making.
pub(crate) struct Packer {
    target: Target,
    output: Output,
    left: u64,
    padding: usize,
}

enum Target {
    TarGz(Box<GzEncoder<Output>>),
    Zip(Box<ZipWriter<StreamWriter<Output>>>),
}

impl Packer {
    /// Starts an archive of the files of `manifest`.
    pub(crate) fn new(format: Format, manifest: &Manifest) -> io::Result<Self> {
        let output = Output::default();
        let target = match format {
            Format::TarGz => {
                let gzip = GzBuilder::new().mtime(0).operating_system(255).write(output.clone(), Compression::default());
                Target::TarGz(Box::new(gzip))
            }
            Format::Zip => Target::Zip(Box::new(ZipWriter::new_stream(output.clone()))),
        };
        let mut packer = Self { target, output, left: 0, padding: 0 };
        if has_one_top(manifest) {
            packer.root()?;
        }
        Ok(packer)
    }

    /// Starts a file; its content follows by [`Packer::write`].
    pub(crate) fn file(&mut self, entry: &FileEntry) -> io::Result<()> {
        self.left = entry.size;
        let mode = if entry.executable { 0o755 } else { 0o644 };
        match &mut self.target {
            Target::TarGz(gzip) => {
                self.padding = padding(entry.size);
                write_header(gzip, &entry.path, EntryType::Regular, mode, entry.size)
            }
            Target::Zip(zip) => zip.start_file(entry.path.as_str(), options(mode)).map_err(io::Error::from),
        }
    }

    /// More of the file's content.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let over = || io::Error::other("a file is larger than its entry says");
        self.left = self.left.checked_sub(content.len() as u64).ok_or_else(over)?;
        match &mut self.target {
            Target::TarGz(gzip) => gzip.write_all(content),
            Target::Zip(zip) => zip.write_all(content),
        }
    }

    /// Ends the file.
    pub(crate) fn end_file(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("a file is smaller than its entry says"));
        }
        if let Target::TarGz(gzip) = &mut self.target {
            gzip.write_all(&[0; BLOCK][..self.padding])?;
        }
        Ok(())
    }

    /// Takes what has been packed so far.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.output.take()
    }

    /// Ends the archive, and gives the rest of it.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self.target {
            Target::TarGz(mut gzip) => {
                gzip.write_all(&[0; 2 * BLOCK])?;
                gzip.finish()?;
            }
            Target::Zip(zip) => drop(zip.finish()?),
        }
        Ok(self.output.take())
    }

    /// An entry for the root, which tells an import not to drop the one top folder.
    fn root(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::TarGz(gzip) => write_header(gzip, "./", EntryType::Directory, 0o755, 0),
            Target::Zip(zip) => zip.add_directory("./", options(0o755)).map_err(io::Error::from),
        }
    }
}

/// True when all files lie in one folder.
fn has_one_top(manifest: &Manifest) -> bool {
    let top = |entry: &FileEntry| entry.path.split_once('/').map(|(top, _)| top.to_owned());
    let entries = manifest.entries();
    let first = entries.first().and_then(top);
    first.is_some() && entries.iter().all(|e| top(e) == first)
}

fn options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(mode)
}

fn write_header(output: &mut impl Write, path: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    let room = header.as_old().name.len();
    if path.len() > room {
        let name = path.as_bytes();
        let mut long = Header::new_gnu();
        fill(&mut long, b"././@LongLink", EntryType::GNULongName, 0o644, name.len() as u64 + 1);
        output.write_all(long.as_bytes())?;
        output.write_all(name)?;
        output.write_all(&[0; BLOCK][..1 + padding(name.len() as u64 + 1)])?;
    }
    fill(&mut header, &path.as_bytes()[..path.len().min(room)], kind, mode, size);
    output.write_all(header.as_bytes())
}

fn fill(header: &mut Header, name: &[u8], kind: EntryType, mode: u32, size: u64) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header.set_size(size);
    header.set_cksum();
}

fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}

/// Where the encoders write to, shared with the packer that empties it.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
