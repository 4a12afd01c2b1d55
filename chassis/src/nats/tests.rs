//! The connection against a server that can be told to misbehave. The real server is met in the system stories.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use writ_protocol::nats::{NkeyKind, NkeyPair};

use self::fake_server::{FakeServer, Manner, NONCE, Said};
use super::*;
use crate::config::Secret;

mod fake_server;

const PATIENCE: Duration = Duration::from_secs(10);

fn options(server: &FakeServer) -> NatsOptions {
    NatsOptions {
        servers: vec![server.url()],
        reconnect_window: Duration::ZERO,
        ..NatsOptions::default()
    }
}

async fn connected(options: NatsOptions) -> (Client, NatsEvents) {
    let (client, mut events) = connect(options, 1).await.expect("connects");
    until(&mut events, NatsEvent::Connected).await;
    (client, events)
}

/// Reads events until `wanted` comes.
async fn until(events: &mut NatsEvents, wanted: NatsEvent) {
    let reading = async { while events.next().await.expect("an event") != wanted {} };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the event comes");
}

async fn ask(client: &Client, subject: &str, payload: &'static [u8]) -> Result<Bytes, RequestError> {
    let wait = if subject == "silence" {
        Duration::from_millis(50)
    } else {
        PATIENCE
    };
    let answer = request_with_timeout(
        client,
        subject.to_owned(),
        None,
        Bytes::from_static(payload),
        wait,
    )
    .await;
    answer.map(|message| message.payload)
}

async fn publish(client: &Client, subject: &str) -> Result<Published, PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "m1");
    publish_acked(
        client,
        subject.to_owned(),
        headers,
        Bytes::from_static(b"frame"),
        PATIENCE,
    )
    .await
}

#[tokio::test]
async fn a_request_is_answered_or_fails_with_its_kind() {
    let server = FakeServer::start(Manner::default());
    let (client, _events) = connected(options(&server)).await;
    assert_eq!(ask(&client, "echo", b"hello").await.expect("answers"), "hello");
    let nobody = ask(&client, "nobody", b"").await.expect_err("nobody listens");
    assert!(
        matches!(nobody, RequestError::NoResponders) && nobody.is_retryable(),
        "{nobody}"
    );
    let silence = ask(&client, "silence", b"").await.expect_err("no answer");
    assert!(
        matches!(silence, RequestError::TimedOut(_)) && silence.is_retryable(),
        "{silence}"
    );
    let large = ask(&client, "echo", &[0; 2048])
        .await
        .expect_err("over the server's bound");
    assert!(
        matches!(large, RequestError::TooLarge) && !large.is_retryable(),
        "{large}"
    );
    let subject = ask(&client, "two words", b"").await.expect_err("no subject");
    assert!(matches!(subject, RequestError::Subject), "{subject}");
}

#[tokio::test]
async fn a_publish_counts_only_when_the_stream_says_so() {
    let server = FakeServer::start(Manner::default());
    let (client, _events) = connected(options(&server)).await;
    let stored = publish(&client, "ack.stored").await.expect("stored");
    assert_eq!(
        stored,
        Published {
            stream: "UP".to_owned(),
            sequence: 41,
            duplicate: false
        }
    );
    let headers = server.heard(|said| match said {
        Said::Publish { subject, headers } if subject == "ack.stored" => Some(headers),
        Said::Publish { .. } | Said::Connect(_) | Said::Subscribe(_) => None,
    });
    assert!(headers.contains("Nats-Msg-Id: m1"), "{headers}");
    assert!(
        publish(&client, "ack.again")
            .await
            .expect("stored before")
            .duplicate
    );
    let election = publish(&client, "ack.election").await.expect_err("refused");
    assert!(
        election.is_retryable() && !election.is_wrong_last_sequence(),
        "{election}"
    );
    let moved_on = publish(&client, "ack.moved_on").await.expect_err("refused");
    assert!(
        moved_on.is_wrong_last_sequence() && !moved_on.is_retryable(),
        "{moved_on}"
    );
    let nobody = publish(&client, "nobody").await.expect_err("no stream listens");
    assert!(
        matches!(nobody, PublishError::Unacknowledged(RequestError::NoResponders)),
        "{nobody}"
    );
    let echoed = publish(&client, "echo").await.expect_err("no stream answers");
    assert!(matches!(echoed, PublishError::NotAnAck), "{echoed}");
}

#[tokio::test]
async fn the_user_proves_itself_by_signing_the_nonce() {
    let key = NkeyPair::from_seed_bytes(NkeyKind::User, &[7; 32]);
    let server = FakeServer::start(Manner::default());
    let seed = Secret::new(key.seed().to_string());
    let credentials = Credentials::Jwt {
        jwt: "the.user.jwt".to_owned(),
        seed,
    };
    let name = "agent 7".to_owned();
    let inbox_prefix = "reply.u7".to_owned();
    let (client, _events) = connected(NatsOptions {
        name,
        credentials,
        inbox_prefix,
        ..options(&server)
    })
    .await;
    let said = server.connect();
    let signature = key.sign_nonce(NONCE.as_bytes()).expect("signs");
    assert_eq!(said["jwt"], "the.user.jwt");
    assert_eq!(said["sig"], data_encoding::BASE64URL_NOPAD.encode(&signature));
    assert_eq!(said["name"], "agent 7");
    ask(&client, "echo", b"").await.expect("answers");
    let inbox = server.heard(|said| {
        if let Said::Subscribe(subject) = said {
            Some(subject)
        } else {
            None
        }
    });
    assert!(inbox.starts_with("reply.u7."), "{inbox}");
}

/// Counts how often it is asked, and puts the count into the JWT.
#[derive(Debug, Default)]
struct Renewed(std::sync::atomic::AtomicU32);

impl CredentialSource for Renewed {
    fn sign(&self, nonce: &[u8]) -> Result<SignedNonce, SignError> {
        let count = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(SignedNonce {
            jwt: Some(format!("jwt {count}")),
            nkey: None,
            signature: nonce.to_vec(),
        })
    }
}

#[tokio::test]
async fn a_request_fails_at_once_while_the_connection_is_cut() {
    let server = FakeServer::start(Manner::default());
    let (client, mut events) = connected(options(&server)).await;
    events.reconnect_window().set(Duration::from_mins(10));
    server.cut();
    until(&mut events, NatsEvent::Disconnected).await;
    let apart = ask(&client, "echo", b"").await.expect_err("no connection");
    assert!(
        matches!(apart, RequestError::NotConnected) && apart.is_retryable(),
        "{apart}"
    );
}

#[tokio::test]
async fn credentials_are_asked_for_at_every_connect() {
    let server = FakeServer::start(Manner::default());
    let credentials = Credentials::Source(Arc::new(Renewed::default()));
    let (client, mut events) = connected(NatsOptions {
        credentials,
        ..options(&server)
    })
    .await;
    server.cut();
    until(&mut events, NatsEvent::Connected).await;
    assert_eq!(
        (server.connect()["jwt"].clone(), server.connect()["jwt"].clone()),
        ("jwt 0".into(), "jwt 1".into())
    );
    assert_eq!(ask(&client, "echo", b"back").await.expect("answers"), "back");
}

#[tokio::test]
async fn a_lame_duck_is_left_without_waiting_the_reconnect_window() {
    let server = FakeServer::start(Manner::default());
    let lame_duck_window = Duration::from_millis(20);
    let options = NatsOptions {
        lame_duck_window,
        reconnect_window: Duration::from_mins(10),
        ..options(&server)
    };
    let (client, mut events) = connected(options).await;
    server.announce_end();
    until(&mut events, NatsEvent::LameDuck).await;
    until(&mut events, NatsEvent::Connected).await;
    server.connect();
    server.connect();
    assert_eq!(ask(&client, "echo", b"moved").await.expect("answers"), "moved");
}

#[tokio::test]
async fn a_refusal_fails_the_first_connect_or_is_an_event() {
    let server = FakeServer::start(Manner {
        refuses_everyone: true,
        ..Manner::default()
    });
    let error = connect(options(&server), 1).await.expect_err("refused");
    assert!(matches!(error, NatsError::Connect(_)), "{error}");
    let retrying = NatsOptions {
        retry_on_initial_connect: true,
        ..options(&server)
    };
    let (client, mut events) = connect(retrying, 1).await.expect("tries on");
    until(
        &mut events,
        NatsEvent::Refused("authorization violation".to_owned()),
    )
    .await;
    assert!(matches!(
        ask(&client, "echo", b"").await,
        Err(RequestError::NotConnected)
    ));
}

#[tokio::test]
async fn events_nobody_reads_are_bounded_and_counted() {
    let (sender, receiver) = events::channel();
    for _ in 0..EVENTS_MAX + 3 {
        sender.send(async_nats::Event::Connected);
    }
    assert_eq!(receiver.len(), EVENTS_MAX);
    assert_eq!(sender.dropped().load(std::sync::atomic::Ordering::Relaxed), 3);
}

fn issue() -> (String, Arc<rustls::ServerConfig>) {
    crate::tls::install_provider();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("issues");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(issued.signing_key.serialize_pem().as_bytes());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.expect("a key"))
        .expect("fits");
    (issued.cert.pem(), Arc::new(config))
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_no_other() {
    let (pem, config) = issue();
    let (other_pem, _) = issue();
    for tls_first in [false, true] {
        let server = FakeServer::start(Manner {
            tls: Some(Arc::clone(&config)),
            tls_first,
            ..Manner::default()
        });
        let trusting = |pem: &str| NatsOptions {
            ca_pem: Some(pem.to_owned()),
            tls_first,
            ..options(&server)
        };
        let (client, _events) = connected(trusting(&pem)).await;
        assert_eq!(ask(&client, "echo", b"sealed").await.expect("answers"), "sealed");
        connect(trusting(&other_pem), 1)
            .await
            .expect_err("another authority's server");
    }
}

#[tokio::test]
async fn tls_is_not_given_up_for_a_server_without_it() {
    let (pem, _) = issue();
    let server = FakeServer::start(Manner::default());
    let file = std::env::temp_dir().join(format!("writ-chassis-ca-{}.pem", std::process::id()));
    std::fs::write(&file, &pem).expect("written");
    let options = NatsOptions {
        ca_file: Some(file.clone()),
        connect_timeout: Duration::from_secs(1),
        ..options(&server)
    };
    connect(options, 1).await.expect_err("plain text is refused");
    std::fs::remove_file(file).expect("removed");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_before_anything_is_sent() {
    let base = || NatsOptions {
        servers: vec!["tls://bus.example:4222".to_owned()],
        ..NatsOptions::default()
    };
    let refusal = async |options| connect(options, 1).await.map(drop).expect_err("refused");
    let servers = |server: &str| NatsOptions {
        servers: vec![server.to_owned()],
        ..base()
    };
    assert!(matches!(
        refusal(NatsOptions::default()).await,
        NatsError::NoServers
    ));
    for server in [
        "",
        "wss://bus.example",
        "http://bus.example",
        "tls://me:hunter2@bus.example",
    ] {
        let error = refusal(servers(server)).await;
        assert!(matches!(error, NatsError::Server { index: 0 }), "{server}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for prefix in ["", "a..b", "a.", "a.*", ">", "a b"] {
        let error = refusal(NatsOptions {
            inbox_prefix: prefix.to_owned(),
            ..base()
        })
        .await;
        assert!(matches!(error, NatsError::InboxPrefix { .. }), "{prefix:?}");
    }
    let both = NatsOptions {
        ca_file: Some("/ca.pem".into()),
        ca_pem: Some(String::new()),
        ..base()
    };
    assert!(matches!(refusal(both).await, NatsError::TwoAuthorities));
    let empty = NatsOptions {
        ca_pem: Some(String::new()),
        ..base()
    };
    assert!(matches!(refusal(empty).await, NatsError::Authorities(_)));
    let seed = Secret::new(
        NkeyPair::from_seed_bytes(NkeyKind::Account, &[1; 32])
            .seed()
            .to_string(),
    );
    let credentials = Credentials::Jwt {
        jwt: "jwt".to_owned(),
        seed,
    };
    assert!(matches!(
        refusal(NatsOptions {
            credentials,
            ..base()
        })
        .await,
        NatsError::Seed(_)
    ));
}
