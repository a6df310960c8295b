//! Packs: the objects of an export one after the other, each compressed, in a file without a name.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest as _, Sha1};

use super::object::{Kind, Naming, ObjectId};

/// A pack in the making.
pub(crate) struct PackWriter {
    file: BufWriter<File>,
    objects: u32,
    open: Option<Open>,
}

/// The object that is being written.
struct Open {
    naming: Naming,
    left: u64,
    encoder: ZlibEncoder<Vec<u8>>,
}

/// A whole pack, to be read once.
pub(crate) struct Pack {
    file: File,
    header: Vec<u8>,
    sum: Option<Sha1>,
}

impl PackWriter {
    /// An empty pack in a directory.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(dir)?), objects: 0, open: None })
    }

    /// Starts an object, whose content follows by [`PackWriter::write`].
    pub(crate) fn start(&mut self, kind: Kind, size: u64) -> io::Result<()> {
        self.objects = self.objects.checked_add(1).ok_or_else(|| io::Error::other("a pack has too many objects"))?;
        self.file.write_all(&entry_header(kind, size))?;
        let encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        self.open = Some(Open { naming: Naming::start(kind, size), left: size, encoder });
        Ok(())
    }

    /// More of the object's content.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let open = self.open.as_mut().ok_or_else(|| io::Error::other("no object was started"))?;
        let over = || io::Error::other("an object is larger than it was announced");
        open.left = open.left.checked_sub(content.len() as u64).ok_or_else(over)?;
        open.naming.update(content);
        open.encoder.write_all(content)?;
        self.file.write_all(open.encoder.get_ref())?;
        open.encoder.get_mut().clear();
        Ok(())
    }

    /// Ends the object, and says what it is called.
    pub(crate) fn end(&mut self) -> io::Result<ObjectId> {
        let open = self.open.take().filter(|open| open.left == 0);
        let open = open.ok_or_else(|| io::Error::other("an object is smaller than it was announced"))?;
        self.file.write_all(&open.encoder.finish()?)?;
        Ok(open.naming.finish())
    }

    /// A whole object.
    pub(crate) fn object(&mut self, kind: Kind, content: &[u8]) -> io::Result<ObjectId> {
        self.start(kind, content.len() as u64)?;
        self.write(content)?;
        self.end()
    }

    /// Ends the pack.
    pub(crate) fn finish(self) -> io::Result<Pack> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        let mut header = b"PACK\0\0\0\x02".to_vec();
        header.extend_from_slice(&self.objects.to_be_bytes());
        Ok(Pack { file, header, sum: Some(Sha1::new()) })
    }
}

impl Pack {
    /// More of the pack's bytes; nothing at its end.
    pub(crate) fn read(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let Some(sum) = &mut self.sum else { return Ok(Vec::new()) };
        let mut bytes = std::mem::take(&mut self.header);
        if bytes.is_empty() {
            (&self.file).take(max as u64).read_to_end(&mut bytes)?;
        }
        sum.update(&bytes);
        if bytes.is_empty() {
            return Ok(self.sum.take().map(|sum| sum.finalize().to_vec()).unwrap_or_default());
        }
        Ok(bytes)
    }
}

/// Four bits of the size beside the kind, then seven at a time.
fn entry_header(kind: Kind, size: u64) -> Vec<u8> {
    let low = |bits: u64, mask: u64| u8::try_from(bits & mask).unwrap_or_default();
    let mut header = vec![(kind as u8) << 4 | low(size, 0x0f)];
    let mut rest = size >> 4;
    while rest > 0 {
        if let Some(last) = header.last_mut() {
            *last |= 0x80;
        }
        header.push(low(rest, 0x7f));
        rest >>= 7;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_git_reads_them() {
        assert_eq!(entry_header(Kind::Blob, 0), [0x30]);
        assert_eq!(entry_header(Kind::Blob, 15), [0x3f]);
        assert_eq!(entry_header(Kind::Commit, 16), [0x90, 0x01]);
        assert_eq!(entry_header(Kind::Tree, 0x1234), [0xa4, 0xa3, 0x02]);
    }

    #[test]
    fn an_object_has_the_size_that_was_announced() {
        let dir = tempfile::tempdir().unwrap();
        let mut pack = PackWriter::new(dir.path()).unwrap();
        pack.start(Kind::Blob, 2).unwrap();
        assert!(pack.write(b"abc").is_err());
        pack.start(Kind::Blob, 2).unwrap();
        pack.write(b"a").unwrap();
        assert!(pack.end().is_err());
        assert!(pack.write(b"a").is_err());
    }
}
