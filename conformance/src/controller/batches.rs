//! Event batches: what continues a journal is taken and acknowledged by a signed watermark, everything else changes nothing. After each bad batch the
//! same records come as they should: a controller that took the bad ones would have another history.

use writ_protocol::batch::BatchHeader;
use writ_protocol::digest::Digest;
use writ_protocol::key::SigningKey;
use writ_protocol::limits::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX};
use writ_protocol::subject::{self, Shard};

use super::guest::Guest;
use super::journal::{Journal, forced, later};
use super::{Came, Case, Ground, Stop, ours};

const INGEST: &str = "docs/protocol.md#event-batches";
const WATERMARK: &str = "docs/protocol.md#watermark";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "begins-and-continues",
        rests_on: INGEST,
        run: |ground| begun(ground.guest()?).map(|_| ()),
    },
    Case {
        name: "known-by-hello",
        rests_on: WATERMARK,
        run: known_by_hello,
    },
    Case {
        name: "sent-again",
        rests_on: INGEST,
        run: sent_again,
    },
    Case {
        name: "overlaps",
        rests_on: INGEST,
        run: |ground| {
            let guest = begun(ground.guest()?)?;
            guest.grow(8)?;
            let batch = guest.batch(2, 8)?;
            guest.send(&batch)?;
            guest.acknowledged(8, None)
        },
    },
    Case {
        name: "gap",
        rests_on: INGEST,
        run: gap,
    },
    Case {
        name: "gone-from",
        rests_on: INGEST,
        run: gone_from,
    },
    Case {
        name: "forged",
        rests_on: INGEST,
        run: |ground| {
            let stranger = SigningKey::generate().map_err(|e| ours(e.into()))?;
            untaken(ground, |_, header, frames| {
                forced(header, frames, &stranger).map_err(ours)
            })
        },
    },
    Case {
        name: "other-tenant",
        rests_on: INGEST,
        run: |ground| said(ground, |header| header.tenant.push_str("-other")),
    },
    Case {
        name: "other-agent",
        rests_on: INGEST,
        run: |ground| {
            let drawn = Journal::new(1, ground.guest()?.now).map_err(ours)?.id.as_uuid();
            let other = writ_protocol::id::AgentId::from_uuid(drawn);
            said(ground, move |header| header.agent_id = other)
        },
    },
    Case {
        name: "chain-ends-elsewhere",
        rests_on: INGEST,
        run: |ground| said(ground, |header| header.last_hash = Digest::of(b"elsewhere")),
    },
    Case {
        name: "frame-removed",
        rests_on: INGEST,
        run: |ground| said(ground, |header| header.last_seq += 1),
    },
    Case {
        name: "one-bit",
        rests_on: INGEST,
        run: |ground| {
            untaken(ground, |guest, header, frames| {
                let mut bytes = forced(header, frames, &guest.key).map_err(ours)?;
                let place = bytes.len().saturating_sub(40);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1;
                }
                Ok(bytes)
            })
        },
    },
    Case {
        name: "trailing-byte",
        rests_on: "docs/protocol.md#encodings",
        run: |ground| {
            untaken(ground, |guest, header, frames| {
                let bytes = forced(header, frames, &guest.key).map_err(ours)?;
                Ok([bytes, vec![0]].concat())
            })
        },
    },
    Case {
        name: "later-version",
        rests_on: "docs/protocol.md#versions",
        run: |ground| {
            untaken(ground, |guest, header, frames| {
                later(header, &frames, &guest.key).map_err(ours)
            })
        },
    },
    Case {
        name: "no-batch",
        rests_on: "docs/protocol.md#encodings",
        run: |ground| untaken(ground, |_, _, _| Ok(b"{}".to_vec())),
    },
    Case {
        name: "too-many-frames",
        rests_on: "docs/protocol.md#limits",
        run: |ground| {
            let many = 3 + u64::try_from(BATCH_FRAMES_MAX).unwrap_or(u64::MAX) + 1;
            too_long(ground, many, b"\xc0")
        },
    },
    Case {
        name: "too-long",
        rests_on: "docs/protocol.md#limits",
        run: |ground| too_long(ground, 5, &vec![b'x'; BATCH_BYTES_MAX / 2 + 1]),
    },
    Case {
        name: "other-shard",
        rests_on: "docs/protocol.md#bus",
        run: other_shard,
    },
    Case {
        name: "another-agents",
        rests_on: INGEST,
        run: another_agents,
    },
    Case {
        name: "fork",
        rests_on: INGEST,
        run: fork,
    },
];

/// A new journal, of which records 1 to 6 are taken in two batches.
fn begun(guest: &mut Guest) -> Result<&mut Guest, Stop> {
    guest.new_life()?;
    guest.grow(6)?;
    for (first, last) in [(1, 3), (4, 6)] {
        let batch = guest.batch(first, last)?;
        guest.send(&batch)?;
        guest.acknowledged(last, None)?;
    }
    Ok(guest)
}

fn known_by_hello(ground: &mut Ground) -> Came {
    let guest = begun(ground.guest()?)?;
    is_committed(guest, 6)
}

fn is_committed(guest: &mut Guest, upto: u64) -> Came {
    let said = guest.told_by_hello()?;
    if said == upto {
        return Ok(());
    }
    Err(Stop::failed(format!(
        "records up to {upto} are committed; the answer to a hello says {said}"
    )))
}

/// Nothing is new, and the watermark is sent again.
fn sent_again(ground: &mut Ground) -> Came {
    let guest = begun(ground.guest()?)?;
    for (first, last) in [(4, 6), (1, 3)] {
        guest.marks.clear();
        let batch = guest.batch(first, last)?;
        guest.send(&batch)?;
        guest.acknowledged(6, None)?;
    }
    is_committed(guest, 6)
}

/// Nothing is taken before what is missing is there.
fn gap(ground: &mut Ground) -> Came {
    let guest = begun(ground.guest()?)?;
    guest.grow(12)?;
    let late = guest.batch(10, 12)?;
    guest.send(&late)?;
    guest.acknowledged(6, Some(7))?;
    is_committed(guest, 6)?;
    let missing = guest.batch(7, 9)?;
    guest.send(&missing)?;
    guest.acknowledged(9, None)?;
    guest.send(&late)?;
    guest.acknowledged(12, None)
}

/// Records that the agent signs to be gone leave a gap that is taken.
fn gone_from(ground: &mut Ground) -> Came {
    let guest = begun(ground.guest()?)?;
    guest.grow(12)?;
    let mut header = guest.journal.header(&guest.identity, 10, 12, guest.now);
    header.gone_from = Some(7);
    let batch = forced(header, guest.journal.bytes(10, 12), &guest.key).map_err(ours)?;
    guest.send(&batch)?;
    guest.acknowledged(12, None)
}

/// Makes a batch out of a header and frames that begin as they should.
type Make<'a> = dyn Fn(&Guest, BatchHeader, Vec<u8>) -> Result<Vec<u8>, Stop> + 'a;

/// Of a journal with three committed records a bad batch goes on with another history; then the good one is taken as if nothing had been.
fn untaken(
    ground: &mut Ground,
    make: impl Fn(&Guest, BatchHeader, Vec<u8>) -> Result<Vec<u8>, Stop>,
) -> Came {
    untaken_on(ground, &subject::events, &make)
}

fn untaken_on(
    ground: &mut Ground,
    on: &dyn Fn(&writ_protocol::nats::UserKey) -> String,
    make: &Make<'_>,
) -> Came {
    let guest = ground.guest()?;
    guest.new_life()?;
    guest.grow(3)?;
    let batch = guest.batch(1, 3)?;
    guest.send(&batch)?;
    guest.acknowledged(3, None)?;
    let mut elsewhere = guest.journal.clone();
    elsewhere.grow(6, b"\xc3", guest.now).map_err(ours)?;
    let header = elsewhere.header(&guest.identity, 4, 6, guest.now);
    let bad = make(guest, header, elsewhere.bytes(4, 6))?;
    let subject = on(&guest.identity.user_key);
    guest.send_on(&subject, &bad)?;
    guest.grow(6)?;
    let good = guest.batch(4, 6)?;
    guest.send(&good)?;
    guest.acknowledged(6, None)?;
    is_free(guest)
}

fn is_free(guest: &mut Guest) -> Came {
    if guest.hello()?.quarantined {
        return Err(Stop::failed(
            "the agent is in quarantine for what does not verify".to_owned(),
        ));
    }
    Ok(())
}

/// A batch that the agent itself signed, with one thing wrong in what it says.
fn said(ground: &mut Ground, change: impl Fn(&mut BatchHeader)) -> Came {
    untaken(ground, |guest, mut header, frames| {
        change(&mut header);
        forced(header, frames, &guest.key).map_err(ours)
    })
}

/// More than a batch may hold, all else being good.
fn too_long(ground: &mut Ground, last: u64, word: &[u8]) -> Came {
    untaken(ground, |guest, _, _| {
        let mut long = guest.journal.clone();
        long.grow(last, word, guest.now).map_err(ours)?;
        let header = long.header(&guest.identity, 4, last, guest.now);
        forced(header, long.bytes(4, last), &guest.key).map_err(ours)
    })
}

/// The subject's shard is not the agent's own.
fn other_shard(ground: &mut Ground) -> Came {
    let on = |me: &writ_protocol::nats::UserKey| {
        let own = Shard::of(me);
        let other = Shard::all().find(|shard| *shard != own).unwrap_or(own);
        let (from, to) = (format!(".{}.", own.token()), format!(".{}.", other.token()));
        subject::events(me).replacen(&from, &to, 1)
    };
    untaken_on(ground, &on, &|guest, header, frames| {
        forced(header, frames, &guest.key).map_err(ours)
    })
}

/// What another agent signed, brought by this one, is nobody's.
fn another_agents(ground: &mut Ground) -> Came {
    let (guest, other) = ground.two()?;
    other.new_life()?;
    let mut elsewhere = other.journal.until(1);
    elsewhere.grow(3, b"\xc3", other.now).map_err(ours)?;
    let header = elsewhere.header(&other.identity, 1, 3, other.now);
    let batch = forced(header, elsewhere.bytes(1, 3), &other.key).map_err(ours)?;
    guest.send(&batch)?;
    begun(guest)?;
    other.grow(3)?;
    let good = other.batch(1, 3)?;
    other.send(&good)?;
    other.acknowledged(3, None)?;
    is_free(other)?;
    is_free(guest)
}

/// Two histories of one journal: the first one stays, the agent is put into quarantine, and a newer manifest says so by every way.
fn fork(ground: &mut Ground) -> Came {
    let guest = begun(ground.guest()?)?;
    let before = guest.requested()?.at;
    let mut elsewhere = guest.journal.until(3);
    elsewhere.grow(7, b"\xc3", guest.now).map_err(ours)?;
    let header = elsewhere.header(&guest.identity, 4, 7, guest.now);
    let batch = forced(header, elsewhere.bytes(4, 7), &guest.key).map_err(ours)?;
    guest.send(&batch)?;
    guest.eventually("an agent in quarantine", |guest| {
        Ok(guest.hello()?.quarantined.then_some(()))
    })?;
    is_committed(guest, 6)?;
    let asked = guest.requested()?;
    if !asked.quarantined || asked.at <= before {
        return Err(Stop::failed(format!(
            "a manifest above {before:?} was to say that the agent is in quarantine; it is at {:?}",
            asked.at
        )));
    }
    guest.eventually("the same by direct get", |guest| {
        let gotten = guest.gotten()?;
        Ok((gotten.quarantined && gotten.at >= asked.at).then_some(()))
    })?;
    guest.until("the same by wake", |guest| {
        let woken = guest.woken.as_ref()?;
        (woken.quarantined && woken.at >= asked.at).then_some(())
    })
}
