//! Bytes as they are kept: a zstd frame that says how many bytes come out of it, and no more than that are let out.

use std::io;

/// Quick enough to be in nobody's way; the next levels gain a few percent on texts of a few KiB.
const LEVEL: i32 = 3;

/// How a frame begins, which says nothing by itself: a content of somebody's may begin like that too.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Packs bytes.
pub(crate) fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(plain, LEVEL)
}

/// Packs bytes if that saves an eighth of them.
pub(crate) fn pack_if_smaller(plain: &[u8]) -> Option<Vec<u8>> {
    let packed = pack(plain).ok()?;
    (packed.len() + plain.len() / 8 < plain.len()).then_some(packed)
}

/// What was packed; `None` when it was not, is damaged, or would be more than `limit` bytes.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
    if !packed.starts_with(&MAGIC) {
        return None;
    }
    // Only what is said is set aside, and a frame that holds more than it says is an error.
    let size = usize::try_from(zstd::zstd_safe::get_frame_content_size(packed).ok()??).ok()?;
    if size > limit {
        return None;
    }
    zstd::bulk::decompress(packed, size).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for plain in [Vec::new(), b"a".to_vec(), b"replicas: 3\n".repeat(1_000)] {
            let packed = pack(&plain).unwrap();
            assert_eq!(unpack(&packed, plain.len()), Some(plain));
        }
    }

    #[test]
    fn what_does_not_get_smaller_stays_as_it_is() {
        assert!(pack_if_smaller(b"").is_none());
        assert!(pack_if_smaller(b"short").is_none());
        let noise: Vec<u8> = (0..10_000u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        assert!(pack_if_smaller(&noise).is_none());
        assert!(pack_if_smaller(&b"replicas: 3\n".repeat(20)).is_some());
    }

    #[test]
    fn a_bomb_lets_nothing_out() {
        let bomb = pack(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 16 << 10);
        assert_eq!(unpack(&bomb, (64 << 20) - 1), None);
        // One that says that it is small: the size is in the four bytes after the magic and the descriptor.
        let mut liar = bomb;
        assert_eq!(liar[4] >> 6, 2, "four bytes of size");
        let at = if liar[4] & 0x20 == 0 { 6 } else { 5 };
        liar[at..at + 4].copy_from_slice(&1_000u32.to_le_bytes());
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&liar).ok(), Some(Some(1_000)));
        assert_eq!(unpack(&liar, 64 << 20), None);
    }

    #[test]
    fn a_damaged_frame_is_not_read() {
        let plain = b"replicas: 3\nimage: nginx\n".repeat(50);
        let packed = pack(&plain).unwrap();
        for end in 0..packed.len() {
            assert_eq!(unpack(&packed[..end], 1 << 20), None, "{end}");
        }
        assert_eq!(unpack(&plain, 1 << 20), None);
    }
}
