//! The manifest: for this agent alone, by every way the same, and never older than before.

use writ_protocol::manifest::Manifest;
use writ_protocol::time::Timestamp;

use super::{Came, Case, Ground, Stop};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "by-request-and-direct-get",
        rests_on: "docs/protocol.md#manifest",
        run: both_ways,
    },
    Case {
        name: "where-the-hello-says",
        rests_on: "docs/protocol.md#hello",
        run: where_the_hello_says,
    },
    Case {
        name: "two-agents",
        rests_on: "docs/protocol.md#manifest",
        run: two_agents,
    },
];

/// What two manifests of one place have in common: all but when they were signed.
fn core(mut manifest: Manifest) -> Manifest {
    manifest.issued_at = Timestamp::from_millis(0);
    manifest.expires_at = manifest.issued_at;
    manifest
}

fn both_ways(ground: &mut Ground) -> Came {
    let guest = ground.guest()?;
    guest.hello()?;
    guest.eventually("the same manifest by request and by direct get", |guest| {
        let (asked, gotten) = (guest.requested()?, guest.gotten()?);
        if asked.at != gotten.at {
            return Ok(None);
        }
        let at = asked.at;
        if core(asked) != core(gotten) {
            return Err(Stop::failed(format!("two manifests are at {at:?}")));
        }
        Ok(Some(()))
    })
}

fn where_the_hello_says(ground: &mut Ground) -> Came {
    let guest = ground.guest()?;
    let at = guest.hello()?.at;
    let asked = guest.requested()?;
    if asked.at < at {
        return Err(Stop::failed(format!(
            "a hello was answered with {at:?}; a request after it with {:?}",
            asked.at
        )));
    }
    guest.eventually("that place by direct get", |guest| {
        Ok((guest.gotten()?.at >= at).then_some(()))
    })
}

/// Each has its own; that it is for the one who asks is looked at whenever one comes.
fn two_agents(ground: &mut Ground) -> Came {
    let (guest, other) = ground.two()?;
    guest.hello()?;
    other.hello()?;
    guest.requested()?;
    other.requested()?;
    Ok(())
}
