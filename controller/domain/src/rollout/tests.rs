//! Numbers, every count of orders with its decision, and whole rollouts under ends in any order.

use proptest::prelude::*;

use super::*;
use crate::run::{RunState, verdict};

fn said(concurrency: &str, threshold: &str, waves: &[&str]) -> Rollout {
    let share = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    Rollout {
        concurrency: share(concurrency),
        error_threshold: share(threshold),
        waves: waves.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

#[test]
fn percents_are_of_the_targets_at_the_start_and_rounded_down() {
    for (rollout, targets, wanted) in [
        (said("", "", &[]), 7, (7, 0, vec![7])),
        (said("20%", "5%", &[]), 7, (1, 0, vec![7])),
        (said("20%", "50%", &[]), 11, (2, 5, vec![11])),
        (said("1%", "100%", &["1%"]), 10, (1, 10, vec![1, 10])),
        (
            said("50", "50", &["1", "10%", "100%"]),
            30,
            (30, 30, vec![1, 3, 30]),
        ),
        // Of few hosts the canary is the tenth as well.
        (
            said("2", "0", &["1", "10%", "50%", "100%"]),
            4,
            (2, 0, vec![1, 2, 4]),
        ),
        (said("1", "0", &["40"]), 4, (1, 0, vec![4])),
        (said("100%", "1%", &["10%", "5"]), 100, (100, 1, vec![10, 100])),
        (said("1", "1", &["1"]), 0, (1, 0, vec![])),
    ] {
        let frozen = Frozen::of(&rollout, targets);
        assert_eq!(
            (frozen.concurrency, frozen.error_threshold, frozen.waves),
            wanted,
            "{rollout:?} of {targets}"
        );
    }
}

#[test]
fn who_applies_may_narrow_what_the_config_names_and_choose_what_it_leaves_open() {
    let config = said("4", "20%", &["1"]);
    let narrowed = Frozen::narrowed(&config, &said("20%", "0", &[]), 10).unwrap();
    assert_eq!(
        (narrowed.concurrency, narrowed.error_threshold, narrowed.waves),
        (2, 0, vec![1, 10])
    );
    assert_eq!(
        Frozen::narrowed(&config, &Rollout::default(), 10).unwrap(),
        Frozen::of(&config, 10)
    );
    let wider = Frozen::narrowed(&config, &said("50%", "", &[]), 10).unwrap_err();
    assert_eq!((wider.what, wider.asked, wider.allowed), ("concurrency", 5, 4));
    let wider = Frozen::narrowed(&config, &said("", "3", &[]), 10).unwrap_err();
    assert_eq!(
        (wider.what, wider.asked, wider.allowed),
        ("error_threshold", 3, 2)
    );
    let open = Frozen::narrowed(&said("", "", &["1"]), &said("3", "3", &[]), 10).unwrap();
    assert_eq!((open.concurrency, open.error_threshold), (3, 3));
}

#[test]
fn every_count_of_orders_has_its_decision() {
    let frozen = Frozen::of(&said("2", "1", &["1", "4"]), 10);
    let stands = |held, in_flight, over, failed| Standing {
        held,
        in_flight,
        over,
        failed,
    };
    for (standing, wanted) in [
        (stands(10, 0, 0, 0), Decision::Release(1)),
        // The canary is at work, then it is over.
        (stands(9, 1, 0, 0), Decision::Wait),
        (stands(9, 0, 1, 0), Decision::Release(2)),
        (stands(7, 1, 2, 0), Decision::Release(1)),
        (stands(6, 1, 3, 0), Decision::Wait),
        (stands(6, 0, 4, 1), Decision::Release(2)),
        (stands(5, 1, 4, 2), Decision::Stop),
        (stands(1, 0, 9, 1), Decision::Release(1)),
        (stands(0, 2, 8, 2), Decision::Wait),
        (stands(0, 0, 10, 9), Decision::Wait),
        // A late word has brought one back that was given up: more are at work than may be, and none is added.
        (stands(3, 3, 4, 0), Decision::Wait),
    ] {
        assert_eq!(frozen.decide(&standing), wanted, "{standing:?}");
    }
}

#[test]
fn what_a_halt_or_a_person_ended_is_no_failure_and_what_nobody_heard_of_is() {
    for state in OrderState::ALL {
        let counted = standing_of([(state, false, 2), (state, true, 3)]);
        assert_eq!(counted.held + counted.in_flight + counted.over, 5, "{state:?}");
        assert_eq!(counted.over == 5, state.is_terminal());
        assert_eq!(counted.failed, if is_failure(state) { 2 } else { 0 });
        assert!(!is_failure(state) || state.is_terminal());
        // A failure here is never a success of the run.
        assert!(!is_failure(state) || verdict([(state, 1)]) != RunState::Succeeded);
    }
}

/// A rollout that hosts end in some order: `ends` chooses which of those at work ends next, and how.
fn carried_out(frozen: &Frozen, ends: &[(usize, OrderState)]) -> (Vec<OrderState>, bool) {
    let mut orders = vec![OrderState::Held; frozen.targets as usize];
    let mut stopped = false;
    let mut ends = ends.iter().cycle();
    loop {
        let counted = standing_of(orders.iter().map(|state| (*state, false, 1)));
        match frozen.decide(&counted) {
            Decision::Release(hosts) => {
                let next = orders.iter_mut().filter(|state| **state == OrderState::Held);
                next.take(usize::try_from(hosts).unwrap())
                    .for_each(|state| *state = OrderState::Pending);
                let counted = standing_of(orders.iter().map(|state| (*state, false, 1)));
                assert!(counted.in_flight <= u64::from(frozen.concurrency));
                assert!(
                    counted.failed <= u64::from(frozen.error_threshold),
                    "nothing is begun beyond it"
                );
                // Nothing of a wave is begun while the one before is not over.
                let before = frozen.waves.iter().map(|wave| u64::from(*wave));
                let before = before
                    .filter(|wave| *wave < counted.in_flight + counted.over)
                    .max();
                assert!(before.is_none_or(|wave| counted.over >= wave));
                continue;
            }
            Decision::Stop => {
                assert!(counted.failed > u64::from(frozen.error_threshold) && !stopped);
                stopped = true;
                let held = orders.iter_mut().filter(|state| **state == OrderState::Held);
                held.for_each(|state| *state = OrderState::NotStarted);
                continue;
            }
            Decision::Wait => {}
        }
        let mut at_work: Vec<&mut OrderState> = orders
            .iter_mut()
            .filter(|state| **state == OrderState::Pending)
            .collect();
        if at_work.is_empty() {
            return (orders, stopped);
        }
        let (place, how) = ends.next().unwrap();
        let place = place % at_work.len();
        **at_work.get_mut(place).unwrap() = *how;
    }
}

proptest! {
    #[test]
    fn never_more_at_work_than_may_be_none_begun_beyond_the_threshold_and_every_order_ends(
        targets in 1_u32..40,
        concurrency in prop_oneof![(1_u32..12).prop_map(Share::Count), (1_u8..=100).prop_map(Share::Percent)],
        threshold in prop_oneof![(0_u32..6).prop_map(Share::Count), (0_u8..=100).prop_map(Share::Percent)],
        waves in proptest::collection::vec(prop_oneof![(1_u32..40).prop_map(Share::Count), (1_u8..=100).prop_map(Share::Percent)], 0..4),
        ends in proptest::collection::vec((0_usize..40, proptest::sample::select(vec![
            OrderState::Succeeded, OrderState::Succeeded, OrderState::Failed, OrderState::Expired, OrderState::Cancelled,
        ])), 1..60),
    ) {
        let rollout = Rollout { concurrency: Some(concurrency), error_threshold: Some(threshold), waves };
        let frozen = Frozen::of(&rollout, targets);
        prop_assert_eq!(frozen.waves.last(), Some(&targets));
        let (orders, stopped) = carried_out(&frozen, &ends);
        prop_assert!(orders.iter().all(|state| state.is_terminal()), "{:?}", orders);
        let failed = orders.iter().filter(|state| is_failure(**state)).count();
        let begun = orders.iter().filter(|state| **state != OrderState::NotStarted).count();
        if stopped {
            prop_assert!(failed > frozen.error_threshold as usize);
            // Whatever failed beyond the threshold was at work when it was passed.
            prop_assert!(failed <= (frozen.error_threshold + frozen.concurrency) as usize);
            prop_assert_eq!(verdict(orders.iter().map(|state| (*state, 1))), RunState::Failed);
        } else {
            prop_assert_eq!(begun, targets as usize);
        }
    }
}
