//! Tests of archives: hostile ones, damaged ones, and the way there and back.

mod mangled;
mod packing;

use std::io::{Cursor, Write as _};

use ::tar as tar_crate;
use ::zip as zip_crate;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar_crate::{EntryType, Header};
use zip_crate::write::SimpleFileOptions;

use super::*;
use crate::model::{FileEntry, Manifest, PathRule};

type Files = Vec<(String, bool, Vec<u8>)>;

fn spool(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn read_with(bytes: &[u8], format: Format, limits: &Limits) -> Result<Files, ArchiveError> {
    let file = spool(bytes);
    let inventory = inspect(&file, format, limits)?;
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    extract(&file, format, limits, inventory, dir.path(), &mut |extracted| {
        let content = match extracted.content {
            Content::Memory(bytes) => bytes.to_vec(),
            Content::Spilled(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                bytes
            }
        };
        assert_eq!(blake3::hash(&content), extracted.hash);
        assert_eq!(content.len() as u64, extracted.size);
        files.push((extracted.path, extracted.executable, content));
        Ok(())
    })?;
    Ok(files)
}

fn read(bytes: &[u8], format: Format) -> Result<Files, ArchiveError> {
    read_with(bytes, format, &Limits::default())
}

fn paths(bytes: &[u8], format: Format) -> Vec<String> {
    read(bytes, format).unwrap().into_iter().map(|(path, ..)| path).collect()
}

/// The entry that a refusal names.
fn refused(bytes: &[u8], format: Format) -> String {
    match read(bytes, format) {
        Err(ArchiveError::Entry { entry, .. }) => entry,
        Err(ArchiveError::Path { error }) => error.path,
        other => panic!("{other:?}"),
    }
}

fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

fn put(tar: &mut Vec<u8>, header: &Header, content: &[u8]) {
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

fn end(mut tar: Vec<u8>) -> Vec<u8> {
    tar.resize(tar.len() + 1024, 0);
    gzip(&tar)
}

/// A tar.gz with these names; one that ends with a slash is a folder.
fn tar_of(names: &[&str]) -> Vec<u8> {
    let mut tar = Vec::new();
    for name in names {
        let folder = name.ends_with('/');
        let content: &[u8] = if folder { b"" } else { name.as_bytes() };
        let kind = if folder { EntryType::Directory } else { EntryType::Regular };
        put(&mut tar, &header(name.as_bytes(), kind, content.len() as u64), content);
    }
    end(tar)
}

fn zip_with(names: &[&str], options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = zip_crate::ZipWriter::new(Cursor::new(Vec::new()));
    for name in names {
        if name.ends_with('/') {
            zip.add_directory(*name, options).unwrap();
        } else {
            zip.start_file(*name, options).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

fn zip_of(names: &[&str]) -> Vec<u8> {
    zip_with(names, SimpleFileOptions::default().unix_permissions(0o644))
}

/// Puts another name of the same length into both headers of a zip.
fn rename(zip: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = zip.to_vec();
    for at in 0..bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from.as_bytes()
            && (at < 30 || bytes[at - 30..].starts_with(b"PK") || bytes[at - 46..].starts_with(b"PK"))
        {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

fn both(names: &[&str]) -> [(Vec<u8>, Format); 2] {
    [(tar_of(names), Format::TarGz), (zip_of(names), Format::Zip)]
}

#[test]
fn files_come_out_as_they_went_in() {
    for (bytes, format) in both(&["a.yaml", "b/c", "b/d/e"]) {
        let files = read(&bytes, format).unwrap();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|(path, executable, content)| content == path.as_bytes() && !executable));
    }
}

#[test]
fn one_shared_top_folder_is_dropped() {
    for (names, expected) in [
        (&["chart/a", "chart/b/c"][..], &["a", "b/c"][..]),
        (&["chart/", "chart/a", "chart/b/", "chart/b/c"], &["a", "b/c"]),
        (&["./chart/a", "./chart/b"], &["a", "b"]),
        (&["chart/a"], &["a"]),
        (&["chart/a", "chart2/b"], &["chart/a", "chart2/b"]),
        (&["chart/a", "b"], &["chart/a", "b"]),
        (&["chart/a", "empty/"], &["chart/a"]),
        (&["a"], &["a"]),
        (&["./", "./chart/a"], &["chart/a"]),
        (&["./a", "./b/c"], &["a", "b/c"]),
        (&["x/y/a", "x/y/b"], &["y/a", "y/b"]),
        (&["only/folders/"], &[]),
        (&[], &[]),
    ] {
        for (bytes, format) in both(names) {
            assert_eq!(paths(&bytes, format), expected, "{names:?} {format:?}");
        }
    }
}

#[test]
fn paths_that_leave_the_root_refuse_the_whole() {
    for bad in ["../x", "a/../../x", "/etc/passwd", "..", "a/..", "../../x/", "/abs/"] {
        assert_eq!(refused(&tar_of(&["good", bad]), Format::TarGz), bad);
        let neutral = bad.replace(['.', '/'], "q");
        let neutral = if bad.ends_with('/') { format!("{}/", &neutral[1..]) } else { neutral };
        assert_eq!(refused(&rename(&zip_of(&["good", &neutral]), &neutral, bad), Format::Zip), bad, "{bad}");
    }
}

#[test]
fn names_that_cannot_be_stored_refuse_the_whole() {
    for bad in ["a:b", "c\\d", "x\ny", "con", "a//b", "a/./b", "\u{85}"] {
        for (bytes, format) in both(&["good", bad]) {
            assert!(matches!(read(&bytes, format), Err(ArchiveError::Path { .. })), "{bad:?} {format:?}");
        }
    }
    let mut tar = Vec::new();
    put(&mut tar, &header(b"\xff\xfe", EntryType::Regular, 0), b"");
    assert!(matches!(read(&end(tar), Format::TarGz), Err(ArchiveError::Entry { .. })));
    let long = ["x".repeat(250), "y".repeat(250), "z".repeat(250), "u".repeat(250), "v".repeat(50)].join("/");
    let error = read(&zip_of(&["good", &long]), Format::Zip).unwrap_err();
    assert!(matches!(error, ArchiveError::Path { error } if error.rule == PathRule::TooLong));
}

#[test]
fn names_from_macos_become_normal() {
    for (bytes, format) in both(&["e\u{301}.txt"]) {
        assert_eq!(paths(&bytes, format), ["é.txt"]);
    }
    for (bytes, format) in both(&["e\u{301}.txt", "é.txt"]) {
        refused(&bytes, format);
    }
}

#[test]
fn links_devices_and_the_like_are_refused_by_name() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::Continuous,
    ] {
        let mut tar = Vec::new();
        put(&mut tar, &header(b"good", EntryType::Regular, 1), b"x");
        put(&mut tar, &header(b"evil", kind, 0), b"");
        assert_eq!(refused(&end(tar), Format::TarGz), "evil");
    }
    let mut zip = zip_crate::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("evil", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    assert_eq!(refused(&zip.finish().unwrap().into_inner(), Format::Zip), "evil");
    let plain = zip_of(&["evil"]);
    let central = plain.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for kind in [0o020_000u32, 0o060_000, 0o010_000, 0o140_000, 0o040_000, 0o110_000] {
        let mut bytes = plain.clone();
        bytes[central + 38..central + 42].copy_from_slice(&((kind | 0o644) << 16).to_le_bytes());
        assert_eq!(refused(&bytes, Format::Zip), "evil");
    }
}

#[test]
fn names_that_clash_are_refused() {
    for names in [&["a", "b", "a"][..], &["README", "readme"], &["a", "a/b"], &["A", "a/b/c"], &["a", "a/"], &["x/b", "x/B/"]] {
        assert!(matches!(read(&tar_of(names), Format::TarGz), Err(ArchiveError::Entry { .. })), "{names:?}");
    }
    assert_eq!(refused(&rename(&zip_of(&["twin1", "twin2"]), "twin2", "twin1"), Format::Zip), "twin1");
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let limits = Limits { files: 3, entries: 5, file_bytes: 10_000, total_bytes: 15_000, ratio: 10, ratio_from: 8_000 };
    let too_large = |bytes: &[u8], format| match read_with(bytes, format, &limits) {
        Err(ArchiveError::TooLarge { limit, .. }) => limit.0,
        other => panic!("{other:?}"),
    };
    for (bytes, format) in both(&["1", "2", "3", "4"]) {
        assert_eq!(too_large(&bytes, format), "limit_files");
    }
    for (bytes, format) in both(&["1/", "2/", "3/", "4/", "5/", "6/"]) {
        assert_eq!(too_large(&bytes, format), "limit_entries");
    }
    let sized = |sizes: &[usize], noise: bool| {
        let mut tar = Vec::new();
        let mut zip = zip_crate::ZipWriter::new(Cursor::new(Vec::new()));
        for (n, size) in sizes.iter().enumerate() {
            let mut seed = 7u64 + n as u64;
            let mut byte = || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_le_bytes()[3]
            };
            let content: Vec<u8> = (0..*size).map(|_| if noise { byte() } else { 0 }).collect();
            put(&mut tar, &header(format!("{n}").as_bytes(), EntryType::Regular, *size as u64), &content);
            zip.start_file(format!("{n}"), SimpleFileOptions::default()).unwrap();
            zip.write_all(&content).unwrap();
        }
        [(end(tar), Format::TarGz), (zip.finish().unwrap().into_inner(), Format::Zip)]
    };
    for (bytes, format) in sized(&[10_001], true) {
        assert_eq!(too_large(&bytes, format), "limit_bytes");
    }
    for (bytes, format) in sized(&[9_000, 9_000], true) {
        assert_eq!(too_large(&bytes, format), "limit_bytes");
    }
    for (bytes, format) in sized(&[9_000], false) {
        assert_eq!(too_large(&bytes, format), "limit_ratio");
    }
    for (bytes, format) in sized(&[9_000], true).into_iter().chain(sized(&[7_000], false)) {
        read_with(&bytes, format, &limits).unwrap();
    }
    // A header that announces more than there is does not get as far as memory.
    let mut tar = Vec::new();
    put(&mut tar, &header(b"././@LongLink", EntryType::GNULongName, 1 << 40), b"");
    assert!(matches!(read(&end(tar), Format::TarGz), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn a_zip_that_lies_about_sizes_is_refused() {
    let good = zip_of(&["aaaa"]);
    let central = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for (at, value) in [(24, 3u32), (24, 5), (20, 1), (16, 0), (42, 7), (42, 1 << 30), (20, u32::MAX), (24, u32::MAX)] {
        let mut bytes = good.clone();
        bytes[central + at..central + at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(
            matches!(read(&bytes, Format::Zip), Err(ArchiveError::Entry { .. } | ArchiveError::Damaged { .. })),
            "{at} {value}"
        );
    }
    // Another name in the local header; encryption; an unknown method.
    for (at, value) in [(30, b'X'), (6, 1), (8, 99)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(read(&bytes, Format::Zip).is_err(), "{at}");
    }
}

#[test]
fn zip_members_that_share_bytes_are_refused() {
    let good = zip_of(&["aa", "bb"]);
    let centrals: Vec<_> = good.windows(4).enumerate().filter(|(_, w)| *w == b"PK\x01\x02").map(|(at, _)| at).collect();
    let mut bytes = good.clone();
    // The second entry claims the bytes of the first, name and all.
    let first: Vec<u8> = bytes[centrals[0]..centrals[1]].to_vec();
    bytes[centrals[1]..centrals[1] + first.len()].copy_from_slice(&first);
    assert!(matches!(read(&bytes, Format::Zip), Err(ArchiveError::Entry { .. })));
}

#[test]
fn every_cut_is_noticed() {
    for (whole, format) in both(&["chart/values.yaml", "chart/templates/x.yaml"]) {
        read(&whole, format).unwrap();
        for length in 0..whole.len() {
            let result = read(&whole[..length], format);
            assert!(
                matches!(result, Err(ArchiveError::Entry { .. } | ArchiveError::Damaged { .. })),
                "{format:?} {length} {result:?}"
            );
        }
        let mut longer = whole.clone();
        longer.extend_from_slice(b"trailing");
        assert!(read(&longer, format).is_err());
    }
    // Cut within the tar, but whole as gzip.
    let tar: Vec<u8> = {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&tar_of(&["a", "b/c"])[..]).read_to_end(&mut plain).unwrap();
        plain
    };
    for length in 0..tar.len() - 1024 {
        assert!(read(&gzip(&tar[..length]), Format::TarGz).is_err(), "{length}");
    }
}

#[test]
fn any_changed_byte_is_an_error_or_harmless() {
    for (whole, format) in both(&["chart/values.yaml", "chart/b"]) {
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Ok(files) = read(&bytes, format) {
                    assert!(files.iter().all(|(path, ..)| crate::model::check_path(path).is_ok()));
                }
            }
        }
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in [&b""[..], b"x", b"hello world, this is a text and not an archive", &[0; 2048]] {
        for format in [Format::TarGz, Format::Zip] {
            assert!(matches!(read(bytes, format), Err(ArchiveError::Damaged { .. })));
        }
    }
}

#[test]
fn long_names_and_attributes_are_read() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let mut builder = tar_crate::Builder::new(Vec::new());
    for (name, mode) in [(long.as_str(), 0o755), ("z", 0o644)] {
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(mode);
        builder.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    builder.append_pax_extensions([("path", "é/pax.sh".as_bytes()), ("mtime", b"1.5")]).unwrap();
    let mut pax = header(b"ignored", EntryType::Regular, 0);
    pax.set_mode(0o700);
    pax.set_cksum();
    builder.append(&pax, &b""[..]).unwrap();
    let files = read(&gzip(&builder.into_inner().unwrap()), Format::TarGz).unwrap();
    let seen: Vec<_> = files.iter().map(|(path, executable, _)| (path.as_str(), *executable)).collect();
    assert_eq!(seen, [(long.as_str(), true), ("z", false), ("é/pax.sh", true)]);
    let stored = zip_with(
        &["a/b", "c"],
        SimpleFileOptions::default()
            .compression_method(zip_crate::CompressionMethod::Stored)
            .unix_permissions(0o755)
            .large_file(true),
    );
    assert!(read(&stored, Format::Zip).unwrap().iter().all(|(_, executable, _)| *executable));
}

#[test]
fn attributes_of_the_whole_archive_are_passed_over() {
    let mut tar = Vec::new();
    let comment = b"52 comment=0123456789012345678901234567890123456789\n";
    put(&mut tar, &header(b"pax_global_header", EntryType::XGlobalHeader, comment.len() as u64), comment);
    put(&mut tar, &header(b"a", EntryType::Regular, 1), b"x");
    assert_eq!(paths(&end(tar), Format::TarGz), ["a"]);
}
