//! What a start must doubt: bytes that a failed flush left in the kernel, and a ledger that went back further than the reserve.

use writ_protocol::id::{OrderId, RunId};
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::record::{OrderAccepted, OrderRefused};

use super::*;

/// Opens the journal, counting what it shows.
fn shown(disk: &SimDisk) -> (Journal, u64) {
    let (journal, report, seen) = open(disk).expect("opens");
    assert_eq!(report.damage, None);
    (journal, seen.len() as u64)
}

#[test]
fn what_is_read_after_a_failed_flush_is_durable_before_it_is_said() {
    for at in 1..=3 {
        let disk = fresh();
        let (mut journal, ..) = open(&disk).expect("opens");
        disk.set_plan(Plan {
            sync_fails_at: Some(at),
            ..Plan::default()
        });
        let (sure, failed) = fill(&mut journal, 1, 9);
        assert!(failed.is_err() && sure < 9);
        drop(journal);
        // The machine stays up: the next process reads what the failed flush left in the kernel.
        let (journal, seen) = shown(&disk);
        let end = journal.durable();
        assert!(seen > sure, "the kernel still shows it");
        drop(journal);
        disk.crash();
        let (mut journal, after) = shown(&disk);
        assert_eq!(after, seen, "and so it may have been sent: it must be there");
        let run = journal.read(end.seq, 1, 1).expect("reads").expect("there");
        assert_eq!(run.last_hash, end.hash);
    }
}

#[test]
fn a_full_disk_gives_its_ballast_up_to_make_sure() {
    let disk = fresh();
    let (mut journal, ..) = open(&disk).expect("opens");
    disk.set_plan(Plan {
        sync_fails_at: Some(1),
        ..Plan::default()
    });
    fill(&mut journal, 1, 1).1.expect_err("fails");
    drop(journal);
    disk.set_plan(Plan {
        full_at: Some(1),
        ..Plan::default()
    });
    assert_eq!(shown(&disk).1, 1);
}

#[test]
fn a_ledger_behind_the_reserve_does_not_make_a_journal_look_robbed() {
    let disk = fresh();
    let (mut journal, ..) = open(&disk).expect("opens");
    fill(&mut journal, 1, 40).1.expect("writes");
    let early = journal.read(3, 1, 1).expect("reads").expect("there").last_hash;
    let (end, late) = (journal.durable(), Timestamp::from_millis(10 * 3_600 * 1_000));
    journal
        .acknowledge(end.seq, end.hash, late)
        .expect("takes it, and lets go");
    let Err(JournalError::NotHere { first, .. }) = journal.read(4, 1, 1) else {
        panic!("record 4 should be gone");
    };
    journal.acknowledge(3, early, late).expect("the ledger went back");
    assert_eq!(
        journal.acknowledged(),
        first - 1,
        "what is gone was committed once"
    );
    drop(journal);
    let (mut again, _) = shown(&disk);
    assert!(again.read(first, 1, 1).expect("reads").is_some());
}

#[test]
fn what_a_restart_takes_up_is_never_let_go_of() {
    let disk = fresh();
    let (mut journal, ..) = open(&disk).expect("opens");
    let late = Timestamp::from_millis(10 * 3_600 * 1_000);
    let order_id = OrderId::from_uuid(Uuid::from_u128(11));
    let let_go = |journal: &mut Journal| {
        let end = journal.durable();
        journal.acknowledge(end.seq, end.hash, late).expect("takes it");
    };
    let first = journal.append(&[accepted(order_id)], stamp(2)).expect("writes");
    fill(&mut journal, 1, 40).1.expect("writes");
    let_go(&mut journal);
    assert!(journal.read(first, 1, 1).is_ok(), "the order is not done");
    drop(journal);
    let (mut journal, _) = shown(&disk);
    fill(&mut journal, 41, 60).1.expect("writes");
    let_go(&mut journal);
    assert!(journal.read(first, 1, 1).is_ok(), "nor is it after a restart");
    journal.append(&[refused(order_id)], stamp(2)).expect("writes");
    journal.sync().expect("flushes");
    let_go(&mut journal);
    assert!(matches!(
        journal.read(first, 1, 1),
        Err(JournalError::NotHere { .. })
    ));
}

fn accepted(order_id: OrderId) -> Record {
    Record::OrderAccepted(OrderAccepted {
        order_id,
        run_id: RunId::from_uuid(Uuid::from_u128(12)),
        kind: OrderKind::Apply,
        at: Generation::default(),
        manifest: Digest::ZERO,
        bundle: BundleRef {
            digest: Digest::ZERO,
            length: 0,
        },
        fencing_token: 1,
    })
}

fn refused(order_id: OrderId) -> Record {
    Record::OrderRefused(OrderRefused {
        order_id,
        run_id: RunId::from_uuid(Uuid::from_u128(12)),
        fencing_token: 1,
        code: Code::Expired,
        detail: String::new(),
    })
}
