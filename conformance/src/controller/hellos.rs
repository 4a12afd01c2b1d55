//! Hellos: good ones are answered from what the ledger knows, bad ones are refused with their code.

use writ_protocol::hello::{self, Hello, RenewRequest};
use writ_protocol::key::SigningKey;
use writ_protocol::reason::Code;
use writ_protocol::statement::Predicate;
use writ_protocol::subject::Rpc;

use super::door::Answer;
use super::guest::Guest;
use super::journal::Journal;
use super::{Came, Case, Ground, Stop, ours};

const PLACE: &str = "docs/protocol.md#hello";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "answered",
        rests_on: PLACE,
        run: answered,
    },
    Case {
        name: "forged",
        rests_on: PLACE,
        run: |ground| {
            let stranger = SigningKey::generate().map_err(|e| ours(e.into()))?;
            refused(ground, |_| (), Some(&stranger), &[Code::SignatureInvalid])
        },
    },
    Case {
        name: "other-agent",
        rests_on: PLACE,
        run: |ground| {
            let drawn = Journal::new(1, ground.guest()?.now).map_err(ours)?.id.as_uuid();
            let other = writ_protocol::id::AgentId::from_uuid(drawn);
            let change = move |hello: &mut Hello| hello.identity.agent_id = other;
            refused(ground, change, None, &[Code::WrongAudience])
        },
    },
    Case {
        name: "other-tenant",
        rests_on: PLACE,
        run: |ground| {
            let change = |hello: &mut Hello| hello.identity.tenant.push_str("-other");
            refused(ground, change, None, &[Code::WrongAudience, Code::WrongTenant])
        },
    },
    Case {
        name: "another-word",
        rests_on: "docs/protocol.md#statements",
        run: another_word,
    },
    Case {
        name: "no-envelope",
        rests_on: "docs/protocol.md#envelopes",
        run: |ground| {
            let answer = ground.guest()?.request(Rpc::Hello, b"{}")?;
            answer.refused(&[Code::SignatureInvalid, Code::Malformed])?;
            ground.guest()?.hello().map(|_| ())
        },
    },
    Case {
        name: "another-agents",
        rests_on: PLACE,
        run: another_agents,
    },
];

/// Two questions have two answers, each to its own.
fn answered(ground: &mut Ground) -> Came {
    let guest = ground.guest()?;
    let first = guest.hello()?;
    let second = guest.hello()?;
    if first.quarantined || second.quarantined {
        return Err(Stop::failed(
            "an agent that did nothing is in quarantine".to_owned(),
        ));
    }
    if second.server_time < first.server_time {
        return Err(Stop::failed("the ledger's clock goes back".to_owned()));
    }
    if first.hello_interval_ms == 0 {
        return Err(Stop::failed("helloIntervalMs is 0".to_owned()));
    }
    Ok(())
}

fn said<P: Predicate>(guest: &mut Guest, word: P, key: Option<&SigningKey>) -> Result<Answer, Stop> {
    let key = key.unwrap_or(&guest.key);
    let signed = hello::sign(&guest.identity, word, key).map_err(|e| ours(e.into()))?;
    let bytes = signed.to_json().map_err(|e| ours(e.into()))?;
    guest.request(Rpc::Hello, &bytes)
}

/// A question with one thing wrong is refused, and a good one after it is answered.
fn refused(
    ground: &mut Ground,
    change: impl Fn(&mut Hello),
    key: Option<&SigningKey>,
    codes: &[Code],
) -> Came {
    let guest = ground.guest()?;
    let mut question = guest.question()?;
    change(&mut question);
    said(guest, question, key)?.refused(codes)?;
    guest.hello().map(|_| ())
}

/// A statement of one type is never read as another.
fn another_word(ground: &mut Ground) -> Came {
    let guest = ground.guest()?;
    let word = RenewRequest {
        identity: guest.identity.clone(),
        sent_at: guest.now,
    };
    said(guest, word, None)?.refused(&[Code::SignatureInvalid, Code::Malformed])?;
    guest.hello().map(|_| ())
}

/// What another agent signed is not this one's, whoever brings it.
fn another_agents(ground: &mut Ground) -> Came {
    let (guest, other) = ground.two()?;
    let question = other.question()?;
    let signed = hello::sign(&other.identity, question, &other.key).map_err(|e| ours(e.into()))?;
    let bytes = signed.to_json().map_err(|e| ours(e.into()))?;
    let answer = guest.request(Rpc::Hello, &bytes)?;
    answer.refused(&[Code::SignatureInvalid, Code::WrongAudience])?;
    guest.hello()?;
    other.hello().map(|_| ())
}
