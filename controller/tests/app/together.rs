//! Hellos of many agents in one transaction: each has its own answer, and what is wrong with one is nobody else's trouble.

use uuid::Uuid;
use writ_controller::app::Incoming;
use writ_protocol::hello::{self, Hello, HelloReply};
use writ_protocol::id::SessionId;
use writ_protocol::reason::Code;

use super::desk::Desk;
use super::host::Host;

fn signed(host: &Host, word: Hello) -> Incoming {
    let envelope = hello::sign(&host.identity, word, &host.keys.artefact).unwrap();
    Incoming {
        user_key: host.keys.user.clone(),
        message: envelope.to_json().unwrap().into(),
    }
}

fn opened(desk: &Desk, host: &Host, word: &Hello, answer: &[u8]) -> HelloReply {
    let reply = hello::open_reply(answer, &desk.keyring, &host.identity, &word.nonce, desk.now());
    reply.unwrap().into_inner().predicate
}

#[tokio::test]
async fn each_of_many_has_its_own_answer_and_a_bad_one_spoils_nothing() {
    let desk = Desk::new().await;
    let mut hosts = Vec::new();
    for n in 1..=4 {
        hosts.push(Host::enrol(&desk, n).await);
    }
    let words: Vec<Hello> = hosts.iter().map(|host| host.hello(&desk)).collect();
    let mut asked: Vec<Incoming> = hosts
        .iter()
        .zip(&words)
        .map(|(host, word)| signed(host, word.clone()))
        .collect();
    asked[1].message = asked[0].message.clone();
    asked[2].message = "no hello".into();
    let answers = desk.app.hellos(&asked, desk.now()).await.unwrap();
    assert_eq!(answers.len(), 4);
    for place in [0, 3] {
        let reply = opened(
            &desk,
            &hosts[place],
            &words[place],
            answers[place].as_ref().unwrap(),
        );
        assert_eq!(reply.identity, hosts[place].identity);
        assert!(!reply.quarantined);
    }
    for place in [1, 2] {
        assert_eq!(
            answers[place].as_ref().unwrap_err().code(),
            Code::SignatureInvalid
        );
    }
    for (place, host) in hosts.iter().enumerate() {
        let shown = desk
            .app
            .get_agent(&host.identity.agent_id.to_string())
            .await
            .unwrap();
        assert_eq!(shown.last_seen.is_some(), [0, 3].contains(&place), "{place}");
    }
}

#[tokio::test]
async fn two_processes_are_found_out_even_when_they_speak_together() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let word = host.hello(&desk);
    let copy = Hello {
        session_id: SessionId::from_uuid(Uuid::from_u128(99)),
        ..word.clone()
    };
    let asked = [signed(&host, word.clone()), signed(&host, copy)];
    let answers = desk.app.hellos(&asked, desk.now()).await.unwrap();
    let last = opened(&desk, &host, &word, answers[1].as_ref().unwrap());
    assert!(last.quarantined);
    let shown = desk.app.get_agent(&host.identity.agent_id.to_string()).await;
    assert_eq!(shown.unwrap().state, "quarantined");
}

#[tokio::test]
async fn the_last_word_of_a_former_life_that_was_read_late_is_no_second_process() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let (former, taken) = (host.hello(&desk), desk.now());
    let next = Hello {
        session_id: SessionId::from_uuid(Uuid::from_u128(99)),
        incarnation: former.incarnation + 1,
        ..former.clone()
    };
    desk.pass(5);
    let hellos = |word: &Hello, received| {
        let asked = [signed(&host, word.clone())];
        let app = &desk.app;
        async move { app.hellos(&asked, received).await.unwrap().pop().unwrap() }
    };
    hellos(&next, desk.now()).await.unwrap();
    // It was taken from the bus before the next life spoke, and waited for the ledger.
    let echo = hellos(&former, taken).await;
    assert_eq!(echo.unwrap_err().code(), Code::Conflict);
    let state = || async {
        let shown = desk.app.get_agent(&host.identity.agent_id.to_string()).await;
        shown.unwrap().state
    };
    assert_eq!(state().await, "active");
    // Still there after the next life was heard: that is a second process.
    desk.pass(5);
    hellos(&former, desk.now()).await.unwrap();
    assert_eq!(state().await, "quarantined");
}
