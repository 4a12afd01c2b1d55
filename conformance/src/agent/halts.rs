//! Halts and lifts, good and bad, from the golden vectors: who may stop and who may not, and that only a lift ends what stops. One after the other, with one agent.

use writ_protocol::pipe::ToAgent;
use writ_protocol::reason::Code;
use writ_protocol::record::Record;

use super::ordered::Wish;
use super::stage::{Finding, Stage, ours};
use super::{Asked, Shared};
use crate::case::{Check, Expect, Vector};
use crate::make::halt;
use crate::provider::report::CaseReport;

const RESTS_ON: &str = "docs/protocol.md#halt-and-lift";

pub(super) fn run(asked: Asked<'_>) -> Vec<CaseReport> {
    let mut shared = Shared::new(asked);
    let all = match halt::make() {
        Ok(all) => all,
        Err(error) => {
            shared.case("vectors", RESTS_ON, |_| Err(ours(error)));
            return shared.cases;
        }
    };
    let is_bad = |vector: &&Vector| matches!(vector.case.expect, Expect::Reject { .. });
    let of = |check: Check| all.iter().filter(move |vector| vector.case.check == check);
    for vector in of(Check::HaltOpen).filter(is_bad) {
        shared.case(&vector.case.name, RESTS_ON, |stage| {
            told(stage, vector)?;
            stage.lives_on()
        });
    }
    let named = |name: &str| all.iter().find(|vector| vector.case.name == name);
    let (Some(halt), Some(lift)) = (named("all-hard"), named("lift-by-two")) else {
        shared.case("vectors", RESTS_ON, |_| {
            Err("the vectors lack all-hard or lift-by-two".to_owned())
        });
        return shared.cases;
    };
    shared.case("all-hard", RESTS_ON, |stage| holds(stage, halt, None));
    // Whoever takes no halt has nothing to end, and would be waited for each time.
    shared.leave_out_after_failure();
    shared.case("not-listed", RESTS_ON, |stage| {
        // The stage's manifests and answers list no halt.
        stage.settle()?;
        holds(stage, halt, None)
    });
    for vector in of(Check::LiftOpen).filter(is_bad) {
        shared.case(&vector.case.name, RESTS_ON, |stage| {
            holds(stage, halt, Some(vector))
        });
    }
    shared.case("after-a-restart", RESTS_ON, |stage| {
        holds(stage, halt, None)?;
        stage.again()?;
        stopped(stage)
    });
    shared.case("lift-by-two", RESTS_ON, |stage| {
        holds(stage, halt, None)?;
        told(stage, lift)?;
        stage.until("halt_observed, lifted", |stage| observed(stage, true))?;
        stage.lives_on()
    });
    shared.cases
}

/// Says it, and waits until it has been dealt with.
fn told(stage: &mut Stage, vector: &Vector) -> Result<(), Finding> {
    let envelope = vector.files.get(&vector.case.input).cloned().unwrap_or_default();
    stage.say(&ToAgent::Control { envelope })?;
    stage.settle()
}

fn observed(stage: &Stage, is_lifted: bool) -> Option<()> {
    let seen = |record: &Record| matches!(record, Record::HaltObserved(halt) if halt.lifted == is_lifted);
    let mut records = stage.desk.records.iter();
    records.any(|(_, record)| seen(record)).then_some(())
}

/// Sets the halt where it is not set, says something that must not lift it, and orders: nothing is started.
fn holds(stage: &mut Stage, halt: &Vector, after: Option<&Vector>) -> Result<(), Finding> {
    if observed(stage, false).is_none() {
        told(stage, halt)?;
        stage.until("halt_observed", |stage| observed(stage, false))?;
    }
    if let Some(vector) = after {
        told(stage, vector)?;
    }
    stopped(stage)
}

fn stopped(stage: &mut Stage) -> Result<(), Finding> {
    let ordered = stage.order(Wish::default())?;
    stage.give(&ordered)?;
    let ended = stage.ended(ordered.id())?;
    stage.nothing_of(&ordered, &ended, &[Code::Halted])
}
