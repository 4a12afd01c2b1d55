//! The bytes of a step, on their way in parts: what one part says, and how parts become the whole again. Who takes them apart is the agent's journal;
//! a controller, a desk and whoever verifies a pack put them together, and must come to the same bytes.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::OrderId;

/// Part of the bytes of an artefact or of a step's output; whole when the chunks cover `0..total`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobChunk {
    /// The order it came from.
    pub order_id: OrderId,
    /// SHA-256 of all the bytes.
    pub digest: Digest,
    /// Where this part begins.
    pub offset: u64,
    /// How many bytes there are in all.
    pub total: u64,
    /// This part.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// The bytes of parts, each with where it begins, up to the first that is missing. They may come in any order, and one may come again: what
/// a digest says of the result is for the caller to check ([`whole`] does).
pub fn joined<'a>(parts: impl IntoIterator<Item = (u64, &'a [u8])>) -> Vec<u8> {
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(offset, _)| *offset);
    let mut bytes = Vec::new();
    for (offset, part) in parts {
        if offset == bytes.len() as u64 {
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// The bytes with this digest from its parts; none where a part is missing or another than it was.
pub fn whole<'a>(digest: &Digest, parts: impl IntoIterator<Item = (u64, &'a [u8])>) -> Option<Vec<u8>> {
    let bytes = joined(parts);
    (Digest::of(&bytes) == *digest).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_and_again_become_the_whole() {
        let digest = Digest::of(b"abcdef");
        let parts: [(u64, &[u8]); 5] = [(4, b"ef"), (0, b"ab"), (2, b"cd"), (0, b"ab"), (4, b"ef")];
        assert_eq!(whole(&digest, parts), Some(b"abcdef".to_vec()));
        assert_eq!(whole(&Digest::of(b""), []), Some(Vec::new()));
    }

    #[test]
    fn a_missing_or_changed_part_leaves_nothing_whole() {
        let digest = Digest::of(b"abcdef");
        for parts in [
            vec![(0_u64, &b"ab"[..]), (4, b"ef")],
            vec![(2, b"cd"), (4, b"ef")],
            vec![(0, b"ab"), (2, b"cX"), (4, b"ef")],
            vec![(0, b"ab"), (1, b"bcdef")],
            vec![],
        ] {
            assert_eq!(whole(&digest, parts.clone()), None, "{parts:?}");
        }
        assert_eq!(joined([(0, &b"ab"[..]), (4, b"ef")]), b"ab");
    }
}
