//! Every state against every event, and that no sequence of events passes a cap.

use proptest::prelude::*;

use super::*;
use crate::order::OrderState;

fn grant(state: GrantState, spent: u64, overrun: u64) -> Grant {
    Grant {
        amount_micros: 100,
        state,
        spent_micros: spent,
        overrun_micros: overrun,
    }
}

#[test]
fn every_event_on_every_state_of_a_grant() {
    use GrantEvent::{Metered, Silent, Unmetered, Unused};
    use GrantState::{Disputed, Open, Returned, Spent};
    let events = [
        Metered { cost_micros: 40 },
        Metered { cost_micros: 130 },
        Unmetered { cost_micros: 40 },
        Unused,
        Silent,
    ];
    let settled = [
        Ok(grant(Spent, 40, 0)),
        Ok(grant(Spent, 100, 30)),
        Ok(grant(Spent, 100, 0)),
        Ok(grant(Returned, 0, 0)),
        Ok(grant(Disputed, 0, 0)),
    ];
    let no = Err(GrantError::Contradiction);
    let spent = Ok(grant(Spent, 40, 0));
    let returned = Ok(grant(Returned, 0, 0));
    for (before, wanted) in [
        (grant(Open, 0, 0), settled),
        (grant(Disputed, 0, 0), settled),
        (grant(Spent, 40, 0), [spent, no, no, no, spent]),
        (grant(Returned, 0, 0), [no, no, no, returned, returned]),
    ] {
        for (event, wanted) in events.into_iter().zip(wanted) {
            let found = apply(&before, event);
            if let Ok(found) = &found {
                assert_eq!(found.changed, found.next != before, "{before:?} {event:?}");
            }
            assert_eq!(found.map(|t| t.next), wanted, "{before:?} {event:?}");
        }
    }
}

#[test]
fn every_state_of_an_order_says_what_becomes_of_its_grant() {
    let (cost, unmetered) = (
        GrantEvent::Metered { cost_micros: 7 },
        GrantEvent::Unmetered { cost_micros: 7 },
    );
    for (state, wanted, unsure) in [
        (OrderState::Pending, None, None),
        (OrderState::Accepted, None, None),
        (OrderState::Succeeded, Some(cost), Some(unmetered)),
        (OrderState::Failed, Some(cost), Some(unmetered)),
        (OrderState::Aborted, Some(cost), Some(unmetered)),
        (OrderState::Stopped, Some(cost), Some(unmetered)),
        (OrderState::Indeterminate, Some(unmetered), Some(unmetered)),
        (OrderState::Refused, Some(GrantEvent::Unused), Some(unmetered)),
        (
            OrderState::Expired,
            Some(GrantEvent::Silent),
            Some(GrantEvent::Silent),
        ),
        (
            OrderState::Cancelled,
            Some(GrantEvent::Silent),
            Some(GrantEvent::Silent),
        ),
        (
            OrderState::Unresolved,
            Some(GrantEvent::Silent),
            Some(GrantEvent::Silent),
        ),
    ] {
        assert_eq!(event_of(state, Some(7), true), wanted, "{state:?}");
        assert_eq!(event_of(state, Some(7), false), unsure, "{state:?}");
    }
    let unsaid = Some(GrantEvent::Unmetered { cost_micros: 0 });
    assert_eq!(event_of(OrderState::Succeeded, None, true), unsaid);
}

#[test]
fn only_an_enforced_budget_refuses_and_says_what_is_left() {
    for (mode, wanted) in [
        (Mode::Observe, Ok(true)),
        (Mode::Warn, Ok(true)),
        (Mode::Enforce, Err(Refusal::Short { left_micros: 40 })),
    ] {
        let account = Account::new(mode, 100).reserve(60).unwrap().next;
        let found = account.reserve(41);
        assert_eq!(found.map(|r| r.is_over), wanted, "{mode:?}");
        assert!(account.reserve(40).is_ok_and(|r| !r.is_over), "{mode:?}");
    }
    let wide = Account::new(Mode::Observe, 1).reserve(MICROS_MAX).unwrap().next;
    assert_eq!(wide.reserve(1), Err(Refusal::Uncountable));
    assert_eq!(wide.reserve(u64::MAX), Err(Refusal::Uncountable));
}

#[test]
fn a_refusal_of_one_level_takes_nothing_of_another() {
    let accounts = [
        Account::new(Mode::Enforce, 100),
        Account::new(Mode::Enforce, 10),
        Account::new(Mode::Enforce, 50),
    ];
    assert_eq!(
        reserve_all(&accounts, 20),
        Err((1, Refusal::Short { left_micros: 10 }))
    );
    let all = reserve_all(&accounts, 10).unwrap();
    assert!(all.iter().all(|r| r.next.reserved_micros == 10));
}

#[test]
fn what_was_spent_beyond_a_grant_is_missing_from_what_is_left() {
    let (open, account) = (
        Grant::open(50),
        Account::new(Mode::Enforce, 100).reserve(50).unwrap().next,
    );
    let after = apply(&open, GrantEvent::Metered { cost_micros: 70 })
        .unwrap()
        .next;
    let (account, _) = account.follow(&open, &after).unwrap();
    assert_eq!((account.spent_micros, account.overrun_micros), (50, 20));
    assert_eq!(account.reserve(31), Err(Refusal::Short { left_micros: 30 }));
    assert!(account.reserve(30).is_ok());
}

#[test]
fn an_account_that_does_not_hold_a_grant_stays_as_it_is() {
    let open = Grant::open(5);
    let after = apply(&open, GrantEvent::Unused).unwrap().next;
    assert_eq!(
        Account::new(Mode::Enforce, 100).follow(&open, &after),
        Err(OutOfStep)
    );
}

/// An account after an order that was granted `amount` has spent `cost`, and the threshold that people were told of.
fn spending(account: &Account, amount: u64, cost_micros: u64) -> (Account, Option<u8>) {
    let reserved = account.reserve(amount).unwrap().next;
    let open = Grant::open(amount);
    let after = apply(&open, GrantEvent::Metered { cost_micros }).unwrap().next;
    reserved.follow(&open, &after).unwrap()
}

#[test]
fn thresholds_are_told_once_and_again_under_another_cap() {
    let mut account = Account::new(Mode::Enforce, 100);
    let mut told = Vec::new();
    for cost in [74, 1, 10, 5, 9, 1] {
        let (next, notice) = spending(&account, account.left_micros(), cost);
        account = next;
        told.push(notice);
    }
    assert_eq!(told, [None, Some(75), None, Some(90), None, Some(100)]);
    let lowered = account.adjust(Mode::Warn, 90).unwrap();
    assert_eq!(lowered.noticed, 100);
    let raised = account.adjust(Mode::Enforce, 200).unwrap();
    assert_eq!(spending(&raised, 100, 50).1, Some(75));
    assert_eq!(spending(&Account::new(Mode::Warn, 10), 20, 11).1, Some(100));
    assert_eq!(spending(&Account::new(Mode::Warn, 0), 0, 0).1, None);
}

#[test]
fn what_is_only_reserved_is_told_of_to_nobody_and_what_is_disputed_is() {
    let (open, account) = (
        Grant::open(80),
        Account::new(Mode::Enforce, 100).reserve(80).unwrap().next,
    );
    assert_eq!(account.reached(), 0);
    let silent = apply(&open, GrantEvent::Silent).unwrap().next;
    let (disputed, notice) = account.follow(&open, &silent).unwrap();
    assert_eq!((disputed.disputed_micros, notice), (80, Some(75)));
    let proven = apply(&silent, GrantEvent::Metered { cost_micros: 5 })
        .unwrap()
        .next;
    let (proven, notice) = disputed.follow(&silent, &proven).unwrap();
    assert_eq!((proven.left_micros(), notice), (95, None));
}

#[test]
fn a_cap_is_not_enforced_below_what_is_held() {
    let account = Account::new(Mode::Warn, 100).reserve(120).unwrap().next;
    assert_eq!(
        account.adjust(Mode::Enforce, 119),
        Err(BelowHeld { held_micros: 120 })
    );
    assert!(account.adjust(Mode::Enforce, 120).is_ok());
    assert!(account.adjust(Mode::Observe, 0).is_ok());
}

#[test]
fn windows_begin_at_midnight_utc_and_on_the_first() {
    let at = |text: &str| Timestamp::parse(text).unwrap();
    for (now, day, month) in [
        (
            "2026-11-21T18:53:21Z",
            "2026-11-21T00:00:00Z",
            "2026-11-01T00:00:00Z",
        ),
        (
            "2028-02-29T23:59:59.999Z",
            "2028-02-29T00:00:00Z",
            "2028-02-01T00:00:00Z",
        ),
        (
            "2100-03-01T00:00:00Z",
            "2100-03-01T00:00:00Z",
            "2100-03-01T00:00:00Z",
        ),
        (
            "1969-12-31T23:00:00Z",
            "1969-12-31T00:00:00Z",
            "1969-12-01T00:00:00Z",
        ),
    ] {
        assert_eq!(Span::Day.began(at(now)), at(day));
        assert_eq!(Span::Month.began(at(now)), at(month));
        assert_eq!(Span::Always.began(at(now)), Timestamp::default());
    }
    // Every day of 400 years and more: the first of a month is where the text says so.
    for day in -800_i64..147_000 {
        let now = Timestamp::from_millis(day * 86_400_000 + 1);
        let text = now.to_string();
        let first = format!("{}-01T00:00:00Z", &text[..7]);
        assert_eq!(Span::Month.began(now), at(&first), "{text}");
    }
}

#[test]
fn names_read_back() {
    assert!(Mode::ALL.into_iter().all(|m| Mode::of(m.name()) == Some(m)));
    assert!(Level::ALL.into_iter().all(|l| Level::of(l.name()) == Some(l)));
    assert!(Span::ALL.into_iter().all(|s| Span::of(s.name()) == Some(s)));
    let states = GrantState::ALL.into_iter();
    assert!(
        states
            .map(|s| (GrantState::of(s.name()), s))
            .all(|(found, s)| found == Some(s))
    );
    assert_eq!((Mode::of("off"), Span::of("week")), (None, None));
}

/// One thing that happens to a budget.
#[derive(Clone, Debug)]
enum Act {
    Reserve(u64),
    Tell(usize, GrantEvent),
    Adjust(Mode, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let event = prop_oneof![
        (0..300_u64).prop_map(|cost_micros| GrantEvent::Metered { cost_micros }),
        (0..300_u64).prop_map(|cost_micros| GrantEvent::Unmetered { cost_micros }),
        Just(GrantEvent::Unused),
        Just(GrantEvent::Silent),
    ];
    let mode = prop_oneof![Just(Mode::Observe), Just(Mode::Warn), Just(Mode::Enforce)];
    let act = prop_oneof![
        4 => prop_oneof![0..200_u64, Just(u64::MAX), Just(MICROS_MAX)].prop_map(Act::Reserve),
        4 => (any::<usize>(), event).prop_map(|(which, event)| Act::Tell(which, event)),
        1 => (mode, 0..1_500_u64).prop_map(|(mode, cap)| Act::Adjust(mode, cap)),
    ];
    proptest::collection::vec(act, 0..200)
}

proptest! {
    #[test]
    fn no_sequence_of_events_passes_the_cap_or_loses_money(cap in 0..1_000_u64, acts in acts()) {
        let mut account = Account::new(Mode::Enforce, cap);
        let mut grants: Vec<Grant> = Vec::new();
        for act in acts {
            match act {
                Act::Reserve(amount) => if let Ok(reserved) = account.reserve(amount) {
                    account = reserved.next;
                    grants.push(Grant::open(amount));
                },
                Act::Tell(which, event) => {
                    let count = grants.len().max(1);
                    let Some(grant) = grants.get_mut(which % count) else { continue };
                    let Ok(next) = apply(grant, event) else { continue };
                    let held = account.held_micros();
                    account = account.follow(grant, &next.next).expect("in step").0;
                    *grant = next.next;
                    prop_assert!(account.held_micros() <= held, "only a reservation takes money");
                }
                Act::Adjust(mode, cap) => if let Ok(next) = account.adjust(mode, cap) {
                    account = next;
                },
            }
            if account.mode == Mode::Enforce {
                prop_assert!(account.held_micros() <= account.cap_micros);
            }
            let sum = |part: fn(&Share) -> u64| grants.iter().map(|g| part(&g.share())).sum::<u64>();
            prop_assert_eq!(account.reserved_micros, sum(|s| s.reserved_micros));
            prop_assert_eq!(account.spent_micros, sum(|s| s.spent_micros));
            prop_assert_eq!(account.disputed_micros, sum(|s| s.disputed_micros));
            prop_assert_eq!(account.overrun_micros, sum(|s| s.overrun_micros));
        }
    }
}
