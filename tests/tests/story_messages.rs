//! Story: between agents and ledger, messages are lost, sent twice, out of order and late. The ledger has each record once all the same.

use std::collections::BTreeSet;

use anyhow::ensure;
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::key::PublicKey;
use writ_protocol::record::Kind;
use writ_protocol::subject::EVENTS_STREAM;
use writ_tests::world::{LONG, Options, Wire, World, eventually, story};

const STEPS: &str = r#"
  - command: first
    argv: [sh, -c, "echo x >> @/began; until [ -e @/go ]; do sleep 0.05; done; echo x >> @/first"]
  - command: second
    argv: [sh, -c, "echo x >> @/second"]
    depends_on: ["command:first"]
  - command: third
    argv: [sh, -c, "echo x >> @/third"]
    depends_on: ["command:second"]
"#;

type Message = (String, Vec<u8>);

#[test]
fn lost_repeated_reordered_and_late_messages_leave_each_record_once() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        let run = world.apply_no_wait(STEPS)?;
        world.wait_lines("began", 2)?;
        world.kill("controller-1")?;
        let before = committed(world)?;
        world.write("go", "")?;
        world.wait_lines("third", 2)?;

        // Everything that the agents have said stands on the bus, and nobody has read it.
        let wire = world.wire()?;
        let keys = [
            world.impostor("lab-1")?.key.public(),
            world.impostor("lab-2")?.key.public(),
        ];
        let mut caught = eventually("both agents have told the end", LONG, || {
            wire.stored(EVENTS_STREAM)
                .ok()
                .filter(|all| ends(all, &keys) == 4)
        })?;
        wire.purge(EVENTS_STREAM)?;
        let lost = caught.iter().position(|(_, bytes)| {
            let continues =
                |header: BatchHeader| format!("{}|{}", header.journal_id.as_uuid(), header.first_seq - 1);
            batch::peek(bytes).is_ok_and(|header| before.contains(&continues(header)))
        });
        let (subject, _) = caught.remove(lost.expect("a batch that continues what is committed"));
        ensure!(
            caught.iter().any(|(other, _)| *other == subject),
            "others come after what is lost"
        );
        shuffle(&mut caught, 0x5EED);
        let (early, late) = caught.split_at(caught.len() / 2);
        send(&wire, early, 2)?;
        world.start_part("controller-1")?;
        send(&wire, late, 2)?;

        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        shuffle(&mut caught, 0xFACE);
        send(&wire, &caught, 1)?;
        let again = world.run(STEPS)?;
        assert_eq!(again.state, "succeeded", "{again:?}");
        for file in ["began", "first", "second", "third"] {
            assert_eq!(world.lines(file), 4, "{file}: each host, each run, once");
        }
        let states = world.db("SELECT DISTINCT state FROM agent")?;
        assert_eq!(states, ["active"], "nobody is suspected");
        world.prove(&[&run.id, &again.id])?;
        world.audit()
    })
}

/// Where each journal is committed up to, `journal|seq`.
fn committed(world: &World) -> anyhow::Result<Vec<String>> {
    world.db("SELECT journal_id, next_seq - 1 FROM agent_ingest")
}

/// How many orders the messages say are over, each counted once.
fn ends(messages: &[Message], keys: &[PublicKey]) -> usize {
    let mut seen = BTreeSet::new();
    for (_, bytes) in messages {
        for batch in keys.iter().filter_map(|key| batch::open(bytes, key).ok()) {
            let journal = batch.header().journal_id;
            let frames = batch.frames().into_iter().map(|(frame, ..)| frame);
            let done = frames.filter(|frame| frame.kind == Kind::OrderDone.number());
            seen.extend(done.map(|frame| (journal, frame.seq)));
        }
    }
    seen.len()
}

fn send(wire: &Wire, messages: &[Message], times: usize) -> anyhow::Result<()> {
    for (subject, bytes) in messages {
        for _ in 0..times {
            wire.publish(subject, bytes)?;
        }
    }
    Ok(())
}

/// Fisher and Yates, with a generator small enough to stand here: a seed gives one order on every machine.
fn shuffle(messages: &mut [Message], seed: u64) {
    let mut state = seed;
    for last in (1..messages.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        messages.swap(last, (state >> 33) as usize % (last + 1));
    }
}
