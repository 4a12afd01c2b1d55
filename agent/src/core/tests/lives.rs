//! Long random lives keep the promises: intent before start, one end for each accepted order, nothing started under a halt, without a
//! lease, or twice.

use writ_protocol::exec::Limits;

use super::states::inputs;
use super::*;

/// A small generator, so that a life repeats.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn random_lives_keep_the_promises() {
    for seed in 0..300 {
        let mut random = seed;
        let mut core = AgentCore::new(settings());
        let (mut accepted, mut ended, mut generation) = (0_u32, 0_u32, 0);
        let mut open: Vec<Effect> = Vec::new();
        let mut applied: BTreeMap<(OrderId, usize), u32> = BTreeMap::new();
        for secs in 0..200 {
            let input = match draw(&mut random, 10) {
                0 => {
                    generation += 1;
                    let orders = (0..draw(&mut random, 4))
                        .map(|_| order(u128::from(draw(&mut random, 12)) + 1, OrderKind::Apply));
                    taken(manifest(generation, orders.collect()))
                }
                1 => {
                    inputs()
                        .swap_remove(usize::try_from(draw(&mut random, 18)).expect("small"))
                        .1
                }
                _ => match open.pop() {
                    Some(Effect::Fetch(order)) => ready(order.order_id),
                    Some(Effect::Observe(step)) => {
                        let result = seen(draw(&mut random, 3) == 0);
                        Input::Observed {
                            order_id: step.order.order_id,
                            index: step.index,
                            result,
                        }
                    }
                    Some(Effect::Apply(step)) => {
                        *applied.entry((step.order.order_id, step.index)).or_default() += 1;
                        Input::Applied {
                            order_id: step.order.order_id,
                            index: step.index,
                            ran: ran(),
                        }
                    }
                    Some(_) | None => Input::Tick,
                },
            };
            let effects = core.apply(input, at(secs));
            check(&effects, &format!("seed {seed} at {secs}"));
            for effect in effects {
                match &effect {
                    Effect::Append(Record::OrderAccepted(_)) => accepted += 1,
                    Effect::Conclude(_) => ended += 1,
                    Effect::Fetch(_) | Effect::Observe(_) | Effect::Apply(_) => open.push(effect),
                    _ => {}
                }
            }
        }
        assert_eq!(
            accepted,
            ended + u32::try_from(core.view().running.len()).expect("small"),
            "seed {seed}"
        );
        assert!(
            applied.values().all(|count| *count == 1),
            "seed {seed}: {applied:?}"
        );
    }
}

/// The life after one that ended in the middle of an order, its bundle read.
fn resume(progress: Progress, grant: u64) -> (AgentCore, Vec<Effect>) {
    let mut one = order(1, OrderKind::Apply);
    one.grant.amount_micros = grant;
    let unfinished = Unfinished {
        accepted: writ_protocol::record::OrderAccepted {
            order_id: order_id(1),
            run_id: one.run_id,
            kind: one.kind,
            at: Generation::default(),
            manifest: Digest::ZERO,
            bundle: one.bundle,
            fencing_token: one.fencing_token,
        },
        first_seq: 1,
        accepted_boot: boot(1),
        boot_id: "boot".to_owned(),
        steps: BTreeMap::from([("a".to_owned(), progress)]),
    };
    let mut memory = Memory::default();
    memory.unfinished.insert(order_id(1), unfinished);
    let kept = Kept {
        manifests: BTreeMap::from([(Digest::ZERO, manifest(1, vec![one]))]),
        halts: vec![],
    };
    let (mut core, _) = AgentCore::recover(settings(), memory, kept, false, (at(2), "boot"));
    let effects = core.apply(ready(order_id(1)), at(2));
    (core, effects)
}

/// A step of the earlier life that has a result.
fn with_result(outcome: StepOutcome, code: Option<Code>) -> Progress {
    let ended = crate::core::steps::ended_early(
        order_id(1),
        &step("a", StepMode::Checked, vec![]),
        outcome,
        code.map(|code| (code, "somebody stopped it".to_owned())),
        Timestamp::default(),
    );
    Progress {
        attempt: 1,
        limits: Limits::default(),
        result: Some(ended),
    }
}

#[test]
fn an_order_whose_step_was_stopped_does_not_go_on_in_the_next_life() {
    let (_, went_on) = resume(with_result(StepOutcome::Changed, None), 1_000);
    assert!(
        went_on
            .iter()
            .any(|effect| matches!(effect, Effect::Observe(next) if next.id == "b"))
    );
    for (code, outcome) in [
        (Code::Halted, OrderOutcome::Aborted),
        (Code::Cancelled, OrderOutcome::Aborted),
        (Code::Draining, OrderOutcome::Stopped),
    ] {
        let (core, effects) = resume(with_result(StepOutcome::Aborted, Some(code)), 1_000);
        let ended = ending(&effects).expect("ends");
        assert_eq!((ended.outcome, ended.code), (outcome, Some(code)));
        assert!(core.is_idle());
    }
}

#[test]
fn what_an_attempt_without_a_result_may_have_cost_counts() {
    let attempts = |attempt| Progress {
        attempt,
        limits: Limits::default(),
        result: None,
    };
    // 60 s of processor time and 1 GiB for 300 s, by the prices of the scene.
    let most = 60 * 12 + 300 * 2;
    for (times, grant, goes_on) in [
        (1, most, false),
        (1, most + 1, true),
        (2, most * 2, false),
        (2, most * 2 + 1, true),
    ] {
        let (mut core, _) = resume(attempts(times), grant);
        let effects = core.apply(
            Input::Observed {
                order_id: order_id(1),
                index: 0,
                result: seen(false),
            },
            at(2),
        );
        let starts = effects.iter().any(|effect| matches!(effect, Effect::Apply(_)));
        let code = ending(&effects).and_then(|ended| ended.code);
        assert_eq!(starts, goes_on, "{times} attempts, {grant} granted");
        assert_eq!(code, (!goes_on).then_some(Code::GrantExhausted));
    }
}
