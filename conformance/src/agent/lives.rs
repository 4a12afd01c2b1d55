//! What outlives the process: identity, generation, orders, and that a `once` step is never started twice.

use writ_protocol::exec::StepMode;
use writ_protocol::record::{Record, StepOutcome};

use super::Case;
use super::ordered::{COMMAND, Wish};
use super::stage::{Finding, Stage};
use crate::provider::Program;

/// Longer than any wait of the suite, so that what is killed did not end by itself.
const LONG_SECONDS: u32 = 120;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "killed-in-a-once-step",
        rests_on: "docs/protocol.md#records",
        run: killed,
    },
    Case {
        name: "started-again",
        rests_on: "docs/protocol.md#records",
        run: again,
    },
    Case {
        name: "older-after-a-restart",
        rests_on: "docs/protocol.md#manifest",
        run: older,
    },
];

/// Killed with everything that it started, in the middle of a step that may run once: the next life tells that nobody knows, and starts nothing.
fn killed(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    let ordered = stage.order(Wish {
        mode: StepMode::Once,
        seconds: LONG_SECONDS,
    })?;
    stage.give(&ordered)?;
    stage.until("the step's effect", |_| (ordered.runs() > 0).then_some(()))?;
    stage.kill()?;
    stage.start()?;
    stage.greet()?;
    let ended = stage.ended(ordered.id())?;
    if ordered.runs() != 1 {
        return Err(format!(
            "a once step is not started twice; it ran {} times",
            ordered.runs()
        ));
    }
    if ended.has_succeeded() {
        return Err(format!("nobody knows how the step ended; {}", ended.told()));
    }
    let results = stage.results(ordered.id());
    let result = results.iter().find(|result| result.step == COMMAND);
    match result.map(|result| result.outcome) {
        Some(StepOutcome::Indeterminate) => {}
        other => {
            return Err(format!(
                "the step was to be told as indeterminate; it is {other:?}"
            ));
        }
    }
    stage.lives_on()
}

/// A new life goes on in the same journal, and what was done stays done.
fn again(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    let ordered = stage.order(Wish::default())?;
    stage.give(&ordered)?;
    stage.ended(ordered.id())?;
    stage.again()?;
    stage.give(&ordered)?;
    stage.lives_on()?;
    if ordered.runs() != 1 {
        return Err(format!(
            "what was done stays done; its command ran {} times",
            ordered.runs()
        ));
    }
    let lives = |record: &Record| match record {
        Record::SessionStart(start) => Some(start.incarnation),
        _ => None,
    };
    let all: Vec<u64> = stage
        .desk
        .records
        .iter()
        .filter_map(|(_, record)| lives(record))
        .collect();
    match all.as_slice() {
        [first, second] if second > first => Ok(()),
        _ => Err(format!(
            "two lives were to tell growing incarnations; they told {all:?}"
        )),
    }
}

/// The highest place is on its disk.
fn older(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    stage.lives_on()?;
    stage.lives_on()?;
    let before = stage.desk.at;
    stage.again()?;
    let have = stage.desk.hellos.last().map(|hello| hello.have);
    if have != Some(before) {
        return Err(format!("a new life was to know {before:?}; it says {have:?}"));
    }
    Ok(())
}
