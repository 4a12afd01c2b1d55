//! What of an answer has room in its record.

use writ_protocol::record::Difference;
use writ_protocol::record::drift::{DIFFERING_BYTES_MAX, DIFFERING_MAX};

/// What a difference takes in a record besides its texts, bytes, at the most.
const FRAMING: usize = 64;

/// As many differences as a record may hold, and how many are left out.
pub(super) fn fit<'a>(all: impl ExactSizeIterator<Item = &'a Difference>) -> (Vec<Difference>, u32) {
    let (total, mut room) = (all.len(), DIFFERING_BYTES_MAX);
    let mut kept = Vec::new();
    for one in all.take(DIFFERING_MAX) {
        let changes = one
            .changes
            .iter()
            .map(|change| change.attribute.len() + change.want.len() + change.got.len() + FRAMING);
        let unseen = one
            .unseen
            .as_ref()
            .map_or(0, |unseen| unseen.detail.len() + FRAMING);
        let takes = one.resource.len() + FRAMING + unseen + changes.sum::<usize>();
        let Some(left) = room.checked_sub(takes) else {
            break;
        };
        room = left;
        kept.push(one.clone());
    }
    let left_out = u32::try_from(total.saturating_sub(kept.len())).unwrap_or(u32::MAX);
    (kept, left_out)
}
