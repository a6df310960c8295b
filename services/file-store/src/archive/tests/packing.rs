//! What we pack, we and other programs read.

use super::*;

fn manifest(files: &[(&str, bool, &[u8])]) -> Manifest {
    let entry = |(path, executable, content): &(&str, bool, &[u8])| FileEntry {
        path: (*path).to_owned(),
        size: content.len() as u64,
        hash: blake3::hash(content),
        executable: *executable,
    };
    Manifest::new(files.iter().map(entry).collect()).unwrap()
}

fn pack(format: Format, files: &[(&str, bool, &[u8])]) -> Vec<u8> {
    let manifest = manifest(files);
    let mut packer = Packer::new(format, &manifest).unwrap();
    let mut bytes = Vec::new();
    for entry in manifest.entries() {
        let (_, _, content) = files.iter().find(|(path, ..)| *path == entry.path).unwrap();
        packer.file(entry).unwrap();
        content.chunks(7).for_each(|chunk| packer.write(chunk).unwrap());
        packer.end_file().unwrap();
        bytes.extend(packer.take());
    }
    bytes.extend(packer.finish().unwrap());
    bytes
}

#[test]
fn packing_and_reading_are_inverse_and_deterministic() {
    let long = format!("{}/{}", "d".repeat(120), "é".repeat(60));
    let exactly = "e".repeat(100);
    let large = vec![7; 3 << 20];
    let sets: [&[(&str, bool, &[u8])]; 5] = [
        &[],
        &[("a.yaml", false, b"a: 1\n"), ("bin/run", true, b"#!/bin/sh\n"), ("empty", false, b"")],
        &[("one/a", false, b"1"), ("one/b/c", true, b"2")],
        &[(&long, false, b"x"), (&exactly, true, b"y"), ("日本 語/\"q\"", false, b"z")],
        &[("large", false, &large), ("small", false, b"s")],
    ];
    for files in sets {
        for format in [Format::TarGz, Format::Zip] {
            let packed = pack(format, files);
            assert_eq!(packed, pack(format, files));
            let mut read = read(&packed, format).unwrap();
            read.sort();
            let mut expected: Files = files.iter().map(|(p, x, c)| ((*p).to_owned(), *x, c.to_vec())).collect();
            expected.sort();
            assert!(read == expected, "{format:?}");
        }
    }
}

#[test]
fn other_programs_read_what_we_pack() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(60));
    let sets: [&[(&str, bool, &[u8])]; 2] =
        [&[("a b", false, b"1"), (&long, true, b"2")], &[("one/é", false, b"1"), ("one/x", true, b"2")]];
    for files in sets {
        for (format, program, arguments) in [(Format::TarGz, "tar", ["-xzf"]), (Format::Zip, "unzip", ["-q"])] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("archive"), pack(format, files)).unwrap();
            let run = std::process::Command::new(program).current_dir(dir.path()).args(arguments).arg("archive").output();
            // Not every machine has unzip; tar is everywhere.
            let Ok(out) = run else { continue };
            assert!(out.status.success() && out.stderr.is_empty(), "{program} {}", String::from_utf8_lossy(&out.stderr));
            for (path, _, content) in files {
                assert_eq!(&std::fs::read(dir.path().join(path)).unwrap(), content);
            }
        }
    }
}

#[test]
fn what_other_programs_pack_is_read() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Outside of what is packed: tar fails when its directory changes under it.
    let packed_to = out.path().join("packed.bin");
    let packed_to = packed_to.to_str().unwrap();
    let long = format!("chart/{}/{}", "d".repeat(90), "f".repeat(90));
    for path in ["chart/values.yaml", "chart/templates/é x.yaml", &long] {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, path).unwrap();
    }
    let run = |program: &str, arguments: &[&str]| {
        let _ = std::fs::remove_file(packed_to);
        let out = std::process::Command::new(program).current_dir(dir.path()).args(arguments).output();
        out.is_ok_and(|out| out.status.success()).then(|| std::fs::read(packed_to).unwrap())
    };
    let mut packed = Vec::new();
    for form in ["--format=gnu", "--format=pax", "--format=ustar"] {
        packed.push((run("tar", &[form, "-czf", packed_to, "chart"]).unwrap(), Format::TarGz, 0));
        packed.push((run("tar", &[form, "-C", "chart", "-czf", packed_to, "."]).unwrap(), Format::TarGz, 0));
        packed.push((run("tar", &[form, "-czf", packed_to, "./"]).unwrap(), Format::TarGz, "chart/".len()));
    }
    // Not every machine has zip.
    packed.extend(run("zip", &["-qr", packed_to, "chart"]).map(|bytes| (bytes, Format::Zip, 0)));
    packed.extend(run("zip", &["-qr", packed_to, "chart", "-D"]).map(|bytes| (bytes, Format::Zip, 0)));
    for (bytes, format, kept) in packed {
        let mut files = read(&bytes, format).unwrap();
        files.sort();
        let mut expected =
            ["chart/values.yaml", "chart/templates/é x.yaml", &long].map(|p| (p["chart/".len() - kept..].to_owned(), p));
        expected.sort();
        let seen: Vec<_> = files.iter().map(|(path, _, content)| (path.clone(), std::str::from_utf8(content).unwrap())).collect();
        assert_eq!(seen, expected);
    }
}
