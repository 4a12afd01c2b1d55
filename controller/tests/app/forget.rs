//! What is kept for people to look at is kept for as long as was set, and not for ever.

use std::time::Duration;

use writ_controller::app::{Forgotten, Retention};
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, Record};
use writ_store::ingest::{self, DeadLetter};

use super::desk::Desk;
use super::host::Host;

const HOUR: u64 = 3_600;

async fn raise(desk: &Desk, host: &mut Host, words: &str) {
    let first = host.journal.last_seq() + 1;
    host.journal.write(&Record::Alarm(Alarm {
        code: Code::Internal,
        detail: words.to_owned(),
    }));
    let last = host.journal.last_seq();
    desk.takes(&[host.journal.batch(first, last)]).await;
    let mut tx = desk.store.begin("letter").await.unwrap();
    let letter = DeadLetter {
        subject: "somewhere".to_owned(),
        code: "W0001",
        detail: words,
        message: b"bytes",
    };
    ingest::dead_letter(&mut tx, &letter, desk.now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn kept(desk: &Desk, host: &Host) -> (usize, u64) {
    let mut tx = desk.store.begin("look").await.unwrap();
    let alarms = ingest::alarms(&mut tx, host.identity.agent_id, 100)
        .await
        .unwrap();
    (alarms.len(), ingest::dead_letters(&mut tx).await.unwrap())
}

#[tokio::test]
async fn alarms_and_dead_letters_are_forgotten_each_after_its_own_time() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    raise(&desk, &mut host, "old").await;
    desk.pass(2 * HOUR);
    raise(&desk, &mut host, "new").await;
    let keep = |alarms: u64, dead_letters: u64| Retention {
        alarms: Duration::from_secs(alarms * HOUR),
        dead_letters: Duration::from_secs(dead_letters * HOUR),
        drift: Duration::from_secs(dead_letters * HOUR),
        alerts: Duration::from_secs(dead_letters * HOUR),
    };
    assert_eq!(kept(&desk, &host).await, (2, 2));
    assert_eq!(
        desk.app.forget(None, keep(3, 3)).await.unwrap(),
        Forgotten::default()
    );
    let one = desk.app.forget(None, keep(1, 3)).await.unwrap();
    assert_eq!((one.alarms, one.dead_letters, one.is_full()), (1, 0, false));
    assert_eq!(kept(&desk, &host).await, (1, 2));
    assert_eq!(desk.app.forget(None, keep(1, 1)).await.unwrap().dead_letters, 1);
    assert_eq!(kept(&desk, &host).await, (1, 1), "the new ones stay");
}
