//! The pipe against a desk of a test's own, over a pair of in-memory streams.

use tokio::io::{DuplexStream, duplex};
use writ_protocol::pipe::frame;

use super::*;

const WAIT: Duration = Duration::from_secs(60);

struct FarEnd {
    input: DuplexStream,
    output: DuplexStream,
}

impl FarEnd {
    async fn say(&mut self, word: &ToAgent) {
        self.output
            .write_all(&frame(word).expect("frames"))
            .await
            .expect("the agent reads");
    }

    async fn hear(&mut self) -> ToDesk {
        let mut prefix = [0; LENGTH_BYTES];
        self.input.read_exact(&mut prefix).await.expect("a word");
        let mut body = vec![0; pipe::length(prefix).expect("bounded")];
        self.input.read_exact(&mut body).await.expect("all of it");
        pipe::open(&body).expect("a word of an agent")
    }
}

fn welcome() -> ToAgent {
    ToAgent::Welcome {
        token: "t".into(),
        policy: String::new(),
    }
}

fn answer(id: u64, payload: &[u8]) -> ToAgent {
    ToAgent::Answer {
        id,
        payload: payload.to_vec(),
        status: None,
        refusal: None,
    }
}

async fn connected() -> (Arc<PipeTransport>, mpsc::Receiver<Incoming>, FarEnd) {
    let ((to_agent, from_desk), (to_desk, from_agent)) = (duplex(1 << 20), duplex(1 << 20));
    let mut desk = FarEnd {
        input: from_agent,
        output: to_agent,
    };
    desk.say(&welcome()).await;
    let (transport, pump, writer, said) = open(from_desk, to_desk).await.expect("a welcome came");
    assert_eq!(said.token, "t");
    let (to, mut incoming) = mpsc::channel(8);
    tokio::spawn(pump.run(to));
    tokio::spawn(writer.run());
    assert_eq!(incoming.recv().await, Some(Incoming::Connected));
    (transport, incoming, desk)
}

#[tokio::test]
async fn answers_find_their_questions_in_whatever_order_they_come() {
    let (transport, _incoming, mut desk) = connected().await;
    let ask = |subject: &'static str| {
        let transport = Arc::clone(&transport);
        tokio::spawn(async move { transport.request(subject.into(), Bytes::new(), WAIT).await })
    };
    let (first, second) = (ask("a"), ask("b"));
    let mut asked = BTreeMap::new();
    for _ in 0..2 {
        let ToDesk::Ask(one) = desk.hear().await else {
            panic!("a question")
        };
        asked.insert(one.subject, one.id);
    }
    desk.say(&answer(asked["b"], b"for b")).await;
    desk.say(&answer(asked["a"], b"for a")).await;
    let reply =
        |joined: Result<Result<Reply, LinkError>, _>| joined.expect("runs").expect("answered").payload;
    assert_eq!(&reply(first.await)[..], b"for a");
    assert_eq!(&reply(second.await)[..], b"for b");
}

#[tokio::test]
async fn a_batch_that_was_not_taken_is_not_taken_for_stored() {
    let (transport, _incoming, mut desk) = connected().await;
    let storing = tokio::spawn(async move {
        transport
            .publish_acked("e".into(), "id".into(), Bytes::from_static(b"batch"), WAIT)
            .await
    });
    let ToDesk::Store(asked) = desk.hear().await else {
        panic!("a batch")
    };
    desk.say(&ToAgent::Answer {
        id: asked.id,
        payload: Vec::new(),
        status: None,
        refusal: Some("W0002".into()),
    })
    .await;
    assert!(matches!(storing.await.expect("runs"), Err(LinkError::Refused(code)) if code == "W0002"));
}

#[tokio::test]
async fn a_desk_that_goes_leaves_nobody_waiting_and_what_is_no_word_ends_the_talk() {
    for last in [None, Some([0xff; LENGTH_BYTES])] {
        let (transport, mut incoming, mut desk) = connected().await;
        let again = Arc::clone(&transport);
        let asking = tokio::spawn(async move { transport.request("a".into(), Bytes::new(), WAIT).await });
        desk.hear().await;
        // Held to the end: a pipe of which one half is open still is no pipe.
        let mut desk = Some(desk);
        if let (Some(bytes), Some(desk)) = (last, &mut desk) {
            desk.output.write_all(&bytes).await.expect("writes");
        } else {
            desk = None;
        }
        assert_eq!(incoming.recv().await, Some(Incoming::Disconnected));
        assert!(matches!(
            asking.await.expect("runs"),
            Err(LinkError::Unavailable(_))
        ));
        // Nor does anybody wait who asks only now: the answer is there at the first look.
        let mut late = again.request("b".into(), Bytes::new(), WAIT);
        let look = std::future::poll_fn(|context| std::task::Poll::Ready(late.as_mut().poll(context)));
        assert!(matches!(
            look.await,
            std::task::Poll::Ready(Err(LinkError::Unavailable(_)))
        ));
        drop(desk);
    }
}

#[tokio::test]
async fn what_comes_unasked_is_handed_on() {
    let (_transport, mut incoming, mut desk) = connected().await;
    desk.say(&ToAgent::Wake).await;
    desk.say(&ToAgent::Mark { envelope: vec![1] }).await;
    desk.say(&ToAgent::Control { envelope: vec![2] }).await;
    desk.say(&welcome()).await;
    desk.say(&answer(99, b"nobody asked")).await;
    desk.say(&ToAgent::Wake).await;
    let expected = [
        Incoming::Wake(Bytes::new(), None),
        Incoming::Mark(Bytes::from_static(&[1])),
        Incoming::Control {
            bytes: Bytes::from_static(&[2]),
            addressed: true,
        },
        Incoming::Wake(Bytes::new(), None),
    ];
    for one in expected {
        assert_eq!(incoming.recv().await, Some(one));
    }
}

#[tokio::test]
async fn the_first_word_must_be_a_welcome() {
    let (mut desk, input) = duplex(1 << 10);
    desk.write_all(&frame(&ToAgent::Wake).expect("frames"))
        .await
        .expect("writes");
    let (output, _far) = duplex(1 << 10);
    assert!(matches!(open(input, output).await, Err(PipeError::NoWelcome)));
    let (desk, input) = duplex(1 << 10);
    drop(desk);
    let (output, _far) = duplex(1 << 10);
    assert!(matches!(open(input, output).await, Err(PipeError::Closed)));
}
