//! The fault matrix: a power failure at every operation, every single flipped bit, a cut at every byte, a full disk at every write and a
//! failed flush at every sync. What was durable is read back or the journal says that it is damaged; never anything else.

mod doubt;

use uuid::Uuid;
use writ_protocol::record::ManifestRefused;

use super::disk::sim::{Plan, SimDisk};
use super::*;

const CONFIG: JournalConfig = JournalConfig {
    segment_bytes: 700,
    retain_bytes: 1_500,
    retain_hours: 1,
    reserve_bytes: 1 << 10,
    ballast_bytes: 1 << 10,
};

fn stamp(micros: i64) -> Stamp {
    Stamp {
        wall: Timestamp::from_micros(micros),
        boot_ns: 7,
    }
}

fn start() -> Start {
    Start {
        session_id: SessionId::from_uuid(Uuid::from_u128(1)),
        fresh_id: JournalId::from_uuid(Uuid::from_u128(99)),
        agent_version: "1".to_owned(),
        boot_id: "boot".to_owned(),
        stamp: stamp(1),
    }
}

fn record(n: u64) -> Record {
    Record::ManifestRefused(ManifestRefused {
        bytes: Digest::of(&n.to_le_bytes()),
        code: Code::Expired,
        detail: n.to_string(),
    })
}

/// What a reader of the disk sees: our records' numbers, and the report.
fn open(disk: &SimDisk) -> Result<(Journal, Report, Vec<u64>), JournalError> {
    let mut seen = Vec::new();
    let (journal, report) = Journal::open(Arc::new(disk.clone()), CONFIG, start(), &mut |replayed| {
        if let Some(Record::ManifestRefused(refused)) = replayed.record
            && !replayed.salvaged
        {
            seen.push(refused.detail.parse().expect("ours"));
        }
    })?;
    Ok((journal, report, seen))
}

fn fresh() -> SimDisk {
    let disk = SimDisk::new(1);
    Journal::create(&disk, JournalId::from_uuid(Uuid::from_u128(5))).expect("creates");
    disk
}

/// Appends and syncs one record after another until something fails; gives how many are durable.
fn fill(journal: &mut Journal, from: u64, to: u64) -> (u64, Result<(), JournalError>) {
    for n in from..=to {
        let done = journal
            .append(&[record(n)], stamp(2))
            .and_then(|_| journal.sync());
        if let Err(error) = done {
            return (n - 1, Err(error));
        }
    }
    (to, Ok(()))
}

fn three_segments() -> SimDisk {
    let disk = fresh();
    let (mut journal, ..) = open(&disk).expect("opens");
    fill(&mut journal, 1, 11).1.expect("writes");
    let segments: Vec<_> = disk
        .list()
        .expect("lists")
        .into_iter()
        .filter(|n| segment::index_of(n).is_some())
        .collect();
    assert_eq!(segments.len(), 3, "{segments:?}");
    disk
}

/// Every frame of the journal, read back in pieces, links up.
fn check_chain(journal: &mut Journal) {
    let (mut seq, mut hash) = (1, Digest::ZERO);
    while let Some(run) = journal.read(seq, 3, 400).expect("reads") {
        assert_eq!((run.first_seq, run.prev_hash), (seq, hash));
        (seq, hash) = (run.last_seq + 1, run.last_hash);
    }
    assert_eq!(Position { seq: seq - 1, hash }, journal.durable());
}

#[test]
fn frames_come_back_in_order_over_segments_and_starts() {
    let disk = three_segments();
    let (mut journal, report, seen) = open(&disk).expect("opens");
    assert_eq!(seen, (1..=11).collect::<Vec<_>>());
    assert_eq!((report.torn, report.damage), (None, None));
    assert_eq!(journal.incarnation(), 2);
    check_chain(&mut journal);
    assert!(journal.append(&[record(12)], stamp(3)).is_ok());
    assert_eq!(
        journal.read(journal.end().seq, 9, 900).expect("reads"),
        None,
        "not durable, not handed out"
    );
}

#[test]
fn a_power_failure_at_any_operation_loses_nothing_durable() {
    for seed in 0..4 {
        for at in 1.. {
            let disk = SimDisk::new(seed * 1_000 + at);
            Journal::create(&disk, JournalId::from_uuid(Uuid::from_u128(5))).expect("creates");
            disk.set_plan(Plan {
                crash_at: Some(at),
                ..Plan::default()
            });
            let durable = match open(&disk) {
                Ok((mut journal, ..)) => fill(&mut journal, 1, 11).0,
                Err(_) => 0,
            };
            let is_over = disk.counts().0 < at;
            disk.crash();
            let (mut journal, report, seen) = open(&disk).expect("recovers");
            assert_eq!(
                report.damage, None,
                "crash at {at}: nothing is damaged by a power failure"
            );
            let count = seen.len() as u64;
            assert_eq!(seen, (1..=count).collect::<Vec<_>>(), "crash at {at}");
            assert!(
                count >= durable && count <= durable + 1,
                "crash at {at}: {durable} durable, {count} read"
            );
            check_chain(&mut journal);
            if is_over {
                break;
            }
        }
    }
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.list().expect("lists").into_iter();
    names.filter(|n| segment::index_of(n).is_some()).collect()
}

fn length(disk: &SimDisk, name: &str) -> usize {
    usize::try_from(disk.length(name).expect("length")).expect("fits")
}

/// The journal was set aside whole, and a new one begins with its start and its alarm.
fn check_damaged(disk: &SimDisk, place: &str) {
    let (mut journal, report, _) = open(disk).expect("opens");
    assert_eq!(report.torn, None, "{place}: what was durable is never cut");
    assert!(report.damage.is_some(), "{place} went unseen");
    assert_eq!(
        (journal.id(), journal.durable().seq),
        (start().fresh_id, 2),
        "{place}"
    );
    check_chain(&mut journal);
}

#[test]
fn every_flipped_bit_of_what_was_durable_is_damage_the_last_frame_included() {
    let disk = three_segments();
    for name in &segments(&disk) {
        for byte in 0..length(&disk, name) {
            for bit in 0..8 {
                let flipped = disk.copy();
                assert!(flipped.flip(name, byte, bit));
                check_damaged(&flipped, &format!("{name} byte {byte} bit {bit}"));
            }
        }
    }
}

#[test]
fn a_cut_at_any_byte_of_what_was_durable_is_damage() {
    let whole = three_segments();
    for name in &segments(&whole) {
        for length in 0..length(&whole, name) {
            let disk = whole.copy();
            disk.truncate(name, length as u64).expect("cuts");
            check_damaged(&disk, &format!("{name} cut at {length}"));
        }
    }
}

#[test]
fn what_was_never_durable_is_cut_whatever_became_of_it() {
    let disk = three_segments();
    let last = segments(&disk).pop().expect("a segment");
    let durable = length(&disk, &last);
    let (mut journal, ..) = open(&disk).expect("opens");
    let before = length(&disk, &last);
    journal.append(&[record(12)], stamp(3)).expect("writes");
    drop(journal);
    let after = length(&disk, &last);
    assert!(
        durable < before && before < after,
        "the start and the record are in the last segment"
    );
    let check = |disk: &SimDisk, place: &str| {
        let (mut journal, report, seen) = open(disk).expect("opens");
        assert_eq!(report.damage, None, "{place}");
        assert_eq!(seen, (1..=11).collect::<Vec<_>>(), "{place}");
        check_chain(&mut journal);
        report.torn.expect("cut")
    };
    for byte in before..after {
        for bit in 0..8 {
            let flipped = disk.copy();
            assert!(flipped.flip(&last, byte, bit));
            let torn = check(&flipped, &format!("byte {byte} bit {bit}"));
            assert_eq!(
                (torn.segment.as_str(), torn.offset),
                (last.as_str(), before as u64)
            );
        }
    }
    for length in before + 1..after {
        let cut = disk.copy();
        cut.truncate(&last, length as u64).expect("cuts");
        check(&cut, &format!("cut at {length}"));
    }
}

#[test]
fn a_mark_that_is_behind_missing_or_flipped_costs_nothing() {
    let disk = three_segments();
    for byte in 0..length(&disk, mark::FILE) {
        for bit in 0..8 {
            let flipped = disk.copy();
            assert!(flipped.flip(mark::FILE, byte, bit));
            let (_, report, seen) = open(&flipped).expect("opens");
            assert_eq!(
                (report.torn, report.damage),
                (None, None),
                "byte {byte} bit {bit}"
            );
            assert_eq!(seen.len(), 11);
        }
    }
    disk.remove(mark::FILE).expect("removes");
    let (_, report, seen) = open(&disk).expect("opens");
    assert_eq!((report.torn, report.damage, seen.len()), (None, None, 11));
    assert!(
        length(&disk, mark::FILE) > 0,
        "and it is made again, for agents of before"
    );
}

#[test]
fn the_mark_of_a_journal_that_was_set_aside_says_nothing_of_the_next() {
    let disk = three_segments();
    let last = segments(&disk).pop().expect("a segment");
    assert!(disk.flip(&last, length(&disk, &last) - 20, 3));
    check_damaged(&disk, "the last frame");
    let (journal, report, _) = open(&disk).expect("opens");
    assert_eq!((report.damage, journal.id()), (None, start().fresh_id));
}

#[test]
fn the_ledgers_word_makes_a_cut_end_damage() {
    let disk = three_segments();
    let (mut journal, ..) = open(&disk).expect("opens");
    let end = journal.durable();
    journal
        .acknowledge(end.seq, end.hash, Timestamp::from_micros(9))
        .expect("takes it");
    let last = disk
        .list()
        .expect("lists")
        .into_iter()
        .rfind(|n| segment::index_of(n).is_some())
        .expect("one");
    disk.truncate(&last, disk.length(&last).expect("length") - 1)
        .expect("cuts");
    let (_, report, _) = open(&disk).expect("opens");
    assert!(report.damage.is_some_and(|why| why.contains("ledger")));
}

#[test]
fn a_full_disk_gives_up_the_ballast_and_then_says_so() {
    for at in 1..30 {
        let disk = fresh();
        let (mut journal, ..) = open(&disk).expect("opens");
        assert!(!journal.is_tight());
        disk.set_plan(Plan {
            full_at: Some(at),
            ..Plan::default()
        });
        fill(&mut journal, 1, 11).1.expect("the ballast gives room");
        check_chain(&mut journal);
        let gone = !disk.list().expect("lists").contains(&BALLAST.to_owned());
        assert_eq!(gone, disk.counts().1 >= at, "full at write {at}");
        disk.set_free(0);
        assert!(journal.is_tight());
        disk.set_plan(Plan {
            full_at: Some(1),
            ..Plan::default()
        });
        if gone {
            let error = journal.append(&[record(12)], stamp(2)).expect_err("no room");
            assert!(matches!(error, JournalError::Full), "{error}");
        }
        disk.crash();
        let (.., seen) = open(&disk).expect("opens");
        assert_eq!(seen, (1..=11).collect::<Vec<_>>(), "full at write {at}");
    }
}

#[test]
fn a_failed_flush_ends_the_process_and_recovery_finds_what_is_durable() {
    for at in 1..40 {
        let disk = fresh();
        let (mut journal, ..) = open(&disk).expect("opens");
        disk.set_plan(Plan {
            sync_fails_at: Some(at),
            ..Plan::default()
        });
        let (durable, outcome) = fill(&mut journal, 1, 11);
        if let Err(error) = outcome {
            assert!(error.is_fatal(), "{error}");
            assert!(
                journal.append(&[record(50)], stamp(2)).is_err(),
                "nothing is written after a failed flush"
            );
        }
        disk.crash();
        let (mut journal, report, seen) = open(&disk).expect("opens");
        assert_eq!(report.damage, None);
        assert!(
            seen.len() as u64 >= durable,
            "sync {at}: {durable} durable, {} read",
            seen.len()
        );
        check_chain(&mut journal);
    }
}

#[test]
fn old_segments_go_only_when_the_ledger_has_them_and_the_reserve_is_full() {
    let disk = fresh();
    let (mut journal, ..) = open(&disk).expect("opens");
    fill(&mut journal, 1, 40).1.expect("writes");
    let late = Timestamp::from_millis(10 * 3_600 * 1_000);
    let first = |journal: &mut Journal| journal.read(1, 1, 1).is_ok();
    assert!(first(&mut journal));
    let end = journal.durable();
    let hash_of =
        |journal: &mut Journal, seq| journal.read(seq, 1, 1).expect("reads").expect("there").last_hash;
    let five = hash_of(&mut journal, 5);
    journal.acknowledge(5, five, late).expect("takes it");
    assert!(
        journal.read(6, 1, 1).expect("reads").is_some(),
        "what the ledger lacks stays"
    );
    journal
        .acknowledge(end.seq, end.hash, stamp(3).wall)
        .expect("takes it");
    let young = disk.list().expect("lists").len();
    journal.acknowledge(end.seq, end.hash, late).expect("takes it");
    assert!(
        disk.list().expect("lists").len() < young,
        "young segments stay, old ones go"
    );
    assert!(matches!(journal.read(1, 1, 1), Err(JournalError::NotHere { .. })));
    let kept: u64 = disk
        .list()
        .expect("lists")
        .iter()
        .filter(|n| segment::index_of(n).is_some())
        .map(|n| disk.length(n).expect("length"))
        .sum();
    assert!(kept >= CONFIG.retain_bytes, "the reserve of {kept} bytes is kept");
    let (mut again, report, _) = open(&disk).expect("opens");
    assert_eq!(report.damage, None, "removed on purpose is not lost");
    assert!(again.read(again.durable().seq, 1, 1).expect("reads").is_some());
}

#[test]
fn a_journal_that_vanished_is_a_loss_and_a_new_one_is_not() {
    let disk = three_segments();
    for name in disk
        .list()
        .expect("lists")
        .into_iter()
        .filter(|n| segment::index_of(n).is_some())
    {
        disk.remove(&name).expect("removes");
    }
    let (journal, report, _) = open(&disk).expect("opens");
    assert!(report.damage.is_some() && journal.id() == start().fresh_id);
    let (journal, report, _) = open(&fresh()).expect("opens");
    assert_eq!(
        (report.damage, journal.id()),
        (None, JournalId::from_uuid(Uuid::from_u128(5)))
    );
}

#[test]
fn what_is_replaced_is_the_last_content_alone_however_long_those_before_were() {
    let dir = tempfile::tempdir().expect("a folder");
    let real = disk::RealDisk::open(dir.path()).expect("opens");
    let disks: [&dyn Disk; 2] = [&real, &SimDisk::new(1)];
    for disk in disks {
        for content in ["first", "the second is longer", "3rd", ""] {
            disk::replace(disk, "list", content.as_bytes()).expect("replaces");
            let kept = disk::read_all(disk, "list", 100).expect("reads");
            assert_eq!(kept, content.as_bytes(), "{disk:?}");
        }
    }
}

#[test]
fn a_power_failure_while_a_file_is_replaced_leaves_the_old_content_or_the_new() {
    let mut cut = 0;
    for at in 1..24 {
        let disk = SimDisk::new(at);
        for old in ["oldest", "old"] {
            disk::replace(&disk, "list", old.as_bytes()).expect("replaces");
        }
        disk.set_plan(Plan {
            crash_at: Some(at),
            ..Plan::default()
        });
        let done = disk::replace(&disk, "list", b"the new one");
        disk.crash();
        let kept = disk::read_all(&disk, "list", 100).expect("reads");
        assert!(
            kept == b"the new one" || done.is_err() && kept == b"old",
            "at {at}: {kept:?}"
        );
        cut += u32::from(done.is_err());
    }
    assert!((4..20).contains(&cut), "{cut} of the crashes fell into it");
}

#[test]
fn a_condemned_journal_is_set_aside_and_its_high_water_stays() {
    let disk = three_segments();
    let (mut journal, ..) = open(&disk).expect("opens");
    let high = Generation {
        epoch: 3,
        generation: 9,
    };
    journal.remember(high, 4);
    assert!(journal.owes_memory());
    journal.keep_memory().expect("keeps");
    assert!(!journal.owes_memory());
    journal.condemn().expect("marks");
    let (journal, report, seen) = open(&disk).expect("opens");
    assert!(report.damage.is_some() && seen.is_empty() && journal.id() == start().fresh_id);
    assert_eq!((report.high_water, report.control_epoch), (high, 4));
    assert!(open(&disk).expect("opens").1.damage.is_none(), "once");
}

#[test]
fn the_docket_cuts_a_torn_end_and_keeps_the_rest() {
    let disk = SimDisk::new(3);
    let docket = Docket::new(Arc::new(disk.clone()));
    docket.keep(b"one").expect("keeps");
    docket.keep(b"two").expect("keeps");
    disk.append("docket", &[9, 0, 0, 0, 1]).expect("tears");
    assert_eq!(
        docket.manifests().expect("reads"),
        [b"one".to_vec(), b"two".to_vec()]
    );
    docket.keep(b"three").expect("keeps");
    docket.compact(|m| m != b"two").expect("compacts");
    assert_eq!(
        docket.manifests().expect("reads"),
        [b"one".to_vec(), b"three".to_vec()]
    );
}
