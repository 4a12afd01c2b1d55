//! A halt ends by its lift and by nothing else: not by a list that leaves it out, not by damage, not by a restart.

use super::*;
use crate::core::halts::LIFTED_MAX;

fn halt_id(n: u128) -> HaltId {
    HaltId::from_uuid(Uuid::from_u128(n))
}

fn lift(n: u128, control_epoch: u64) -> LiftWord {
    LiftWord {
        halt_id: halt_id(n),
        control_epoch,
    }
}

/// The halt of [`stop`].
fn word() -> HaltWord {
    match stop(HaltAction::Hard) {
        Input::Halt(word) => word,
        other => panic!("{other:?}"),
    }
}

fn answer(epoch: u32, control_epoch: u64, halts: Vec<HaltWord>, lifts: Vec<LiftWord>) -> Input {
    Input::Hello(Box::new(HelloWord {
        at: Generation { epoch, generation: 0 },
        server_time: at(1).wall,
        sent: at(1),
        quarantined: false,
        control_epoch,
        halts,
        lifts,
        leases: Vec::new(),
    }))
}

fn lifting(generation: u64, lifts: Vec<LiftWord>) -> Input {
    let Input::Manifest(mut taken) = taken(manifest(
        generation,
        vec![order(u128::from(generation), OrderKind::Apply)],
    )) else {
        unreachable!("a manifest")
    };
    taken.manifest.control_epoch = 90 + generation;
    taken.lifts = lifts;
    Input::Manifest(taken)
}

fn refused(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|e| matches!(e, Effect::Append(Record::OrderRefused(r)) if r.code == Code::Halted))
}

fn asks(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Hello))
}

#[test]
fn a_list_without_a_halt_ends_nothing_and_is_asked_about_once() {
    let mut core = AgentCore::new(settings());
    core.apply(stop(HaltAction::Hard), at(1));
    assert!(
        refused(&core.apply(lifting(1, Vec::new()), at(1))),
        "a manifest without it"
    );
    assert_eq!(
        core.view().halts,
        Vec::<Vec<u8>>::new(),
        "a manifest does not list everything"
    );
    let first = core.apply(answer(1, 99, Vec::new(), Vec::new()), at(1));
    assert!(asks(&first), "an answer without it is asked about");
    assert_eq!(core.view().halts, [vec![2]], "with the halt as it came");
    assert!(
        !asks(&core.apply(answer(1, 100, Vec::new(), Vec::new()), at(1))),
        "once"
    );
    assert!(
        refused(&core.apply(lifting(2, vec![lift(5, 101)]), at(1))),
        "another's lift"
    );
    core.apply(answer(1, 100, vec![word()], Vec::new()), at(1));
    assert_eq!(core.view().halts, Vec::<Vec<u8>>::new(), "it is listed");
    let ends = core.apply(lifting(3, vec![lift(4, 102)]), at(1));
    let is_said = |e: &Effect| matches!(e, Effect::Append(Record::HaltObserved(seen)) if seen.lifted);
    assert!(ends.iter().any(is_said) && !refused(&ends));
    assert!(core.holds(order_id(3)), "what comes with the lift is taken");
}

#[test]
fn an_answer_can_lift_and_what_was_asked_is_forgotten() {
    let mut core = AgentCore::new(settings());
    core.apply(stop(HaltAction::Soft), at(1));
    core.apply(answer(1, 6, Vec::new(), Vec::new()), at(1));
    core.apply(answer(1, 6, Vec::new(), vec![lift(4, 6)]), at(1));
    assert_eq!(core.view().halts, Vec::<Vec<u8>>::new());
    assert!(!refused(&core.apply(lifting(1, Vec::new()), at(1))));
}

#[test]
fn a_halt_that_comes_after_its_lift_stops_nothing_unless_the_lift_was_lost() {
    let mut core = AgentCore::new(settings());
    core.apply(Input::Lift(lift(4, 6)), at(1));
    core.apply(stop(HaltAction::Hard), at(1));
    core.apply(answer(0, 5, vec![word()], Vec::new()), at(1));
    assert!(
        !refused(&core.apply(lifting(1, Vec::new()), at(1))),
        "both are from before"
    );
    core.apply(answer(7, 5, vec![word()], Vec::new()), at(1));
    assert!(
        refused(&core.apply(lifting(2, Vec::new()), at(1))),
        "a restored ledger lost the lift: there the halt is in force"
    );
    for n in 0..=LIFTED_MAX as u128 {
        core.apply(Input::Lift(lift(1_000 + n, 7)), at(1));
    }
    assert_eq!(core.lifted.len(), LIFTED_MAX);
}

#[test]
fn what_cannot_be_read_of_a_halt_stops_everything_until_it_is_lifted() {
    for (claimed, lifted, is_free) in [
        (Some(halt_id(4)), 4, true),
        (Some(halt_id(4)), 5, false),
        (None, 0, false),
    ] {
        let kept = Kept {
            halts: vec![HaltWord::unreadable(vec![9], claimed)],
            ..Kept::default()
        };
        let start = (at(1), "boot");
        let (mut core, _) = AgentCore::recover(settings(), Memory::default(), kept, false, start);
        assert!(refused(&core.apply(lifting(1, Vec::new()), at(1))), "{claimed:?}");
        let is_asked = asks(&core.apply(answer(1, 99, Vec::new(), Vec::new()), at(1)));
        assert_eq!(
            is_asked,
            claimed.is_some(),
            "only what has a name can be asked about"
        );
        let lifts = if claimed.is_none() {
            Vec::new()
        } else {
            vec![lift(lifted, 100)]
        };
        assert_eq!(
            !refused(&core.apply(lifting(2, lifts), at(1))),
            is_free,
            "{claimed:?} {lifted}"
        );
    }
}

#[test]
fn a_halt_that_comes_again_is_known_for_what_it_says() {
    let kept = Kept {
        halts: vec![HaltWord::unreadable(vec![9], Some(halt_id(4)))],
        ..Kept::default()
    };
    let (mut core, _) = AgentCore::recover(settings(), Memory::default(), kept, false, (at(1), "boot"));
    let mut narrow = word();
    narrow.halt.scope = Scope::Project("db".into());
    let effects = core.apply(answer(1, 5, vec![narrow], Vec::new()), at(1));
    let keeps = |e: &Effect| matches!(e, Effect::KeepHalts(halts) if *halts == [vec![2]]);
    assert!(effects.iter().any(keeps), "{effects:?}");
    assert!(
        !refused(&core.apply(lifting(1, Vec::new()), at(1))),
        "it is about another project"
    );
}
