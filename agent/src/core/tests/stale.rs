//! What was reviewed is what runs: an apply looks at everything first, and does nothing where the host is not as its plan saw it.

use writ_protocol::plan::rests_on;
use writ_protocol::record::StepResult;

use super::*;

fn saw(state: &str, differs: bool) -> Seen {
    Seen {
        digest: Digest::of(state.as_bytes()),
        ..seen(!differs).expect("was seen")
    }
}

/// An agent with an order that rests on these sights, and what it asked for first.
fn ordered(plan: &[(&str, &str)]) -> (AgentCore, Vec<Effect>) {
    let mut core = AgentCore::new(settings());
    let rests = rests_on(plan.iter().map(|(id, state)| (*id, Digest::of(state.as_bytes()))));
    let mut order = order(1, OrderKind::Apply);
    order.rests_on = Some(rests);
    core.apply(taken(manifest(1, vec![order])), at(1));
    let effects = core.apply(ready(order_id(1)), at(1));
    (core, effects)
}

fn look(core: &mut AgentCore, index: usize, seen: Seen) -> Vec<Effect> {
    let input = Input::Observed {
        order_id: order_id(1),
        index,
        result: Ok(seen),
    };
    core.apply(input, at(1))
}

fn looks_at(effects: &[Effect]) -> Option<usize> {
    effects.iter().find_map(|effect| match effect {
        Effect::Observe(step) => Some(step.index),
        _ => None,
    })
}

fn starts(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Apply(_)))
}

fn results(effects: &[Effect]) -> Vec<&StepResult> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Append(Record::StepResult(result)) => Some(result.as_ref()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_host_as_the_plan_saw_it_is_changed_after_one_look_at_everything() {
    let (mut core, effects) = ordered(&[("a", "old")]);
    assert_eq!(looks_at(&effects), Some(0));
    let effects = look(&mut core, 0, saw("old", true));
    assert_eq!(looks_at(&effects), Some(1), "all is seen before anything starts");
    let effects = look(&mut core, 1, saw("as it should be", false));
    assert!(
        !starts(&effects),
        "a step is looked at again right before it starts"
    );
    assert_eq!(looks_at(&effects), Some(0));
    assert!(starts(&look(&mut core, 0, saw("old", true))));
}

#[test]
fn a_host_that_moved_is_stale_and_nothing_starts() {
    for (plan, now) in [
        (vec![("a", "old")], [("other", true), ("fine", false)]),
        (vec![("a", "old")], [("old", true), ("new", true)]),
        (vec![("a", "old"), ("b", "old")], [("fine", false), ("old", true)]),
        (vec![], [("new", true), ("fine", false)]),
    ] {
        let (mut core, _) = ordered(&plan);
        let mut effects = look(&mut core, 0, saw(now[0].0, now[0].1));
        effects.extend(look(&mut core, 1, saw(now[1].0, now[1].1)));
        assert!(!starts(&effects), "{plan:?} {now:?}");
        let ended = ending(&effects).expect("ends");
        assert_eq!(
            (ended.outcome, ended.code, ended.changed),
            (OrderOutcome::Failed, Some(Code::Stale), 0)
        );
        let told = results(&effects);
        let differing = now.iter().filter(|(_, differs)| *differs).count();
        assert_eq!(told.len(), differing, "one result for each that differs now");
        for result in told {
            assert_eq!(
                (result.outcome, result.code),
                (StepOutcome::Skipped, Some(Code::Stale))
            );
            assert!(!result.changes.is_empty() && ended.detail.contains(&result.step));
        }
    }
}

#[test]
fn what_cannot_be_seen_any_more_is_stale() {
    let (mut core, _) = ordered(&[("a", "old")]);
    let failure = Failure {
        code: Code::StepFailed,
        detail: "permission denied".into(),
    };
    let input = Input::Observed {
        order_id: order_id(1),
        index: 0,
        result: Err(failure),
    };
    core.apply(input, at(1));
    let effects = look(&mut core, 1, saw("fine", false));
    assert_eq!(ending(&effects).expect("ends").code, Some(Code::Stale));
    assert_eq!(results(&effects)[0].detail, "permission denied");
}

#[test]
fn a_host_on_which_nothing_differs_any_more_is_done_after_one_look() {
    let (mut core, _) = ordered(&[("a", "old"), ("b", "old")]);
    look(&mut core, 0, saw("fine", false));
    let effects = look(&mut core, 1, saw("fine", false));
    let ended = ending(&effects).expect("ends without a second look");
    assert_eq!((ended.outcome, ended.unchanged), (OrderOutcome::Succeeded, 2));
}

#[test]
fn a_step_that_moves_between_the_two_looks_is_stale() {
    let (mut core, _) = ordered(&[("a", "old")]);
    look(&mut core, 0, saw("old", true));
    look(&mut core, 1, saw("fine", false));
    let effects = look(&mut core, 0, saw("other", true));
    assert!(!starts(&effects));
    assert_eq!(ending(&effects).expect("ends").code, Some(Code::Stale));
}
