//! Areas `frame` and `record`: one line of a journal, and what it says.

use serde_json::json;
use writ_protocol::digest::Digest;
use writ_protocol::egress::{Connection, Egress, HostPolicy, PolicyWord};
use writ_protocol::exec::{Measured, Meter, Source, Sources};
use writ_protocol::reason::Code;
use writ_protocol::record::{
    Alarm, Change, Difference, DriftSeen, HaltObserved, Kind, LookCause, ManifestRefused, OrderRefused,
    Record, Unseen,
};
use writ_protocol::time::Timestamp;

use super::{Area, Given, flip};
use crate::case::{Check, Context, Vector};
use crate::judge::read::fields;
use crate::run::{frame, golden};
use crate::world::{Ids, MakeError, NOW, ids};

const INPUT: &str = "frame.bin";

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut frames = Area::new("frame");
    good_frames(&mut frames)?;
    bad_frames(&mut frames)?;
    let mut records = Area::new("record");
    good_records(&mut records)?;
    bad_records(&mut records)?;
    Ok([frames.vectors, records.vectors].concat())
}

fn given(check: Check, bytes: Vec<u8>) -> Given {
    Given::new(check, INPUT, bytes, Context::default())
}

fn good_frames(area: &mut Area) -> Result<(), MakeError> {
    for (name, why, kind, payload) in [
        (
            "no-payload",
            "A frame may be empty: 36 bytes, padded to 48.",
            10,
            &b""[..],
        ),
        (
            "no-padding",
            "36 and 12 bytes need no padding.",
            10,
            &b"twelve bytes"[..],
        ),
        (
            "padding",
            "Thirty-seven bytes are padded with zeros to 48.",
            10,
            &b"x"[..],
        ),
        (
            "unknown-kind",
            "A kind from the future is kept as it is: it is evidence all the same.",
            200,
            &b"x"[..],
        ),
    ] {
        let (bytes, link) = frame(kind, 7, payload, &Digest::ZERO)?;
        let value = json!({
            "kind": kind,
            "seq": 7,
            "bootNs": 7_000_000_000_u64,
            "wall": NOW.plus(std::time::Duration::from_secs(7)),
            "payloadHex": data_encoding::HEXLOWER.encode(payload),
            "taken": 48,
            "linkFromZero": link,
        });
        area.good(name, why, given(Check::FrameParse, bytes), value);
    }
    Ok(())
}

fn bad_frames(area: &mut Area) -> Result<(), MakeError> {
    let (good, _) = frame(10, 7, b"payload", &Digest::ZERO)?;
    let mut refused =
        |name, why, bytes: Vec<u8>, error| area.bad(name, why, given(Check::FrameParse, bytes), error);
    let checksum = "frame/checksum";
    refused(
        "one-bit-in-payload",
        "The checksum covers the payload.",
        flip(&good, 38),
        checksum,
    );
    refused(
        "one-bit-in-sequence",
        "The checksum covers the header.",
        flip(&good, 12),
        checksum,
    );
    refused(
        "one-bit-in-checksum",
        "The checksum itself changed.",
        flip(&good, 5),
        checksum,
    );
    refused(
        "one-bit-in-padding",
        "Padding is zeros, so that no byte of a journal is free.",
        flip(&good, 47),
        "frame/form",
    );
    refused(
        "cut-short",
        "The tail of a journal after a power cut.",
        good.get(..40).unwrap_or_default().to_vec(),
        "frame/short",
    );
    refused(
        "header-cut",
        "Not even a header.",
        good.get(..20).unwrap_or_default().to_vec(),
        "frame/short",
    );
    refused("empty", "Nothing at all.", vec![], "frame/short");
    let mut long = good.clone();
    set(&mut long, 0, &[0xff; 4]);
    refused(
        "length-lies",
        "A length above the bound is refused before anything is read on its word.",
        long,
        "frame/too-long",
    );
    let mut format = good.clone();
    set(&mut format, 9, &[2]);
    refused(
        "later-format",
        "A later form of frame is not guessed at, although its checksum fits.",
        seal(format),
        "frame/form",
    );
    let mut reserved = good;
    set(&mut reserved, 10, &[1]);
    refused(
        "reserved-bytes",
        "Reserved bytes are zero.",
        seal(reserved),
        "frame/form",
    );
    Ok(())
}

fn set(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (slot, byte) in bytes.iter_mut().skip(at).zip(with) {
        *slot = *byte;
    }
}

/// Writes the checksum that fits: CRC-32C, bit by bit (reflected, polynomial 0x82f63b78) over header and a payload of 7 bytes.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.get(8..36 + 7).unwrap_or_default();
    let crc = body.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    });
    set(&mut bytes, 4, &(!crc).to_le_bytes());
    bytes
}

fn good_records(area: &mut Area) -> Result<(), MakeError> {
    let golden = golden()?;
    let more = others()?;
    for kind in Kind::ALL {
        let record = golden
            .records
            .iter()
            .rev()
            .chain(&more)
            .find(|record| record.kind() == kind);
        let record = record.ok_or_else(|| format!("no record of kind {}", kind.name()))?;
        let (bytes, _) = frame(kind.number(), 1, &record.encode()?, &Digest::ZERO)?;
        let why = told(record);
        let name = kind.name().replace('_', "-");
        area.good(
            &name,
            why,
            given(Check::RecordDecode, bytes),
            json!({ "kind": kind.name(), "fields": fields(record) }),
        );
    }
    let record = measured(&golden.records)?;
    let (bytes, _) = frame(record.kind().number(), 1, &record.encode()?, &Digest::ZERO)?;
    area.good(
        "step-result-measured",
        "A step whose agent tells memory over time, network, processes, and where each figure comes from.",
        given(Check::RecordDecode, bytes),
        json!({ "kind": record.kind().name(), "fields": fields(&record) }),
    );
    for (name, about, policy) in [
        (
            "step-result-egress",
            "A step that reached one destination and was refused another.",
            None,
        ),
        (
            "step-result-egress-policy",
            "The same on a host whose operator has a policy, which allowed one connection and refused another.",
            Some(reviewed()),
        ),
    ] {
        let record = reaching(&golden.records, policy)?;
        let (bytes, _) = frame(record.kind().number(), 1, &record.encode()?, &Digest::ZERO)?;
        area.good(
            name,
            about,
            given(Check::RecordDecode, bytes),
            json!({ "kind": record.kind().name(), "fields": fields(&record) }),
        );
    }
    let (bytes, _) = frame(200, 1, b"\x80", &Digest::ZERO)?;
    area.good(
        "unknown-kind",
        "A kind from the future is no error: a reader keeps the frame and cannot say what it means.",
        given(Check::RecordDecode, bytes),
        json!({ "kind": "unknown" }),
    );
    Ok(())
}

/// The last step's result with what its connections came to.
fn reaching(records: &[Record], policy: Option<HostPolicy>) -> Result<Record, MakeError> {
    let Record::StepResult(mut result) = measured(records)? else {
        return Err("no record of a step".into());
    };
    let row = |host: &str, allowed, reason: &str| Connection {
        at: result.started_at,
        host: host.to_owned(),
        port: 443,
        address: None,
        allowed,
        reason: reason.to_owned(),
        times: 1,
        sent_bytes: 0,
        received_bytes: 0,
        duration_us: 1_000,
    };
    let mut egress = Egress::default();
    egress.book(Connection {
        address: Some("93.184.215.14".to_owned()),
        sent_bytes: 500,
        received_bytes: 1_000,
        ..row("example.com", true, "example.com:443")
    });
    if policy.is_some() {
        egress.book(row(
            "other.example",
            false,
            "the host's policy refuses it: not today",
        ));
    }
    egress.book(row("elsewhere.example", false, "the plan does not name it"));
    egress.policy = policy;
    result.egress = Some(egress);
    Ok(Record::StepResult(result))
}

/// A policy that was asked about two connections.
fn reviewed() -> HostPolicy {
    let mut policy = HostPolicy::of(Digest::of(b"package writ.egress"));
    policy.count(PolicyWord::Allowed);
    policy.count(PolicyWord::Denied);
    policy
}

/// The last step's result as an agent writes it that measures more.
fn measured(records: &[Record]) -> Result<Record, MakeError> {
    let results = records.iter().rev();
    let mut found = results.filter_map(|record| match record {
        Record::StepResult(result) => Some(result.clone()),
        _ => None,
    });
    let mut result = found.next().ok_or("no record of a step")?;
    result.usage.meter = Meter::Cgroup2;
    result.usage.lower_bound = false;
    result.usage.measured = Some(Measured {
        memory_byte_seconds: 48 << 20,
        network_bytes: 1_500,
        processes: 3,
        sources: Sources {
            cpu: Source::Cgroup,
            wall: Source::Clock,
            peak_memory: Source::Rusage,
            memory: Source::Proc,
            read: Source::Proc,
            written: Source::Proc,
            network: Source::Proxy,
            processes: Source::Cgroup,
        },
    });
    Ok(Record::StepResult(result))
}

/// Kinds that a run without trouble does not have.
fn others() -> Result<[Record; 5], MakeError> {
    let ids = ids()?;
    Ok([
        Record::OrderRefused(OrderRefused {
            order_id: ids.order,
            run_id: ids.run,
            fencing_token: 1,
            code: Code::Stale,
            detail: "file:/etc/app.conf changed since the plan was made".to_owned(),
        }),
        Record::Alarm(Alarm {
            code: Code::JournalTorn,
            detail: "18 bytes cut after record 41".to_owned(),
        }),
        Record::ManifestRefused(ManifestRefused {
            bytes: Digest::of(b"manifest"),
            code: Code::Regressed,
            detail: "manifest goes back from 2.8 to 2.7".to_owned(),
        }),
        Record::HaltObserved(HaltObserved {
            halt_id: ids.halt,
            control_epoch: 1,
            lifted: false,
            stopped: vec![ids.order],
        }),
        Record::DriftSeen(Box::new(drift_seen(&ids))),
    ])
}

fn drift_seen(ids: &Ids) -> DriftSeen {
    let mode = Change {
        attribute: "mode".to_owned(),
        want: "0644".to_owned(),
        got: "0666".to_owned(),
    };
    let unseen = Unseen {
        code: Code::Internal,
        detail: "/etc/app.conf cannot be read".to_owned(),
    };
    DriftSeen {
        project: "web".to_owned(),
        order_id: ids.order,
        run_id: ids.run,
        bundle: Digest::of(b"bundle"),
        cause: LookCause::Event,
        looked_at: Timestamp::from_micros(NOW.as_micros() + 500),
        noticed_at: NOW,
        watched: 3,
        unwatched: 1,
        differing: vec![
            Difference {
                resource: "file:/etc/motd".to_owned(),
                changes: vec![mode],
                unseen: None,
            },
            Difference {
                resource: "file:/etc/app.conf".to_owned(),
                changes: Vec::new(),
                unseen: Some(unseen),
            },
        ],
        left_out: 0,
    }
}

fn told(record: &Record) -> &'static str {
    match record {
        Record::SessionStart(_) => "The agent's process began: the first record of every start.",
        Record::HighWater(_) => "A newer manifest was taken; on disk before anything in it is acted on.",
        Record::OrderAccepted(_) => "An order was taken; exactly one order-done follows.",
        Record::OrderRefused(_) => "An order was not taken, and why.",
        Record::StepIntent(_) => "A step is about to start; on disk before it does.",
        Record::StepResult(_) => "A step ended; on disk before it is reported.",
        Record::BlobChunk(_) => {
            "Part of the bytes of an artefact; bytes are shown in hexadecimal digits here."
        }
        Record::Signed(_) => {
            "The agent's statement about the order, as it was signed; bytes are shown in hexadecimal digits here."
        }
        Record::OrderDone(_) => "The order's end; it names the statement by digest.",
        Record::Alarm(_) => "Something an operator must know.",
        Record::ManifestRefused(_) => "A manifest was refused, and why.",
        Record::HaltObserved(_) => "A halt was taken, and what it stopped here.",
        Record::DriftSeen(_) => "Where the host is not as the last plan that was applied there wants it.",
    }
}

fn bad_records(area: &mut Area) -> Result<(), MakeError> {
    let [_, alarm, ..] = others()?;
    let alarm = alarm.encode()?;
    let mut refused = |name, why, kind: Kind, payload: &[u8], error| -> Result<(), MakeError> {
        let (bytes, _) = frame(kind.number(), 1, payload, &Digest::ZERO)?;
        area.bad(name, why, given(Check::RecordDecode, bytes), error);
        Ok(())
    };
    let malformed = "codec/malformed";
    refused(
        "other-kind",
        "The payload of an alarm under the number of a high water.",
        Kind::HighWater,
        &alarm,
        malformed,
    )?;
    refused(
        "trailing-byte",
        "Every byte must belong to the record.",
        Kind::Alarm,
        &[&alarm[..], &[0]].concat(),
        "codec/trailing",
    )?;
    refused(
        "not-msgpack",
        "Bytes that are no MessagePack.",
        Kind::Alarm,
        b"\xc1",
        malformed,
    )?;
    refused(
        "empty",
        "No payload where one is wanted.",
        Kind::Alarm,
        b"",
        malformed,
    )?;
    let more = json!({ "code": "W0401", "detail": "", "severity": 9 });
    let more = writ_protocol::codec::to_msgpack("record", &more)?;
    refused(
        "unknown-field",
        "A field that this reader does not know.",
        Kind::Alarm,
        &more,
        malformed,
    )?;
    let code = json!({ "code": "W9999", "detail": "" });
    let code = writ_protocol::codec::to_msgpack("record", &code)?;
    refused(
        "unknown-code",
        "A code that is not in the table.",
        Kind::Alarm,
        &code,
        malformed,
    )
}
