//! The simulator itself: a seed is a run, the same run every time; a slice of seeds breaks no invariant; and planted bugs are in nothing that is
//! shipped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use writ_tests::sim::plan::Plan;
use writ_tests::sim::{Options, run};

/// Seeds of the slice here; `cargo xtask sim` runs many more, in a faster build.
const SEEDS: std::ops::Range<u64> = 1..25;

#[test]
fn the_same_seed_is_the_same_history() {
    let mut hashes = BTreeSet::new();
    for seed in 1..8 {
        let first = run(&Options::of(seed)).expect("runs");
        let second = run(&Options::of(seed)).expect("runs");
        assert_eq!(first.hash, second.hash, "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 7, "and another seed is another history");
}

#[test]
fn a_slice_of_seeds_breaks_no_invariant() {
    let (mut starts, mut frames) = (0, 0);
    for seed in SEEDS {
        let outcome = run(&Options::of(seed)).expect("runs");
        assert_eq!(outcome.violations, [], "cargo xtask sim --seed {seed} --trace");
        starts += outcome.counts.starts;
        frames += outcome.counts.frames;
    }
    assert!(
        starts > 100 && frames > 1_000,
        "something happened: {starts} steps, {frames} records"
    );
}

/// Seeds in which something was found once; what, is in `docs/reliability.md`.
#[test]
fn what_was_found_once_is_not_found_again() {
    for seed in [40, 46, 61, 630, 639, 664, 669] {
        let outcome = run(&Options::of(seed)).expect("runs");
        assert_eq!(outcome.violations, [], "cargo xtask sim --seed {seed} --trace");
    }
}

#[test]
fn what_is_left_out_of_a_plan_leaves_the_rest_as_it_was() {
    let span = Duration::from_secs(600);
    let whole = Plan::draw(5, span, &BTreeSet::new());
    let without = Plan::draw(5, span, &BTreeSet::from([0]));
    assert_eq!(whole.entries.get(1..), Some(without.entries.as_slice()));
}

#[test]
fn no_program_that_is_shipped_holds_a_planted_bug() {
    let here = std::env::current_exe().expect("a test has a path");
    let folder: PathBuf = here.ancestors().nth(2).expect("a target folder").to_owned();
    for program in ["writ", "writ-agent", "writ-controller"] {
        let bytes = std::fs::read(folder.join(program))
            .expect("built beside the tests: cargo build --workspace --bins");
        let planted = b"planted-".as_slice();
        let names = bytes
            .windows(planted.len())
            .filter(|window| *window == planted)
            .count();
        assert_eq!(names, 0, "{program}");
    }
}
