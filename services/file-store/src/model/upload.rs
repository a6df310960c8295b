//! Uploads: contents that come in as many calls as it takes.

use blake3::Hash;
use uuid::Uuid;

/// A content on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) id: Uuid,
    pub(crate) size: u64,
    /// How many bytes are safe.
    pub(crate) committed: u64,
    /// What the content must be.
    pub(crate) blake3: Option<Hash>,
    pub(crate) sha256: Option<[u8; 32]>,
    /// What it is, once it is finished.
    pub(crate) content: Option<Hash>,
    pub(crate) create_time: i64,
    pub(crate) expire_time: i64,
}

/// Some bytes of an upload that are safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Names the object that holds them.
    pub(crate) name: Uuid,
}

/// Whether pieces make a whole of this size, each beginning where the one before ends.
pub(crate) fn are_whole(pieces: &[Piece], size: u64) -> bool {
    let end = pieces.iter().try_fold(0_u64, |at, piece| (piece.start == at).then(|| at.saturating_add(piece.size)));
    end == Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_without_gaps() {
        let piece = |start, size| Piece { start, size, name: Uuid::nil() };
        assert!(are_whole(&[], 0));
        assert!(are_whole(&[piece(0, 5), piece(5, 1)], 6));
        assert!(!are_whole(&[piece(0, 5), piece(5, 1)], 7));
        assert!(!are_whole(&[piece(0, 5), piece(6, 1)], 7));
        assert!(!are_whole(&[piece(5, 1), piece(0, 5)], 6));
    }
}
