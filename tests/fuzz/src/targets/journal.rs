//! Journal recovery: a valid log, changed as the fuzzer says, is either read as a beginning of what was written or declared damaged.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;
use writ_agent::config::JournalConfig;
use writ_agent::journal::disk::Disk;
use writ_agent::journal::disk::sim::SimDisk;
use writ_agent::journal::segment;
use writ_agent::journal::{Journal, Report, Stamp, Start};
use writ_conformance::run;
use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::time::Timestamp;

const CONFIG: JournalConfig = JournalConfig {
    segment_bytes: 4 << 10,
    retain_bytes: 64 << 10,
    retain_hours: 24,
    reserve_bytes: 1 << 10,
    ballast_bytes: 1 << 10,
};

/// Payloads by sequence number.
type Payloads = BTreeMap<u64, Vec<u8>>;

fn open(disk: &SimDisk) -> (Report, Payloads) {
    let mut seen = Payloads::new();
    let start = Start {
        session_id: SessionId::from_uuid(Uuid::from_u128(1)),
        fresh_id: JournalId::from_uuid(Uuid::from_u128(99)),
        agent_version: "1".to_owned(),
        boot_id: "boot".to_owned(),
        stamp: Stamp {
            wall: Timestamp::from_micros(1),
            boot_ns: 7,
        },
    };
    let (_, report) = Journal::open(Arc::new(disk.clone()), CONFIG, start, &mut |replayed| {
        if !replayed.salvaged {
            let before = seen.last_key_value().map(|(seq, _)| *seq);
            assert!(
                before.is_none_or(|before| before + 1 == replayed.frame.seq),
                "frames are consecutive"
            );
            seen.insert(replayed.frame.seq, replayed.frame.payload.to_vec());
        }
    })
    .expect("a disk that works never stops a start");
    (report, seen)
}

/// A journal of a few segments, and what stands in it.
fn sample() -> &'static (SimDisk, Payloads) {
    static SAMPLE: OnceLock<(SimDisk, Payloads)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let disk = SimDisk::new(1);
        Journal::create(&disk, JournalId::from_uuid(Uuid::from_u128(5))).expect("creates");
        let start = open(&disk);
        assert!(start.1.is_empty());
        let records = run::golden().expect("a run").records;
        for round in 0..3 {
            let start = Start {
                session_id: SessionId::from_uuid(Uuid::from_u128(round)),
                fresh_id: JournalId::from_uuid(Uuid::from_u128(98)),
                agent_version: "1".to_owned(),
                boot_id: "boot".to_owned(),
                stamp: Stamp::default(),
            };
            let (mut journal, _) =
                Journal::open(Arc::new(disk.clone()), CONFIG, start, &mut |_| {}).expect("opens");
            journal.append(&records, Stamp::default()).expect("appends");
            journal.sync().expect("syncs");
        }
        let (_, seen) = open(&disk.copy());
        (disk, seen)
    })
}

/// Every five bytes are one change: what, which file, where (two bytes), with what.
pub(crate) fn recover(data: &[u8]) {
    let (disk, written) = sample();
    let disk = disk.copy();
    for change in data.chunks_exact(5).take(32) {
        apply(&disk, [change[0], change[1], change[2], change[3], change[4]]);
    }
    if data.len() % 5 == 4 {
        // What is left over is appended to the newest segment, as a torn write would be.
        let tail = &data[data.len() - 4..];
        if let Some(last) = segments(&disk).last() {
            disk.append(last, tail).expect("appends");
        }
    }
    let (report, seen) = open(&disk);
    let end = seen.last_key_value().map_or(0, |(seq, _)| *seq);
    for (seq, payload) in &seen {
        assert_eq!(
            written.get(seq),
            Some(payload),
            "frame {seq} was never written so"
        );
    }
    if report.damage.is_none() && report.torn.is_none() && !seen.is_empty() {
        assert!(end >= 1);
    }
    let (again, _) = open(&disk);
    assert_eq!(
        (again.damage, again.torn),
        (None, None),
        "a start leaves a sound journal"
    );
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.list().expect("lists");
    names
        .into_iter()
        .filter(|name| segment::index_of(name).is_some())
        .collect()
}

fn apply(disk: &SimDisk, [what, which, low, high, with]: [u8; 5]) {
    let names = if what & 0x80 == 0 {
        segments(disk)
    } else {
        disk.list().expect("lists")
    };
    let Some(name) = names.get(usize::from(which) % names.len().max(1)) else {
        return;
    };
    let mut bytes = disk.read(name, 0, usize::MAX).expect("reads");
    let at = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
    match what & 0x07 {
        0 => bytes.truncate(at),
        1 => {
            bytes.drain(at..(at + usize::from(with)).min(bytes.len()));
        }
        2 => {
            let part = bytes[at..(at + usize::from(with)).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        3 => {
            bytes.splice(at..at, [with; 16]);
        }
        4 => return disk.remove(name).expect("removes"),
        5 => {
            return disk
                .rename(name, &segment::name(u64::from(with)))
                .expect("renames");
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= with;
            }
        }
    }
    disk.create(name).expect("creates");
    disk.append(name, &bytes).expect("appends");
}
