//! Making pseudonyms: a keyed hash of the name, in the shape of a DNS label. Without the key nobody can tell a name from its
//! pseudonym by trying; with it the same name has the same pseudonym in all calls of a conversation.

use blake3::Hasher;

use crate::model::NameKind;

// Without those that are easily taken for one another, and without a dash: no pseudonym can begin within another one.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const LENGTH: usize = 8;

/// What pseudonyms of one conversation are made with.
#[derive(Clone, Copy)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of a conversation, out of the operator's secret.
    pub(super) fn of(secret: &[u8; 32], project: &str, conversation: &str) -> Self {
        let mut hasher = Hasher::new_keyed(secret);
        // With its length in front, no project and conversation read like another two.
        hasher.update(&(project.len() as u64).to_le_bytes()).update(project.as_bytes()).update(conversation.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The pseudonym of a name: as many labels as the name has. `attempt` makes another one.
    pub(super) fn pseudonym(&self, name: &str, kind: NameKind, attempt: u32) -> String {
        let mut hasher = Hasher::new_keyed(&self.0);
        hasher.update(&attempt.to_le_bytes()).update(name.as_bytes());
        let mut random = hasher.finalize_xof();
        let mut label = || {
            let mut bytes = [0; LENGTH];
            random.fill(&mut bytes);
            bytes.map(|b| char::from(ALPHABET[usize::from(b % 32)])).iter().collect::<String>()
        };
        let first = format!("{}-{}", prefix(kind), label());
        let more = if name.starts_with('.') || name.ends_with('.') { 0 } else { name.matches('.').count().min(4) };
        (0..more).fold(first, |all, _| format!("{all}.d{}", label()))
    }
}

fn prefix(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Any => "name",
        NameKind::Cluster => "cluster",
        NameKind::Namespace => "ns",
        NameKind::Resource => "res",
        NameKind::Pod => "pod",
        NameKind::Host => "host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_are_labels_of_the_conversation() {
        let key = Key::of(&[7; 32], "p", "c");
        let one = key.pseudonym("shop-api", NameKind::Resource, 0);
        assert_eq!(one, Key::of(&[7; 32], "p", "c").pseudonym("shop-api", NameKind::Resource, 0));
        for other in [Key::of(&[7; 32], "pc", ""), Key::of(&[8; 32], "p", "c")] {
            assert_ne!(one, other.pseudonym("shop-api", NameKind::Resource, 0));
        }
        assert_ne!(one, key.pseudonym("shop-api", NameKind::Resource, 1));
        let label = |l: &str| {
            l.len() <= 63
                && l.starts_with(|c: char| c.is_ascii_lowercase())
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        assert!(label(&one) && one.starts_with("res-"), "{one}");
        let host = key.pseudonym("db.shop.example.com", NameKind::Host, 0);
        assert!(host.split('.').count() == 4 && host.split('.').all(label), "{host}");
    }
}
