//! How controllers share the shards: each aims at the same number, keeps what it has up to that, and gives up the rest.

/// How many shards each of `live` controllers aims at.
pub fn aim(shards: usize, live: usize) -> usize {
    shards.div_ceil(live.max(1))
}

/// Which of the shards that a controller holds it gives up: the last, so that the first stay where they are.
pub fn surplus<T: Copy + Ord>(held: &[T], aim: usize) -> Vec<T> {
    let mut held = held.to_vec();
    held.sort_unstable();
    held.split_off(aim.min(held.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_room_and_nobody_aims_at_more_than_its_part() {
        for shards in 0..=32 {
            for live in 0..=40 {
                let aim = aim(shards, live);
                assert!(aim * live.max(1) >= shards, "{shards} {live}");
                assert!(aim <= shards);
                assert!(
                    aim.saturating_sub(1) * live.max(1) < shards.max(1),
                    "{shards} {live}"
                );
            }
        }
        assert_eq!((aim(16, 1), aim(16, 2), aim(16, 3), aim(16, 17)), (16, 8, 6, 1));
    }

    #[test]
    fn the_last_are_given_up() {
        assert_eq!(surplus(&[3, 1, 2, 0], 2), [2, 3]);
        assert!(surplus(&[1, 0], 2).is_empty());
        assert_eq!(surplus(&[1, 0], 0), [0, 1]);
        assert!(surplus::<u8>(&[], 3).is_empty());
    }
}
