//! The table: every state meets every input.

use super::*;

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
pub(super) fn inputs() -> Vec<(&'static str, Input)> {
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
            Input::Lift(LiftWord {
                halt_id: HaltId::from_uuid(Uuid::from_u128(4)),
                control_epoch: 6,
            }),
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
        ("little a", used(0, 1_000_000)),
        ("spent a", used(0, 10_000_000_000)),
        ("spent b", used(1, 10_000_000_000)),
        ("tick", Input::Tick),
    ]
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
            let is_metered = matches!(
                (state, input),
                ("observing a" | "applying a", "spent a")
                    | ("observing b" | "applying b" | "draining", "spent b")
            );
            if matches!(input, "little a" | "spent a" | "spent b") {
                let told = matches!(effects.as_slice(), [Effect::Stop { hard: false, .. }]);
                assert_eq!(
                    (told, effects.len()),
                    (is_metered, usize::from(is_metered)),
                    "{place}"
                );
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
