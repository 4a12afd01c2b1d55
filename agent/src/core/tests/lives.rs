//! Long random lives keep the promises: intent before start, one end for each accepted order, nothing started under a halt, without a
//! lease, or twice.

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
