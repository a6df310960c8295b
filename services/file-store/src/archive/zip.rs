//! Reads zip by its central directory, with bounded memory; what the local headers say must agree.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::{ArchiveError, Budget, MAX_NAME, RawEntry, Visit, damaged, refuse};

const END: &[u8; 4] = b"PK\x05\x06";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const END_LEN: u64 = 22;
const ENCRYPTED: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An entry of the central directory.
struct Member {
    entry: RawEntry,
    method: u16,
    crc: u32,
    packed: u64,
    offset: u64,
}

/// Where the central directory lies.
struct Directory {
    offset: u64,
    size: u64,
    count: u64,
}

pub(super) fn walk(file: &File, length: u64, budget: &mut Budget<'_>, visit: Visit<'_>) -> Result<(), ArchiveError> {
    let directory = find_directory(file, length)?;
    let members = read_directory(file, &directory, budget)?;
    let mut spans = Vec::with_capacity(members.len());
    for member in &members {
        let start = check_local(file, member)?;
        spans.push((member.offset, start + member.packed, member));
    }
    // Entries that share bytes make a small archive expand without end.
    spans.sort_unstable_by_key(|(start, end, _)| (*start, *end));
    let ends = spans.iter().skip(1).map(|(start, ..)| *start).chain([directory.offset]);
    if let Some(((_, _, member), _)) = spans.iter().zip(ends).find(|((_, end, _), next)| end > next) {
        return Err(refuse(&member.entry.name, "overlaps what follows it"));
    }
    for member in &members {
        let start = check_local(file, member)?;
        read_member(file, start, member, visit)?;
    }
    Ok(())
}

/// The end record must be the last thing in the file; anything else was cut or glued.
fn find_directory(file: &File, length: u64) -> Result<Directory, ArchiveError> {
    let tail_len = length.min(END_LEN + u64::from(u16::MAX));
    let tail = read_at(file, length - tail_len, tail_len)?;
    let is_end = |at: usize| {
        let record = &tail[at..];
        record.starts_with(END) && record.len() as u64 == END_LEN + u64::from(le16(record, 20))
    };
    let last = tail.len().checked_sub(usize::try_from(END_LEN).unwrap_or_default());
    let at =
        last.and_then(|last| (0..=last).rev().find(|at| is_end(*at))).ok_or_else(|| damaged("has no end record: it was cut"))?;
    let record = &tail[at..];
    if le16(record, 4) != 0 || le16(record, 6) != 0 || le16(record, 8) != le16(record, 10) {
        return Err(damaged("is spread over several disks"));
    }
    let (count, size, offset) = (le16(record, 10), le32(record, 12), le32(record, 16));
    if count == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err(damaged("is larger than the plain zip format allows"));
    }
    let directory = Directory { offset: offset.into(), size: size.into(), count: count.into() };
    if directory.offset + directory.size > length - tail_len + at as u64 {
        return Err(damaged("has its directory outside of itself"));
    }
    Ok(directory)
}

fn read_directory(mut file: &File, directory: &Directory, budget: &mut Budget<'_>) -> Result<Vec<Member>, ArchiveError> {
    file.seek(SeekFrom::Start(directory.offset)).map_err(ArchiveError::Io)?;
    let mut input = BufReader::new(file.take(directory.size));
    let mut members = Vec::new();
    for _ in 0..directory.count {
        let member = read_central(&mut input)?;
        budget.spend(&member.entry)?;
        members.push(member);
    }
    let left = input.fill_buf().map_err(ArchiveError::Io)?;
    if left.is_empty() { Ok(members) } else { Err(damaged("has more in its directory than it says")) }
}

fn read_central(input: &mut impl Read) -> Result<Member, ArchiveError> {
    let read = |input: &mut dyn Read, n: u64| {
        let mut bytes = Vec::new();
        input.take(n).read_to_end(&mut bytes).map_err(ArchiveError::Io)?;
        if bytes.len() as u64 == n { Ok(bytes) } else { Err(damaged("has a directory that ends too early")) }
    };
    let fixed = read(input, 46)?;
    if !fixed.starts_with(CENTRAL) {
        return Err(damaged("has a damaged directory"));
    }
    let name = String::from_utf8(read(input, le16(&fixed, 28).into())?).map_err(|e| {
        let lossy: String = String::from_utf8_lossy(e.as_bytes()).chars().take(MAX_NAME).collect();
        refuse(&lossy, "has a name that is not UTF-8")
    })?;
    if name.len() > MAX_NAME {
        let shown: String = name.chars().take(200).collect();
        return Err(refuse(&shown, "has a name that is too long"));
    }
    let extra = read(input, le16(&fixed, 30).into())?;
    read(input, le16(&fixed, 32).into())?;
    if le16(&fixed, 8) & ENCRYPTED != 0 {
        return Err(refuse(&name, "is encrypted, which is not supported"));
    }
    let method = le16(&fixed, 10);
    if method != STORED && method != DEFLATED {
        return Err(refuse(&name, format!("is packed by method {method}, which is not supported")));
    }
    let mode = le32(&fixed, 38) >> 16;
    let folder = name.ends_with('/');
    check_mode(&name, mode, folder)?;
    let mut wide = Wide::of(&extra);
    let sizes = [24, 20, 42].map(|at| wide.or(le32(&fixed, at)));
    let [Some(size), Some(packed), Some(offset)] = sizes else { return Err(refuse(&name, "has no valid size")) };
    if folder && size != 0 {
        return Err(refuse(&name, "is a folder with content"));
    }
    let entry = RawEntry { name, folder, executable: mode & 0o100 != 0, size };
    Ok(Member { entry, method, crc: le32(&fixed, 16), packed, offset })
}

/// The kind of file that Unix archivers put beside the name.
fn check_mode(name: &str, mode: u32, folder: bool) -> Result<(), ArchiveError> {
    let what = match mode & 0o170_000 {
        0 => return Ok(()),
        0o100_000 if !folder => return Ok(()),
        0o040_000 if folder => return Ok(()),
        0o120_000 => "is a symbolic link, which is not supported",
        0o020_000 | 0o060_000 => "is a device, which is not supported",
        0o010_000 => "is a pipe, which is not supported",
        0o140_000 => "is a socket, which is not supported",
        _ => "is neither a file nor a folder",
    };
    Err(refuse(name, what))
}

/// The 64-bit numbers of the extra field, in the order in which the 32-bit ones ask for them.
struct Wide<'a>(&'a [u8]);

impl<'a> Wide<'a> {
    fn of(mut extra: &'a [u8]) -> Self {
        while extra.len() >= 4 {
            let (id, size) = (le16(extra, 0), usize::from(le16(extra, 2)));
            let Some(data) = extra.get(4..4 + size) else { break };
            if id == 1 {
                return Self(data);
            }
            extra = &extra[4 + size..];
        }
        Self(&[])
    }

    fn or(&mut self, narrow: u32) -> Option<u64> {
        if narrow != u32::MAX {
            return Some(narrow.into());
        }
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }
}

/// Where the member's bytes start, when its local header tells the same story as the directory.
fn check_local(file: &File, member: &Member) -> Result<u64, ArchiveError> {
    let entry = &member.entry;
    let cut = || refuse(&entry.name, "has no valid header");
    let fixed = read_at(file, member.offset, 30).map_err(|_| cut())?;
    let name_len = u64::from(le16(&fixed, 26));
    let same = fixed.starts_with(LOCAL) && le16(&fixed, 8) == member.method && le16(&fixed, 6) & ENCRYPTED == 0;
    if !same || name_len != entry.name.len() as u64 {
        return Err(cut());
    }
    if read_at(file, member.offset + 30, name_len).map_err(|_| cut())? != entry.name.as_bytes() {
        return Err(refuse(&entry.name, "has another name in its own header"));
    }
    let start = member.offset + 30 + name_len + u64::from(le16(&fixed, 28));
    if start.checked_add(member.packed).is_none() { Err(cut()) } else { Ok(start) }
}

fn read_member(mut file: &File, start: u64, member: &Member, visit: Visit<'_>) -> Result<(), ArchiveError> {
    file.seek(SeekFrom::Start(start)).map_err(ArchiveError::Io)?;
    let packed = BufReader::with_capacity(64 << 10, file.take(member.packed));
    let entry = &member.entry;
    let source: Box<dyn Read + '_> =
        if member.method == STORED { Box::new(packed) } else { Box::new(DeflateDecoder::new(packed)) };
    let mut content = Checked { source, left: entry.size, crc: Crc::new(), expected: member.crc };
    visit(entry, &mut content)?;
    io::copy(&mut content, &mut io::sink()).map_err(|e| ArchiveError::reading(e, Some(&entry.name)))?;
    Ok(())
}

/// A content that has exactly the size and the checksum that were announced, or an error.
struct Checked<'a> {
    source: Box<dyn Read + 'a>,
    left: u64,
    crc: Crc,
    expected: u32,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.source.read(buffer)?;
        if n as u64 > self.left {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than it says"));
        }
        self.left -= n as u64;
        self.crc.update(&buffer[..n]);
        match n {
            0 if self.left > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            0 if self.crc.sum() != self.expected => Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong")),
            n => Ok(n),
        }
    }
}

fn read_at(mut file: &File, at: u64, n: u64) -> Result<Vec<u8>, ArchiveError> {
    file.seek(SeekFrom::Start(at)).map_err(ArchiveError::Io)?;
    let mut bytes = Vec::new();
    file.take(n).read_to_end(&mut bytes).map_err(ArchiveError::Io)?;
    if bytes.len() as u64 == n { Ok(bytes) } else { Err(damaged("ends too early")) }
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
