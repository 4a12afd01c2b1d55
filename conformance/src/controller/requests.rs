//! The small requests beside hellos: new credentials, and chunks of bundles.

use std::time::Duration;

use writ_protocol::codec;
use writ_protocol::hello::{self, BundleRequest, RenewReply, RenewRequest};
use writ_protocol::limits::{CLOCK_SKEW_MAX, RPC_BYTES_MAX};
use writ_protocol::nats::peek::Peeked;
use writ_protocol::reason::Code;
use writ_protocol::subject::Rpc;
use writ_protocol::time::Timestamp;

use super::door::{Answer, Line};
use super::guest::Guest;
use super::{Came, Case, Ground, Stop, chain, ours};

const PLACE: &str = "docs/protocol.md#hello";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "renewed",
        rests_on: PLACE,
        run: renewed,
    },
    Case {
        name: "renewal-by-another-clock",
        rests_on: PLACE,
        run: |ground| {
            let guest = ground.guest()?;
            guest.hello()?;
            let late = guest.now.plus(CLOCK_SKEW_MAX * 2);
            renewal(guest, late)?.refused(&[Code::ClockUntrusted])?;
            guest.hello().map(|_| ())
        },
    },
    Case {
        name: "bundle-that-is-not-there",
        rests_on: PLACE,
        run: |ground| {
            let wanted = BundleRequest {
                digest: super::journal::nonce().map_err(ours)?,
                index: 0,
            };
            let asked = codec::to_json("bundle request", &wanted).map_err(|e| ours(e.into()))?;
            let answer = ground.guest()?.request(Rpc::Bundle, &asked)?;
            answer.refused(&[Code::NotFound])
        },
    },
    Case {
        name: "too-long",
        rests_on: "docs/protocol.md#limits",
        run: |ground| {
            let guest = ground.guest()?;
            let answer = guest.request(Rpc::Hello, &vec![b' '; RPC_BYTES_MAX + 1])?;
            answer.refused(&[Code::TooLarge])?;
            guest.hello().map(|_| ())
        },
    },
];

fn renewal(guest: &mut Guest, sent_at: Timestamp) -> Result<Answer, Stop> {
    let word = RenewRequest {
        identity: guest.identity.clone(),
        sent_at,
    };
    let signed = hello::sign(&guest.identity, word, &guest.key).map_err(|e| ours(e.into()))?;
    let bytes = signed.to_json().map_err(|e| ours(e.into()))?;
    guest.request(Rpc::Renew, &bytes)
}

/// New claims let the same key in, and the policy with them follows from the same root.
fn renewed(ground: &mut Ground) -> Came {
    let guest = ground.guest()?;
    guest.hello()?;
    let now = guest.now;
    let answer = renewal(guest, now)?.told("a request for new credentials")?;
    let reply: RenewReply = codec::from_json("renewal", &answer, RPC_BYTES_MAX)
        .map_err(|error| format!("the answer to a renewal: {}", chain(&error)))?;
    let keyring = guest
        .keyring
        .with_policy(reply.trust_policy.as_bytes(), guest.now);
    guest.keyring = keyring.map_err(|error| format!("the policy with new credentials: {}", chain(&error)))?;
    let ends = Peeked::read(&reply.user_jwt).and_then(|claims| claims.expires_at());
    if ends.is_none_or(|ends| ends < guest.now.plus(Duration::from_secs(1))) {
        return Err(Stop::failed(format!("new claims end at {ends:?}")));
    }
    Line::new(&guest.door.token, &reply.user_jwt, &guest.user).map(|_| ())
}
