//! How a batch of events is one value: each event after its length as a varint, the way protobuf delimits messages.

use bytes::Bytes;

/// Appends `events` to `payload`.
pub(super) fn encode(events: &[Bytes], payload: &mut Vec<u8>) {
    payload.reserve(events.iter().map(|event| event.len() + 3).sum());
    for event in events {
        let mut length = event.len() as u64;
        while length >= 0x80 {
            payload.push(length as u8 | 0x80);
            length >>= 7;
        }
        payload.push(length as u8);
        payload.extend_from_slice(event);
    }
}

/// The events of a batch, sharing its memory; `None` when it is not one.
pub(super) fn decode(payload: &Bytes) -> Option<Vec<Bytes>> {
    let mut events = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let mut length: usize = 0;
        for shift in (0..).step_by(7) {
            let byte = *payload.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 35)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let end = at.checked_add(length).filter(|end| *end <= payload.len())?;
        events.push(payload.slice(at..end));
        at = end;
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_back() {
        let events: Vec<Bytes> = [0, 1, 127, 128, 300, 20_000].map(|length| Bytes::from(vec![7; length])).to_vec();
        let mut payload = Vec::new();
        encode(&events[..2], &mut payload);
        encode(&events[2..], &mut payload);
        assert_eq!(decode(&Bytes::from(payload)), Some(events));
        assert_eq!(decode(&Bytes::new()), Some(vec![]));
    }

    #[test]
    fn broken_batches_are_noticed() {
        for broken in [&[5, 1, 2][..], &[0x80], &[0xff; 12], &[1, 9, 4]] {
            assert_eq!(decode(&Bytes::copy_from_slice(broken)), None, "{broken:?}");
        }
    }
}
