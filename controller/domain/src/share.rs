//! How controllers share the shards: each that the bus answers aims at the same number, keeps what it has up to that, and gives up the rest.

/// Whether the bus answers a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ear {
    /// It did a moment ago.
    Hears,
    /// It may again in a moment.
    Unsure,
    /// It has not for long enough that whoever said meanwhile that it hears does.
    Deaf,
}

/// Who shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Living {
    /// Controllers that live, the asking one among them.
    pub live: usize,
    /// Those that the bus answers.
    pub hearing: usize,
}

/// How many shards a controller aims at. One that the bus does not answer can do nothing for agents, so those that it answers take all; where it answers
/// nobody, all that live share as ever, for what is done without the bus is done by holders of shards too.
pub fn part(shards: usize, ear: Ear, living: Living) -> usize {
    match (ear, living.hearing) {
        (_, 0) => aim(shards, living.live),
        (Ear::Deaf, _) => 0,
        (Ear::Unsure, hearing) => aim(shards, hearing.saturating_add(1)),
        (Ear::Hears, hearing) => aim(shards, hearing),
    }
}

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
    fn those_that_the_bus_answers_take_all_and_where_it_answers_nobody_all_share() {
        let part = |ear, live, hearing| super::part(16, ear, Living { live, hearing });
        assert_eq!((part(Ear::Hears, 2, 2), part(Ear::Hears, 2, 1)), (8, 16));
        assert_eq!((part(Ear::Deaf, 2, 1), part(Ear::Deaf, 3, 2)), (0, 0));
        for ear in [Ear::Hears, Ear::Unsure, Ear::Deaf] {
            assert_eq!((part(ear, 1, 0), part(ear, 2, 0)), (16, 8), "{ear:?}");
        }
        assert_eq!(part(Ear::Unsure, 2, 1), 8, "it keeps its part until it is sure");
    }

    #[test]
    fn the_last_are_given_up() {
        assert_eq!(surplus(&[3, 1, 2, 0], 2), [2, 3]);
        assert!(surplus(&[1, 0], 2).is_empty());
        assert_eq!(surplus(&[1, 0], 0), [0, 1]);
        assert!(surplus::<u8>(&[], 3).is_empty());
    }
}
