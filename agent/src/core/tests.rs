//! The core alone: every state meets every input, orders go through their lives, and long random lives keep the promises.

use uuid::Uuid;
use writ_protocol::exec::{Exit, Meter, StepMode, Usage};
use writ_protocol::halt::{Halt, HaltAction, Scope};
use writ_protocol::manifest::{Manifest, OrderKind};
use writ_protocol::record::{Change, StepOutcome};

use super::*;
use crate::tests::scene::{boot, manifest, name, order, order_id, step};

mod grants;
mod halts;
mod lives;
mod orders;
mod stale;
mod states;

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
        lifts: Vec::new(),
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

/// A reading of the meter: processor time, microseconds.
fn used(index: usize, cpu_user_us: u64) -> Input {
    Input::Metered {
        order_id: order_id(1),
        index,
        usage: Usage {
            cpu_user_us,
            ..Usage::none(Meter::Cgroup2)
        },
    }
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
        lifts: Vec::new(),
        leases,
    }))
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
