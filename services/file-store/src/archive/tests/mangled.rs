//! Archives that nobody has made: bytes at random, and good ones with bytes changed, cut out and put in. Whatever comes of it,
//! it is an answer within the limits, and never a panic.

use std::time::{Duration, Instant};

use super::*;

/// Bytes and numbers at random, the same for the same seed.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.fill(&mut bytes);
        bytes
    }

    fn roll(&mut self, sides: usize) -> usize {
        let mut number = [0; 8];
        self.0.fill(&mut number);
        usize::try_from(u64::from_le_bytes(number) % sides.max(1) as u64).unwrap()
    }

    /// Changes, removes, doubles or inserts a few stretches.
    fn mangle(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            let end = (at + 1 + self.roll(24)).min(bytes.len());
            match self.roll(5) {
                0 => bytes[at..end].iter_mut().for_each(|b| *b = 0xff),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                3 => {
                    let noise = self.bytes(end - at);
                    bytes[at..end].copy_from_slice(&noise);
                }
                _ => bytes[at] ^= 1 << self.roll(8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }
}

/// The limits are small, so that going beyond them shows.
const LIMITS: Limits =
    Limits { files: 50, entries: 100, file_bytes: 1 << 20, total_bytes: 4 << 20, ratio: 100, ratio_from: 1 << 20 };

fn tries(seed: u64) {
    let mut dice = Dice::new(seed);
    let names = ["top/a", "top/b/c", "top/d e", "top/f"];
    let (tar, zip) = (tar_of(&names), zip_of(&names));
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(tar.as_slice()).read_to_end(&mut plain).unwrap();
    let size = dice.roll(2_000);
    for (bytes, format) in [
        (dice.bytes(size), Format::TarGz),
        (dice.bytes(size), Format::Zip),
        (gzip(&dice.bytes(size * 8)), Format::TarGz),
        (dice.mangle(&tar), Format::TarGz),
        // Below the compression, where the checksum of gzip does not help.
        (gzip(&dice.mangle(&plain)), Format::TarGz),
        (dice.mangle(&zip), Format::Zip),
    ] {
        if let Ok(files) = read_with(&bytes, format, &LIMITS) {
            assert!(files.len() as u64 <= LIMITS.files, "seed {seed}");
            assert!(files.iter().map(|(.., content)| content.len() as u64).sum::<u64>() <= LIMITS.total_bytes, "seed {seed}");
            for (path, ..) in files {
                crate::model::check_path(&path).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            }
        }
    }
}

#[test]
fn nothing_that_is_read_is_a_surprise() {
    (0..400).for_each(tries);
}

#[test]
#[ignore = "a minute long"]
fn fuzz_archives_for_a_minute() {
    let (began, mut seed) = (Instant::now(), 1 << 32);
    while began.elapsed() < Duration::from_secs(60) {
        tries(seed);
        seed += 1;
    }
}
