//! Hosts that may join, and hosts that may not. A request that is refused uses up nothing: the good one comes last.

use writ_protocol::digest::Digest;
use writ_protocol::enrol::EnrolRequest;
use writ_protocol::id::JoinTokenId;
use writ_protocol::key::SigningKey;
use writ_protocol::reason::Code;
use writ_protocol::statement::{self, Subject};

use super::door::{Candidate, Door};
use super::journal::Journal;
use super::{Came, Case, Ground, Stop, ours};

const PLACE: &str = "docs/protocol.md#enrolment";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "no-request",
        rests_on: PLACE,
        run: |ground| {
            let answer = ground.door()?.ask(b"{}")?;
            answer.refused(&[Code::SignatureInvalid, Code::Malformed])
        },
    },
    Case {
        name: "by-the-token-alone",
        rests_on: PLACE,
        run: |ground| wrongly_signed(ground, |token, _, _| vec![token]),
    },
    Case {
        name: "by-the-new-key-alone",
        rests_on: PLACE,
        run: |ground| wrongly_signed(ground, |_, new, _| vec![new]),
    },
    Case {
        name: "by-another-token",
        rests_on: PLACE,
        run: |ground| wrongly_signed(ground, |_, new, stranger| vec![stranger, new]),
    },
    Case {
        name: "other-tenant",
        rests_on: PLACE,
        run: |ground| {
            let changed = |request: &mut EnrolRequest| request.tenant.push_str("-other");
            wrong(ground, changed, &[Code::JoinTokenInvalid, Code::WrongTenant])
        },
    },
    Case {
        name: "other-token-id",
        rests_on: PLACE,
        run: |ground| {
            let other: JoinTokenId = other_token(ground.door()?)?;
            wrong(
                ground,
                move |request| request.token_id = other,
                &[Code::JoinTokenInvalid],
            )
        },
    },
    Case {
        name: "good",
        rests_on: PLACE,
        run: |ground| ground.guest().map(|_| ()),
    },
    Case {
        name: "same-host-again",
        rests_on: PLACE,
        run: same_host_again,
    },
    Case {
        name: "used-token",
        rests_on: PLACE,
        run: used_token,
    },
];

fn signed(request: EnrolRequest, keys: &[&SigningKey]) -> Result<Vec<u8>, Stop> {
    let user = request.user_key.as_str();
    let subject = vec![Subject::new(format!("user/{user}"), &Digest::of(user.as_bytes()))];
    let envelope = statement::sign(subject, request, keys).map_err(|e| ours(e.into()))?;
    envelope.to_json().map_err(|e| ours(e.into()))
}

/// A good request with other signatures than those of the token and the new key.
fn wrongly_signed(
    ground: &mut Ground,
    by: for<'a> fn(&'a SigningKey, &'a SigningKey, &'a SigningKey) -> Vec<&'a SigningKey>,
) -> Came {
    let door = ground.door()?;
    let (candidate, stranger) = (Candidate::new()?, Candidate::new()?.key);
    let token = door.token.seed().signer();
    let request = door.request(&candidate)?;
    let bytes = signed(request, &by(&token, &candidate.key, &stranger))?;
    door.ask(&bytes)?.refused(&[Code::SignatureInvalid])
}

/// A request with one thing wrong in it, signed as it should be.
fn wrong(ground: &mut Ground, change: impl Fn(&mut EnrolRequest), codes: &[Code]) -> Came {
    let door = ground.door()?;
    let candidate = Candidate::new()?;
    let mut request = door.request(&candidate)?;
    change(&mut request);
    let token = door.token.seed().signer();
    let bytes = signed(request, &[&token, &candidate.key])?;
    door.ask(&bytes)?.refused(codes)
}

/// An id that no token has.
fn other_token(door: &Door) -> Result<JoinTokenId, Stop> {
    let drawn = Journal::new(1, door.now).map_err(ours)?.id.to_string();
    let digits = drawn.rsplit('_').next().unwrap_or_default();
    let text = format!("{}_{digits}", JoinTokenId::PREFIX);
    text.parse()
        .map_err(|error: writ_protocol::id::ParseIdError| ours(error.into()))
}

/// The answer was lost, and the host asks again: it stays one agent.
fn same_host_again(ground: &mut Ground) -> Came {
    let guest = ground.guest()?;
    let candidate = Candidate {
        user: writ_protocol::nats::NkeyPair::from_seed(
            writ_protocol::nats::NkeyKind::User,
            &guest.user.seed(),
        )
        .map_err(|e| ours(e.into()))?,
        key: SigningKey::from_seed(&guest.key.seed()),
    };
    let (again, ..) = guest.door.enrol(&candidate)?;
    if again != guest.identity {
        let (before, now) = (guest.identity.agent_id, again.agent_id);
        return Err(Stop::failed(format!(
            "one host asked twice; it is {before} and then {now}"
        )));
    }
    Ok(())
}

/// Another host with a token that was used.
fn used_token(ground: &mut Ground) -> Came {
    ground.guest()?;
    wrong(ground, |_| (), &[Code::JoinTokenInvalid])?;
    // Nothing came of it: who joined before still is an agent.
    ground.guest()?.hello().map(|_| ())
}
