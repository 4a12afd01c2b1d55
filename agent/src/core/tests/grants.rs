//! What a grant stops, when, and what is in the books afterwards. The prices are 12 micro-units for a second of processor time.

use super::*;
use writ_protocol::record::StepResult;

const SECOND: u64 = 1_000_000;
const NOTHING: [bool; 0] = [];

/// An agent that carries out step `a` of an order with this grant; looking at it used a second.
fn applying(grant: u64, looked_us: u64) -> AgentCore {
    let mut core = looking(grant);
    let mut sight = seen(false).expect("seen");
    sight.usage.cpu_user_us = looked_us;
    let effects = core.apply(observed(0, Ok(sight)), at(1));
    assert!(effects.iter().any(|e| matches!(e, Effect::Apply(_))));
    core
}

/// The same, that still looks at it.
fn looking(grant: u64) -> AgentCore {
    let mut core = AgentCore::new(settings());
    let mut one = order(1, OrderKind::Apply);
    one.grant.amount_micros = grant;
    core.apply(taken(manifest(1, vec![one])), at(1));
    core.apply(ready(order_id(1)), at(1));
    core
}

fn observed(index: usize, result: Result<Seen, Failure>) -> Input {
    Input::Observed {
        order_id: order_id(1),
        index,
        result,
    }
}

/// A step that used so much, and was ended by us or ended by itself.
fn ended(cpu_user_us: u64, was_stopped: bool, exit: Option<Exit>) -> Input {
    let mut ran = ran();
    ran.usage.cpu_user_us = cpu_user_us;
    ran.was_stopped = was_stopped;
    if was_stopped || exit.is_some() {
        ran.failure = Some(failed());
    }
    ran.exit = exit;
    Input::Applied {
        order_id: order_id(1),
        index: 0,
        ran,
    }
}

fn failed() -> Failure {
    Failure {
        code: Code::StepFailed,
        detail: "it was ended".into(),
    }
}

fn stops(effects: &[Effect]) -> Vec<bool> {
    let hard = |e: &Effect| match e {
        Effect::Stop { hard, .. } => Some(*hard),
        _ => None,
    };
    effects.iter().filter_map(hard).collect()
}

fn results(effects: &[Effect]) -> Vec<StepResult> {
    let result = |e: &Effect| match e {
        Effect::Append(Record::StepResult(result)) => Some(result.as_ref().clone()),
        _ => None,
    };
    effects.iter().filter_map(result).collect()
}

#[test]
fn a_step_is_asked_to_end_when_it_uses_up_the_grant_and_its_cost_is_complete() {
    let mut core = applying(48, SECOND);
    assert_eq!(stops(&core.apply(used(0, 2 * SECOND), at(2))), NOTHING);
    // A reading of another step, or of another order, says nothing of this one.
    assert_eq!(stops(&core.apply(used(1, 90 * SECOND), at(2))), NOTHING);
    // With the second of looking it is all of it.
    assert_eq!(stops(&core.apply(used(0, 3 * SECOND), at(3))), [false]);
    assert_eq!(
        stops(&core.apply(used(0, 4 * SECOND), at(4))),
        NOTHING,
        "asked once"
    );
    let effects = core.apply(ended(8 * SECOND, true, None), at(8));
    let [result] = results(&effects).try_into().expect("one result");
    assert_eq!(
        (result.outcome, result.code, result.cost_micros),
        (StepOutcome::Aborted, Some(Code::GrantExhausted), 108)
    );
    let ending = ending(&effects).expect("ends");
    assert_eq!(
        (ending.outcome, ending.code, ending.cost_micros, ending.skipped),
        (OrderOutcome::Stopped, Some(Code::GrantExhausted), 108, 1)
    );
    assert_eq!(ending.detail, "108 of 48 micro-units are spent");
    assert_eq!(result.detail, ending.detail);
}

#[test]
fn what_cannot_be_priced_counts_as_the_whole_grant() {
    let mut core = applying(1_000_000, 0);
    let reading = Input::Metered {
        order_id: order_id(1),
        index: 0,
        usage: Usage {
            peak_memory_bytes: u64::MAX,
            wall_us: u64::MAX,
            ..Usage::none(Meter::Cgroup2)
        },
    };
    assert_eq!(stops(&core.apply(reading, at(2))), [false]);
}

#[test]
fn the_limit_that_the_grant_pays_for_is_the_grant_s_stop() {
    let by_limit = || Some(Exit::Limit("cpu".into()));
    let mut core = applying(48, 0);
    let effects = core.apply(ended(9 * SECOND, false, by_limit()), at(2));
    assert_eq!(results(&effects)[0].outcome, StepOutcome::Aborted);
    let end = ending(&effects).expect("ends");
    assert_eq!(
        (end.outcome, end.code),
        (OrderOutcome::Stopped, Some(Code::GrantExhausted))
    );
    // Within the grant it is the step's own limit, and its failure.
    let mut core = applying(480, 0);
    let effects = core.apply(ended(9 * SECOND, false, by_limit()), at(2));
    assert_eq!(results(&effects)[0].outcome, StepOutcome::Failed);
    assert_eq!(ending(&effects).expect("ends").code, Some(Code::StepFailed));
}

#[test]
fn a_step_that_ends_by_itself_meanwhile_is_what_it_is() {
    // Step `b` is left, and there is nothing to pay it with.
    let mut core = applying(48, 0);
    core.apply(used(0, 4 * SECOND), at(2));
    let effects = core.apply(ended(4 * SECOND, false, None), at(2));
    assert_eq!(results(&effects)[0].outcome, StepOutcome::Changed);
    let end = ending(&effects).expect("ends");
    assert_eq!(
        (end.outcome, end.code, end.skipped),
        (OrderOutcome::Stopped, Some(Code::GrantExhausted), 1)
    );
    // Nothing is left: nothing was stopped.
    let mut core = applying(60, 0);
    core.apply(ended(SECOND, false, None), at(2));
    core.apply(observed(1, seen(false)), at(2));
    assert_eq!(stops(&core.apply(used(1, 5 * SECOND), at(3))), [false]);
    let mut last = ran();
    last.usage.cpu_user_us = 5 * SECOND;
    let last = Input::Applied {
        order_id: order_id(1),
        index: 1,
        ran: last,
    };
    let effects = core.apply(last, at(3));
    let end = ending(&effects).expect("ends");
    assert_eq!(
        (end.outcome, end.code, end.cost_micros),
        (OrderOutcome::Succeeded, None, 72)
    );
}

#[test]
fn looking_is_stopped_at_the_grant_as_well_and_is_paid() {
    let mut core = looking(24);
    assert_eq!(stops(&core.apply(used(0, 2 * SECOND), at(2))), [false]);
    core.apply(used(0, 3 * SECOND), at(3));
    let effects = core.apply(observed(0, Err(failed())), at(3));
    let [result] = results(&effects).try_into().expect("one result");
    assert_eq!(
        (result.outcome, result.code, result.cost_micros),
        (StepOutcome::Skipped, Some(Code::GrantExhausted), 36)
    );
    assert!(result.usage.lower_bound);
    let end = ending(&effects).expect("ends");
    assert_eq!(
        (end.outcome, end.cost_micros, end.skipped),
        (OrderOutcome::Stopped, 36, 2)
    );
}

#[test]
fn a_harder_stop_takes_the_place_of_the_grant_s_and_a_softer_does_not() {
    let mut core = applying(48, 0);
    core.apply(used(0, 5 * SECOND), at(2));
    assert_eq!(stops(&core.apply(stop(HaltAction::Soft), at(2))), NOTHING);
    let effects = core.apply(ended(6 * SECOND, true, None), at(3));
    assert_eq!(ending(&effects).expect("ends").code, Some(Code::GrantExhausted));
    let mut core = applying(48, 0);
    core.apply(used(0, 5 * SECOND), at(2));
    assert_eq!(stops(&core.apply(stop(HaltAction::Hard), at(2))), [true]);
    let effects = core.apply(ended(6 * SECOND, true, None), at(3));
    let end = ending(&effects).expect("ends");
    assert_eq!(
        (end.outcome, end.code),
        (OrderOutcome::Aborted, Some(Code::Halted))
    );
}
