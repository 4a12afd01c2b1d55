//! What the bus lets an agent do. Whoever sets a controller up sets the bus up with it, by the accounts and the template that the protocol names.

use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::subject::{self, Rpc};

use super::door::Answer;
use super::{Came, Case, Ground, Stop, ours};
use crate::bus::Heard;

const PLACE: &str = "docs/protocol.md#bus";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "another-agents-requests",
        rests_on: PLACE,
        run: |ground| denied(ground, |other| Rpc::Hello.subject(other)),
    },
    Case {
        name: "another-agents-events",
        rests_on: PLACE,
        run: |ground| denied(ground, subject::events),
    },
    Case {
        name: "another-agents-manifest",
        rests_on: PLACE,
        run: |ground| {
            denied(ground, |other| {
                subject::direct_get(subject::ORDERS_STREAM, &subject::order(other))
            })
        },
    },
    Case {
        name: "publish-a-manifest",
        rests_on: PLACE,
        run: |ground| {
            let own = ground.guest()?.identity.user_key.clone();
            denied(ground, |_| subject::order(&own))
        },
    },
    Case {
        name: "publish-a-watermark",
        rests_on: PLACE,
        run: |ground| denied(ground, subject::mark),
    },
    Case {
        name: "publish-a-halt",
        rests_on: PLACE,
        run: |ground| denied(ground, |_| subject::CONTROL_ALL.to_owned()),
    },
    Case {
        name: "hear-another-agent",
        rests_on: PLACE,
        run: hear_another,
    },
    Case {
        name: "hear-everything",
        rests_on: PLACE,
        run: |ground| unheard(ground, ">"),
    },
];

fn stranger() -> Result<UserKey, Stop> {
    let pair = NkeyPair::generate(NkeyKind::User).map_err(|e| ours(e.into()))?;
    pair.user_key().map_err(|e| ours(e.into()))
}

/// The server does not let it be said.
fn denied(ground: &mut Ground, subject: impl Fn(&UserKey) -> String) -> Came {
    let subject = subject(&stranger()?);
    match ground.guest()?.ask(&subject, b"")? {
        Answer::Denied(_) => Ok(()),
        other => {
            let words = other.in_words();
            Err(Stop::failed(format!(
                "{subject} was to be denied by the bus; {words}"
            )))
        }
    }
}

fn hear_another(ground: &mut Ground) -> Came {
    let other = stranger()?;
    unheard(ground, &subject::mark(&other))?;
    unheard(ground, &subject::wake(&other))?;
    unheard(ground, &format!("{}.>", subject::inbox(&other)))
}

/// The server does not let it be heard.
fn unheard(ground: &mut Ground, subject: &str) -> Came {
    let guest = ground.guest()?;
    guest.line.subscribe(subject)?;
    let mut left = super::WAIT;
    while !left.is_zero() {
        if let Heard::Denied(_) = guest.line.hear(&mut left)? {
            return Ok(());
        }
    }
    Err(Stop::failed(format!(
        "hearing {subject} was to be denied by the bus"
    )))
}
