//! The pipe itself: frames that are cut, too long or no word, words out of turn, and the end of the input.

use writ_protocol::pipe::{self, LENGTH_BYTES, PIPE_FRAME_MAX, ToAgent};

use super::Case;
use super::ordered::Wish;
use super::stage::{Finding, Stage, ours};
use crate::provider::Program;

const RESTS_ON: &str = "docs/protocol.md#the-pipe";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "end-of-input",
        rests_on: RESTS_ON,
        run: end_of_input,
    },
    Case {
        name: "no-welcome",
        rests_on: RESTS_ON,
        run: |program| not_begun(program, word(&ToAgent::Wake)?),
    },
    Case {
        name: "welcome-of-noise",
        rests_on: RESTS_ON,
        run: |program| not_begun(program, framed(&[0xc1; 64])),
    },
    Case {
        name: "welcome-too-long",
        rests_on: RESTS_ON,
        run: |program| not_begun(program, too_long()),
    },
    Case {
        name: "noise",
        rests_on: RESTS_ON,
        run: |program| over(program, framed(&[0xc1; 64])),
    },
    Case {
        name: "unknown-word",
        rests_on: RESTS_ON,
        // A map of one entry with a name that nobody knows.
        run: |program| over(program, framed(&[0x81, 0xa4, b'f', b'o', b'o', b'd', 0xc0])),
    },
    Case {
        name: "frame-too-long",
        rests_on: RESTS_ON,
        run: |program| over(program, too_long()),
    },
    Case {
        name: "frame-cut-short",
        rests_on: RESTS_ON,
        run: cut_short,
    },
    Case {
        name: "answer-to-nothing",
        rests_on: RESTS_ON,
        run: answer_to_nothing,
    },
];

fn word(word: &ToAgent) -> Result<Vec<u8>, Finding> {
    pipe::frame(word).map_err(|error| ours(error.into()))
}

/// Any bytes as a frame.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

/// A length above the bound, and fewer bytes than it says.
fn too_long() -> Vec<u8> {
    let length = u32::try_from(PIPE_FRAME_MAX + 1).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &[0; 1_024]].concat()
}

fn end_of_input(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.lives_on()?;
    stage.close()?;
    match stage.end()? {
        Some(0) => Ok(()),
        code => Err(format!(
            "it was to go well; it ended with {code:?}{}",
            stage.said()
        )),
    }
}

/// A first word that is no welcome: the agent goes, and says by its exit code that it did nothing.
fn not_begun(program: &Program, bytes: Vec<u8>) -> Result<(), Finding> {
    let mut stage = Stage::new(program).map_err(ours)?;
    stage.start()?;
    stage.send(bytes)?;
    match stage.end()? {
        Some(0) => Err("it was not to begin, and to say so by its exit code; that is 0".to_owned()),
        _ if stage.desk.agent.is_some() => Err("it was not to begin; it asked to enrol".to_owned()),
        _ => Ok(()),
    }
}

/// What is no word ends the input: the agent goes, and nothing that comes behind is heard.
fn over(program: &Program, bytes: Vec<u8>) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.lives_on()?;
    let ordered = stage.order(Wish::default())?;
    stage.serve(&ordered.order.bundle, &ordered.bundle);
    stage.send(bytes)?;
    let manifest = stage.manifest(vec![ordered.order.clone()])?;
    stage.publish(manifest)?;
    stage.end()?;
    ordered.effect().map_or(Ok(()), |effect| {
        Err(format!("nothing was to be heard behind it; {effect}"))
    })
}

fn cut_short(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.lives_on()?;
    let mut bytes = word(&ToAgent::Mark {
        envelope: vec![b' '; 256],
    })?;
    bytes.truncate(LENGTH_BYTES + 100);
    stage.send(bytes)?;
    stage.close()?;
    stage.end().map(drop)
}

/// An answer to a question that nobody asked, and a second welcome, mean nothing.
fn answer_to_nothing(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.say(&ToAgent::Answer {
        id: u64::MAX,
        payload: b"nobody asked".to_vec(),
        status: None,
        refusal: None,
    })?;
    let welcome = stage.desk.welcome().map_err(ours)?;
    stage.say(&welcome)?;
    stage.lives_on()
}
