//! Every state meets every input, and long random lives keep the promises: intent before start, one end for each accepted order, nothing
//! started under a halt, without a lease, or twice.

use uuid::Uuid;
use writ_protocol::exec::StepMode;
use writ_protocol::halt::{Halt, HaltAction, Scope};
use writ_protocol::manifest::{Manifest, OrderKind};
use writ_protocol::record::{Change, StepOutcome};

use super::*;
use crate::tests::scene::{boot, manifest, name, order, order_id, step};

fn settings() -> Settings {
    Settings {
        identity: name(),
        environment: None,
    }
}

fn at(secs: u64) -> Now {
    Now {
        wall: crate::tests::scene::now().wall,
        boot: boot(secs),
    }
}

fn taken(manifest: Manifest) -> Input {
    let digest = Digest::of(&manifest.at.generation.to_le_bytes());
    Input::Manifest(Box::new(Taken {
        manifest,
        digest,
        envelope: vec![1],
        halts: Vec::new(),
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "as the input wants it")]
fn seen(is_done: bool) -> Result<Seen, Failure> {
    let change = Change {
        attribute: "a".into(),
        want: "b".into(),
        got: "c".into(),
    };
    let usage = Ran::nothing(Timestamp::default()).usage;
    Ok(Seen {
        digest: Digest::ZERO,
        changes: if is_done { vec![] } else { vec![change] },
        usage,
    })
}

fn ready(order: OrderId) -> Input {
    let steps = vec![
        step("a", StepMode::Checked, vec![]),
        step("b", StepMode::Once, vec![0]),
    ];
    Input::BundleReady {
        order_id: order,
        project: "web".into(),
        steps,
    }
}

fn ran() -> Box<Ran> {
    Box::new(Ran::nothing(Timestamp::default()))
}

fn stop(action: HaltAction) -> Input {
    let halt = Halt {
        tenant: "acme".into(),
        halt_id: HaltId::from_uuid(Uuid::from_u128(4)),
        scope: Scope::All,
        action,
        control_epoch: 5,
        reason: "r".into(),
        set_by: "s".into(),
        issued_at: Timestamp::default(),
    };
    Input::Halt(HaltWord {
        halt,
        envelope: vec![2],
        addressed: true,
    })
}

fn hello(leases: Vec<writ_protocol::hello::LeaseRenewed>, now: Now) -> Input {
    Input::Hello(Box::new(HelloWord {
        at: Generation::default(),
        server_time: now.wall,
        sent: now,
        quarantined: false,
        control_epoch: 0,
        halts: Vec::new(),
        leases,
    }))
}

/// The states that an agent with one order goes through, by the inputs that lead there.
fn states() -> Vec<(&'static str, AgentCore)> {
    let first = order_id(1);
    let path: [(&str, Input); 7] = [
        ("fetching", taken(manifest(1, vec![order(1, OrderKind::Apply)]))),
        ("observing a", ready(first)),
        (
            "applying a",
            Input::Observed {
                order_id: first,
                index: 0,
                result: seen(false),
            },
        ),
        (
            "observing b",
            Input::Applied {
                order_id: first,
                index: 0,
                ran: ran(),
            },
        ),
        (
            "applying b",
            Input::Observed {
                order_id: first,
                index: 1,
                result: seen(false),
            },
        ),
        ("draining", Input::Drain),
        (
            "done",
            Input::Applied {
                order_id: first,
                index: 1,
                ran: ran(),
            },
        ),
    ];
    let mut core = AgentCore::new(settings());
    let mut states = vec![("idle", core.clone())];
    for (state, input) in path {
        core.apply(input, at(1));
        states.push((state, core.clone()));
    }
    states
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn inputs() -> Vec<(&'static str, Input)> {
    let first = order_id(1);
    let failure = Failure {
        code: Code::StepFailed,
        detail: "no".into(),
    };
    let mut cancelled = manifest(9, vec![order(1, OrderKind::Apply)]);
    cancelled.cancelled.push(first);
    vec![
        (
            "manifest",
            taken(manifest(
                2,
                vec![order(1, OrderKind::Apply), order(2, OrderKind::Apply)],
            )),
        ),
        (
            "old manifest",
            taken(manifest(0, vec![order(3, OrderKind::Apply)])),
        ),
        ("cancel", taken(cancelled)),
        (
            "refused",
            Input::Refused {
                bytes: Digest::ZERO,
                code: Code::Regressed,
                detail: String::new(),
            },
        ),
        ("hello", hello(vec![], at(1))),
        ("soft halt", stop(HaltAction::Soft)),
        ("hard halt", stop(HaltAction::Hard)),
        (
            "lift",
            Input::Lift {
                halt_id: HaltId::from_uuid(Uuid::from_u128(4)),
                control_epoch: 6,
            },
        ),
        ("disk", Input::Disk { tight: true }),
        ("drain", Input::Drain),
        ("bundle", ready(first)),
        (
            "no bundle",
            Input::BundleFailed {
                order_id: first,
                failure: failure.clone(),
            },
        ),
        (
            "seen a",
            Input::Observed {
                order_id: first,
                index: 0,
                result: seen(false),
            },
        ),
        (
            "done a",
            Input::Observed {
                order_id: first,
                index: 0,
                result: seen(true),
            },
        ),
        (
            "blind a",
            Input::Observed {
                order_id: first,
                index: 0,
                result: Err(failure.clone()),
            },
        ),
        (
            "ran a",
            Input::Applied {
                order_id: first,
                index: 0,
                ran: ran(),
            },
        ),
        (
            "failed b",
            Input::Applied {
                order_id: first,
                index: 1,
                ran: Box::new(Ran::failed(failure, Timestamp::default())),
            },
        ),
        ("tick", Input::Tick),
    ]
}

/// What must hold for every answer, whatever came before.
fn check(effects: &[Effect], place: &str) {
    let mut intended: Vec<String> = Vec::new();
    let (mut is_durable, mut water) = (true, false);
    for effect in effects {
        match effect {
            Effect::Append(Record::StepIntent(intent)) => {
                intended.push(intent.step.clone());
                is_durable = false;
            }
            Effect::Append(Record::HighWater(_)) => (water, is_durable) = (true, false),
            Effect::Append(Record::OrderAccepted(_)) => {
                assert!(water, "{place}: accepted before the high water");
            }
            Effect::Append(_) => is_durable = false,
            Effect::Sync => is_durable = true,
            Effect::Apply(step) => {
                assert!(
                    is_durable && intended.contains(&step.id),
                    "{place}: started without a durable intent"
                );
            }
            Effect::Fetch(_) => assert!(is_durable, "{place}: acted before the high water was durable"),
            Effect::Keep(_)
            | Effect::KeepHalts(_)
            | Effect::Blobs { .. }
            | Effect::Observe(_)
            | Effect::Stop { .. }
            | Effect::Conclude(_)
            | Effect::ReadManifest
            | Effect::Hello => {}
        }
    }
}

fn ending(effects: &[Effect]) -> Option<&Ending> {
    effects.iter().find_map(|effect| match effect {
        Effect::Conclude(ending) => Some(ending.as_ref()),
        _ => None,
    })
}

#[test]
fn every_state_takes_every_input() {
    for (state, core) in states() {
        for (input, value) in inputs() {
            let mut core = core.clone();
            let (was_running, have) = (core.running(), core.have());
            let effects = core.apply(value, at(2));
            let place = format!("{state} × {input}");
            check(&effects, &place);
            assert!(core.have() >= have, "{place}: went back");
            let ended = ending(&effects);
            let wanted = match (state, input) {
                ("fetching", "soft halt") => Some((OrderOutcome::Stopped, Code::Halted)),
                ("fetching", "hard halt") => Some((OrderOutcome::Aborted, Code::Halted)),
                ("fetching", "drain") => Some((OrderOutcome::Stopped, Code::Draining)),
                ("fetching", "cancel") => Some((OrderOutcome::Aborted, Code::Cancelled)),
                ("fetching", "no bundle") | ("observing a", "blind a") => {
                    Some((OrderOutcome::Failed, Code::StepFailed))
                }
                ("applying b" | "draining", "failed b") => Some(if state == "draining" {
                    (OrderOutcome::Stopped, Code::Draining)
                } else {
                    (OrderOutcome::Failed, Code::StepFailed)
                }),
                _ => None,
            };
            assert_eq!(
                ended.map(|e| (e.outcome, e.code)),
                wanted.map(|(o, c)| (o, Some(c))),
                "{place}"
            );
            if matches!(state, "applying a" | "applying b") && matches!(input, "hard halt" | "cancel") {
                let hard = input == "hard halt";
                let told = effects
                    .iter()
                    .any(|e| matches!(e, Effect::Stop { hard: h, .. } if *h == hard));
                assert!(told, "{place}: the running step is told to end");
            }
            if state == "draining" && input == "manifest" {
                assert!(effects.is_empty(), "{place}: the next life takes it");
            }
            if wanted.is_some() {
                assert!(core.running() != was_running);
            }
        }
    }
}

#[test]
fn a_failed_dependency_skips_and_the_counts_tell() {
    let first = order_id(1);
    let mut core = AgentCore::new(settings());
    core.apply(taken(manifest(1, vec![order(1, OrderKind::Apply)])), at(1));
    core.apply(ready(first), at(1));
    let failure = Failure {
        code: Code::StepFailed,
        detail: "no".into(),
    };
    let effects = core.apply(
        Input::Observed {
            order_id: first,
            index: 0,
            result: Err(failure),
        },
        at(1),
    );
    let ended = ending(&effects).expect("ends");
    assert_eq!(
        (ended.outcome, ended.failed, ended.skipped),
        (OrderOutcome::Failed, 1, 1)
    );
    let skipped = effects.iter().any(|e| {
        matches!(e, Effect::Append(Record::StepResult(r)) if r.outcome == StepOutcome::Skipped && r.code == Some(Code::DependencyFailed))
    });
    assert!(skipped);
}

#[test]
fn without_a_lease_no_step_starts_and_a_renewal_keeps_it() {
    let first = order_id(1);
    let begin = || {
        let mut core = AgentCore::new(settings());
        core.apply(taken(manifest(1, vec![order(1, OrderKind::Apply)])), at(1));
        core.apply(ready(first), at(1));
        core.apply(
            Input::Observed {
                order_id: first,
                index: 0,
                result: seen(false),
            },
            at(1),
        );
        core
    };
    let applied = |now| {
        (
            Input::Applied {
                order_id: first,
                index: 0,
                ran: ran(),
            },
            now,
        )
    };
    let mut lost = begin();
    let (input, now) = applied(at(62));
    let effects = lost.apply(input, now);
    let ended = ending(&effects).expect("ends");
    assert_eq!(
        (ended.outcome, ended.code),
        (OrderOutcome::Aborted, Some(Code::LeaseExpired))
    );
    let renew = |token| writ_protocol::hello::LeaseRenewed {
        order_id: first,
        fencing_token: token,
        lease_ms: 60_000,
    };
    let mut kept = begin();
    kept.apply(hello(vec![renew(1)], at(50)), at(50));
    let (input, now) = applied(at(62));
    assert!(ending(&kept.apply(input, now)).is_none());
    let mut fenced = begin();
    fenced.apply(hello(vec![renew(2)], at(5)), at(5));
    let (input, now) = applied(at(6));
    assert!(
        ending(&fenced.apply(input, now)).is_some(),
        "another holder has the lease"
    );
}

#[test]
fn orders_are_refused_for_cause() {
    let wall = crate::tests::scene::now().wall;
    let mut late = order(1, OrderKind::Apply);
    late.expires_at = wall.minus(Duration::from_secs(60));
    let code_of = |core: &mut AgentCore, manifest: Manifest| {
        core.apply(taken(manifest), at(1))
            .iter()
            .find_map(|effect| match effect {
                Effect::Append(Record::OrderRefused(refused)) => Some(refused.code),
                _ => None,
            })
    };
    let fresh = || AgentCore::new(settings());
    assert_eq!(
        code_of(&mut fresh(), manifest(1, vec![late])),
        Some(Code::Expired)
    );
    let mut tight = fresh();
    tight.apply(Input::Disk { tight: true }, at(1));
    assert_eq!(
        code_of(&mut tight, manifest(1, vec![order(1, OrderKind::Apply)])),
        Some(Code::DiskFull)
    );
    let mut quarantined = manifest(1, vec![order(1, OrderKind::Apply)]);
    quarantined.quarantined = true;
    assert_eq!(code_of(&mut fresh(), quarantined), Some(Code::Quarantined));
    let mut halted = fresh();
    halted.apply(stop(HaltAction::Soft), at(1));
    assert_eq!(
        code_of(&mut halted, manifest(1, vec![order(1, OrderKind::Apply)])),
        Some(Code::Halted)
    );
    let mut wrong_clock = fresh();
    let skewed = Now {
        wall: wall.minus(Duration::from_secs(1_000)),
        boot: boot(1),
    };
    let word = HelloWord {
        at: Generation::default(),
        server_time: wall,
        sent: skewed,
        quarantined: false,
        control_epoch: 0,
        halts: vec![],
        leases: vec![],
    };
    wrong_clock.apply(Input::Hello(Box::new(word)), skewed);
    let effects = wrong_clock.apply(taken(manifest(1, vec![order(1, OrderKind::Apply)])), skewed);
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::Append(Record::OrderRefused(r)) if r.code == Code::ClockUntrusted))
    );
}

#[test]
fn a_grant_that_is_used_up_stops_between_steps() {
    let first = order_id(1);
    let mut core = AgentCore::new(settings());
    let mut cheap = order(1, OrderKind::Apply);
    cheap.grant.amount_micros = 10;
    core.apply(taken(manifest(1, vec![cheap])), at(1));
    core.apply(ready(first), at(1));
    core.apply(
        Input::Observed {
            order_id: first,
            index: 0,
            result: seen(false),
        },
        at(1),
    );
    let mut costly = ran();
    costly.usage.cpu_user_us = 5_000_000;
    core.apply(
        Input::Applied {
            order_id: first,
            index: 0,
            ran: costly,
        },
        at(1),
    );
    let effects = core.apply(
        Input::Observed {
            order_id: first,
            index: 1,
            result: seen(false),
        },
        at(1),
    );
    let ended = ending(&effects).expect("ends");
    assert_eq!(
        (ended.outcome, ended.code),
        (OrderOutcome::Stopped, Some(Code::GrantExhausted))
    );
    assert_eq!(ended.cost_micros, 60);
}

#[test]
fn after_damage_orders_that_may_have_begun_are_refused() {
    let mut memory = Memory::default();
    memory.done.push(order_id(2));
    let kept = manifest(1, vec![order(1, OrderKind::Apply), order(2, OrderKind::Apply)]);
    let kept = Kept {
        manifests: BTreeMap::from([(Digest::ZERO, kept)]),
        halts: vec![],
    };
    let (mut core, effects) = AgentCore::recover(settings(), memory, kept, true, (at(1), "boot"));
    assert!(effects.is_empty());
    let orders = (1..=3).map(|n| order(n, OrderKind::Apply)).collect();
    let effects = core.apply(taken(manifest(2, orders)), at(1));
    let refused: Vec<_> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Append(Record::OrderRefused(r)) => Some((r.order_id, r.code)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(order_id(1), Code::JournalDamaged)]);
    assert!(core.holds(order_id(3)) && !core.holds(order_id(2)));
}

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
