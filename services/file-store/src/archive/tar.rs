//! Reads tar.gz, one entry after the other, with bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use tar::{EntryType, Header, PaxExtensions};

use super::{ArchiveError, Budget, MAX_NAME, RawEntry, Visit, damaged, refuse};

const BLOCK: usize = 512;
/// The most bytes of a header that carries a long name or other attributes.
const MAX_EXTENSION: u64 = 64 << 10;
/// What may follow the end mark: the padding of a record.
const MAX_PADDING: u64 = 16 << 20;

/// What the extension headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

pub(super) fn walk(file: &File, budget: &mut Budget<'_>, visit: Visit<'_>) -> Result<(), ArchiveError> {
    let mut input = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file));
    let mut extensions = Extensions::default();
    let mut in_a_row = 0;
    let mut block = [0; BLOCK];
    loop {
        input.read_exact(&mut block).map_err(|e| ArchiveError::reading(e, None))?;
        if block.iter().all(|b| *b == 0) {
            return finish(&mut input);
        }
        let header = Header::from_byte_slice(&block);
        let size = check_header(header)?;
        let kind = header.entry_type();
        if is_extension(kind) {
            in_a_row += 1;
            if in_a_row > 4 {
                return Err(damaged("has too many extension headers before one entry"));
            }
            let data = read_extension(&mut input, size)?;
            extensions.take(kind, &data)?;
            continue;
        }
        in_a_row = 0;
        let entry = std::mem::take(&mut extensions).entry(header, size)?;
        budget.spend(&entry)?;
        let mut content = (&mut input).take(entry.size);
        visit(&entry, &mut content)?;
        let left = content.limit();
        skip(&mut input, left + padding(entry.size)).map_err(|e| ArchiveError::reading(e, Some(&entry.name)))?;
    }
}

fn check_header(header: &Header) -> Result<u64, ArchiveError> {
    let name = || String::from_utf8_lossy(&header.path_bytes()).into_owned();
    let bytes = header.as_bytes();
    // The sum counts its own field as blanks.
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
    if header.cksum().ok() != Some(sum) {
        return Err(damaged("is damaged: a header's checksum is wrong"));
    }
    header.entry_size().map_err(|_| refuse(&name(), "has no valid size"))
}

/// Headers that say something of the entry that follows, or of all.
fn is_extension(kind: EntryType) -> bool {
    kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() || kind.is_pax_global_extensions()
}

fn read_extension(input: &mut impl Read, size: u64) -> Result<Vec<u8>, ArchiveError> {
    if size > MAX_EXTENSION {
        return Err(damaged(format!("has an extension header larger than {MAX_EXTENSION} bytes")));
    }
    let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
    input.read_exact(&mut data).and_then(|()| skip(input, padding(size))).map_err(|e| ArchiveError::reading(e, None))?;
    Ok(data)
}

impl Extensions {
    fn take(&mut self, kind: EntryType, data: &[u8]) -> Result<(), ArchiveError> {
        if kind.is_gnu_longname() {
            self.name = Some(data.strip_suffix(b"\0").unwrap_or(data).to_vec());
        }
        if !kind.is_pax_local_extensions() {
            return Ok(());
        }
        for record in PaxExtensions::new(data) {
            let record = record.map_err(|_| damaged("is damaged: an extension header cannot be read"))?;
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|v| v.parse().ok());
                    self.size = Some(size.ok_or_else(|| damaged("is damaged: a size cannot be read"))?);
                }
                key if key.starts_with(b"GNU.sparse") => return Err(damaged("has a sparse file, which is not supported")),
                _ => {}
            }
        }
        Ok(())
    }

    fn entry(self, header: &Header, size: u64) -> Result<RawEntry, ArchiveError> {
        let name = self.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = String::from_utf8(name).map_err(|e| {
            let lossy: String = String::from_utf8_lossy(e.as_bytes()).chars().take(MAX_NAME).collect();
            refuse(&lossy, "has a name that is not UTF-8")
        })?;
        let kind = header.entry_type();
        // Before POSIX, a folder was a file whose name ends with a slash.
        let folder = kind.is_dir() || (kind.is_file() && name.ends_with('/'));
        if !folder && !kind.is_file() {
            return Err(refuse(&name, describe(kind)));
        }
        let size = self.size.unwrap_or(size);
        if folder && size != 0 {
            return Err(refuse(&name, "is a folder with content"));
        }
        let mode = header.mode().map_err(|_| refuse(&name, "has no valid mode"))?;
        Ok(RawEntry { name, folder, executable: mode & 0o100 != 0, size })
    }
}

fn describe(kind: EntryType) -> String {
    let what = match kind {
        EntryType::Symlink => "is a symbolic link",
        EntryType::Link => "is a hard link",
        EntryType::Char | EntryType::Block => "is a device",
        EntryType::Fifo => "is a pipe",
        EntryType::GNUSparse => "is a sparse file",
        _ => return format!("is of the kind {:?}", char::from(kind.as_byte())),
    };
    format!("{what}, which is not supported")
}

/// After the end mark nothing may come but zeros, and the compressed stream must be whole.
fn finish(input: &mut impl Read) -> Result<(), ArchiveError> {
    let mut buffer = [0; 8 << 10];
    let mut seen = 0;
    loop {
        let n = input.read(&mut buffer).map_err(|e| ArchiveError::reading(e, None))?;
        if n == 0 {
            return Ok(());
        }
        seen += n as u64;
        if seen > MAX_PADDING || buffer[..n].iter().any(|b| *b != 0) {
            return Err(damaged("has data after its end"));
        }
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn skip(input: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
