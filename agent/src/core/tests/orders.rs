//! What becomes of one order: refused for cause, skipped, fenced, stopped.

use super::*;

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
        lifts: vec![],
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
fn a_clock_that_is_set_right_while_a_hello_is_under_way_is_trusted_at_once() {
    let mut core = AgentCore::new(settings());
    let (wall, asked) = (at(1).wall, boot(1));
    let sent = Now {
        wall: wall.minus(Duration::from_secs(1_000)),
        boot: asked,
    };
    let answered = Now { wall, boot: asked };
    core.apply(told(wall, sent), answered);
    let effects = core.apply(taken(manifest(1, vec![order(1, OrderKind::Apply)])), answered);
    assert!(is_taken(&effects), "{effects:?}");
}

#[test]
fn a_ledger_that_was_ahead_and_is_right_again_is_believed() {
    let mut core = AgentCore::new(settings());
    let hours = Duration::from_secs(6 * 3_600);
    let order_at = |core: &mut AgentCore, generation: u64, time| {
        let mut one = manifest(generation, vec![order(generation.into(), OrderKind::Apply)]);
        one.issued_at = time;
        core.apply(taken(one), at(1))
    };
    core.apply(told(at(1).wall.plus(hours), at(1)), at(1));
    core.apply(told(at(1).wall, at(1)), at(1));
    assert!(is_taken(&order_at(&mut core, 1, at(1).wall)));
    // Until the next answer a manifest's time counts too: a host whose clock was set back takes nothing.
    let effects = order_at(&mut core, 2, at(1).wall.plus(hours));
    let refused = effects.iter().any(|e| {
        matches!(e, Effect::Append(Record::OrderRefused(r)) if r.code == Code::ClockUntrusted && r.detail.contains("the controllers wrote at"))
    });
    assert!(refused, "{effects:?}");
    core.apply(told(at(1).wall, at(1)), at(1));
    assert!(is_taken(&order_at(&mut core, 3, at(1).wall)));
}

/// An answer that says nothing but the time.
fn told(server_time: Timestamp, sent: Now) -> Input {
    Input::Hello(Box::new(HelloWord {
        at: Generation::default(),
        server_time,
        sent,
        quarantined: false,
        control_epoch: 0,
        halts: vec![],
        lifts: vec![],
        leases: vec![],
    }))
}

fn is_taken(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|e| matches!(e, Effect::Append(Record::OrderAccepted(_))))
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

#[test]
fn a_quarantine_ends_what_runs_and_what_waits() {
    let mut core = AgentCore::new(settings());
    let orders = vec![order(1, OrderKind::Apply), order(2, OrderKind::Apply)];
    core.apply(taken(manifest(1, orders)), at(1));
    core.apply(ready(order_id(1)), at(1));
    let word = HelloWord {
        at: Generation::default(),
        server_time: at(2).wall,
        sent: at(2),
        quarantined: true,
        control_epoch: 0,
        halts: vec![],
        lifts: vec![],
        leases: vec![],
    };
    let waits = core.apply(Input::Hello(Box::new(word)), at(2));
    let runs = core.apply(
        Input::Observed {
            order_id: order_id(1),
            index: 0,
            result: seen(false),
        },
        at(2),
    );
    let ends = |effects: &[Effect], id| {
        let ending = ending(effects).expect("ends");
        assert_eq!(
            (ending.order.order_id, ending.outcome, ending.code),
            (id, OrderOutcome::Stopped, Some(Code::Quarantined))
        );
    };
    ends(&waits, order_id(2));
    ends(&runs, order_id(1));
    assert_eq!(
        core.view().running,
        [],
        "nothing is left whose lease a hello would renew"
    );
}
