//! What a ledger answers, and what somebody else would like it to have answered: hellos, watermarks, enrolment.

use writ_protocol::hello::Committed;
use writ_protocol::pipe::ToAgent;

use super::Case;
use super::desk::{BadEnrolment, BadReply};
use super::stage::{Finding, Stage, ours};
use crate::provider::Program;
use crate::world::{key, seed};

pub(super) const HELLO: &[Case] = &[
    Case {
        name: "answer-to-another-question",
        rests_on: "docs/protocol.md#hello",
        run: |program| unbelieved(program, BadReply::OtherQuestion),
    },
    Case {
        name: "answer-for-another-agent",
        rests_on: "docs/protocol.md#hello",
        run: |program| unbelieved(program, BadReply::OtherAgent),
    },
    Case {
        name: "answer-forged",
        rests_on: "docs/protocol.md#hello",
        run: |program| unbelieved(program, BadReply::Forged),
    },
    Case {
        name: "answer-by-the-plan-key",
        rests_on: "docs/protocol.md#hello",
        run: |program| unbelieved(program, BadReply::WrongRole),
    },
];

pub(super) const WATERMARK: &[Case] = &[
    Case {
        name: "committed",
        rests_on: "docs/protocol.md#watermark",
        run: committed,
    },
    Case {
        name: "forged",
        rests_on: "docs/protocol.md#watermark",
        run: |program| forged(program, seed::STRANGER),
    },
    Case {
        name: "wrong-role",
        rests_on: "docs/protocol.md#watermark",
        run: |program| forged(program, seed::REGISTRY),
    },
    Case {
        name: "send-again",
        rests_on: "docs/protocol.md#watermark",
        run: send_again,
    },
];

pub(super) const ENROLMENT: &[Case] = &[
    Case {
        name: "other-root",
        rests_on: "docs/protocol.md#enrolment",
        run: |program| not_joined(program, BadEnrolment::OtherRoot),
    },
    Case {
        name: "forged-policy",
        rests_on: "docs/protocol.md#enrolment",
        run: |program| not_joined(program, BadEnrolment::ForgedPolicy),
    },
    Case {
        name: "forged-keys",
        rests_on: "docs/protocol.md#enrolment",
        run: |program| not_joined(program, BadEnrolment::ForgedKeys),
    },
    Case {
        name: "other-keys",
        rests_on: "docs/protocol.md#enrolment",
        run: |program| not_joined(program, BadEnrolment::OtherKeys),
    },
];

/// Answers that say quarantine and are not to be believed: orders are carried out all the same.
fn unbelieved(program: &Program, bad: BadReply) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.desk.bad_reply = Some(bad);
    stage.settle()?;
    stage.lives_on()
}

/// How much the agent said is acknowledged, at most, in its hellos from a number on: the answers to them set it right again.
fn acknowledged(stage: &Stage, from: usize) -> u64 {
    let hellos = stage.desk.hellos.iter().skip(from);
    hellos.map(|hello| hello.acknowledged).max().unwrap_or_default()
}

fn committed(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.lives_on()?;
    let upto = stage.desk.journal.map_or(0, |journal| journal.upto);
    stage.until("a hello that knows what is committed", |stage| {
        (acknowledged(stage, 0) >= upto).then_some(())
    })
}

/// A watermark by somebody who may not say it lets nothing go.
fn forged(program: &Program, signer: u8) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.lives_on()?;
    stage.settle()?;
    stage.desk.acknowledges = false;
    let before = stage.desk.journal.map_or(0, |journal| journal.upto);
    stage.lives_on()?;
    let journal: Committed = stage.desk.journal.ok_or("no record came")?;
    let mark = stage.desk.mark_of(journal, None, &key(signer)).map_err(ours)?;
    let from = stage.desk.hellos.len();
    stage.say(&mark)?;
    stage.settle()?;
    let said = acknowledged(&stage, from);
    if said > before {
        return Err(format!(
            "records up to {before} are committed; it believes {said}"
        ));
    }
    stage.desk.acknowledges = true;
    let mark = stage
        .desk
        .mark_of(journal, None, &key(seed::DIRECTOR))
        .map_err(ours)?;
    stage.say(&mark)?;
    stage.lives_on()
}

/// A ledger that lost records asks for them.
fn send_again(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.desk.acknowledges = false;
    stage.lives_on()?;
    let Some((first, ..)) = stage.desk.batches.first() else {
        return Err("no record came".to_owned());
    };
    let first = *first;
    // What came is forgotten, and comes again with the same numbers and the same chain.
    let before = stage.desk.forget().ok_or("no record came")?;
    let mark = stage.desk.mark(Some(first), &key(seed::DIRECTOR)).map_err(ours)?;
    stage.say(&mark)?;
    stage.until("the same records again", |stage| {
        stage
            .desk
            .journal
            .is_some_and(|now| now.upto >= before.upto)
            .then_some(())
    })?;
    stage.desk.acknowledges = true;
    stage.lives_on()
}

/// An answer to its request that does not follow from the pinned root: it does not begin.
fn not_joined(program: &Program, bad: BadEnrolment) -> Result<(), Finding> {
    let mut stage = Stage::new(program).map_err(ours)?;
    stage.desk.bad_enrolment = Some(bad);
    stage.start()?;
    let welcome: ToAgent = stage.desk.welcome().map_err(ours)?;
    stage.say(&welcome)?;
    let code = stage.end()?;
    if !stage.desk.hellos.is_empty() {
        return Err("it was not to join; it said hello".to_owned());
    }
    if code == Some(0) {
        return Err("it was not to join, and to say so by its exit code; that is 0".to_owned());
    }
    Ok(())
}
