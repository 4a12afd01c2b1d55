//! The suite of agents: any agent that speaks over a pipe, ours or somebody's, is started with keys of the suite and played the desk. Good words must
//! be carried out and told as the protocol says, bad ones refused with their code and without an effect.
//!
//! * `desk` is what the agent talks with: it serves what a case wants and checks whatever is signed.
//! * `stage` is an agent in a folder of its own, `ordered` what it is ordered, whose effects are seen from outside.
//! * `orders`, `manifests`, `bundles`, `halts`, `answers`, `words` and `lives` have the cases.
//!
//! Bad manifests, bundles and halts are those of the golden vectors ([`crate::make`]), made around the agent that is examined. A case names the place
//! of docs/protocol.md that it rests on. To add one: a function in the file of its sort, and a row there.

mod answers;
mod bundles;
mod desk;
mod halts;
mod lives;
mod manifests;
mod ordered;
mod orders;
mod stage;
mod words;

use serde::Serialize;

use crate::provider::case::{Verdict, reported};
use crate::provider::report::{CaseReport, KindReport, Outcome, count, told};
use crate::provider::{ExamineError, Program, digest};
use stage::{Finding, Stage};

/// Version of the report's form.
pub const REPORT_VERSION: u16 = 1;
/// Version of the protocol that the suite speaks.
pub const PROTOCOL: u16 = 1;

/// All that came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u16,
    /// The program.
    pub program: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// The version that it says it has; absent where it said no hello.
    pub agent_version: Option<String>,
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// What was examined, by part of the protocol.
    pub kinds: Vec<KindReport>,
}

impl Report {
    /// How many cases ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        count(&self.kinds, outcome)
    }

    /// Whether nothing failed and something was seen.
    pub fn is_good(&self) -> bool {
        self.count(Outcome::Failed) == 0 && self.count(Outcome::Passed) > 0
    }

    /// For people: a line for each case, and a last one that counts.
    pub fn told(&self) -> String {
        format!(
            "agent {}, protocol {}, sha256 {}\n{}",
            self.agent_version.as_deref().unwrap_or("-"),
            self.protocol,
            self.digest,
            told(&self.kinds)
        )
    }
}

/// A case that has an agent of its own.
struct Case {
    name: &'static str,
    rests_on: &'static str,
    run: fn(&Program) -> Result<(), Finding>,
}

/// Whom to examine, and in what.
#[derive(Clone, Copy)]
struct Asked<'a> {
    program: &'a Program,
    /// Parts, or `part/case`; everything where there is none.
    only: &'a [String],
    part: &'static str,
}

impl Asked<'_> {
    fn wants(&self, name: &str) -> bool {
        let is_it = |one: &String| match one.split_once('/') {
            Some((part, case)) => part == self.part && case == name,
            None => one == self.part,
        };
        self.only.is_empty() || self.only.iter().any(is_it)
    }
}

/// Cases of one part of the protocol.
type Part = fn(Asked<'_>) -> Vec<CaseReport>;

/// The parts, in the order in which they are told.
const PARTS: [(&str, Part); 9] = [
    ("order", |asked| each(asked, orders::CASES)),
    ("manifest", manifests::run),
    ("bundle", bundles::run),
    ("hello", |asked| each(asked, answers::HELLO)),
    ("watermark", |asked| each(asked, answers::WATERMARK)),
    ("halt", halts::run),
    ("enrolment", |asked| each(asked, answers::ENROLMENT)),
    ("pipe", |asked| each(asked, words::CASES)),
    ("lives", |asked| each(asked, lives::CASES)),
];

/// The names of the parts.
pub fn parts() -> impl Iterator<Item = &'static str> {
    PARTS.into_iter().map(|(name, _)| name)
}

/// Whether a part of this name is known, or the part of a `part/case`.
pub fn is_part(name: &str) -> bool {
    let part = name.split_once('/').map_or(name, |(part, _)| part);
    parts().any(|known| known == part)
}

/// Runs the cases of `only` these parts (`part`, or `part/case`), or all where there is none, on a program, which is started as `PROGRAM ARGUMENTS once --state FOLDER`.
///
/// # Errors
/// [`ExamineError`] when nothing could be begun. What an agent does wrong stands in the report.
pub fn examine(program: &Program, only: &[String]) -> Result<Report, ExamineError> {
    let unreadable = |error: std::io::Error| ExamineError::Program {
        path: program.path.display().to_string(),
        why: error.to_string(),
    };
    let path = program.path.canonicalize().map_err(unreadable)?;
    let mut report = Report {
        version: REPORT_VERSION,
        program: path.display().to_string(),
        digest: digest(&path).map_err(unreadable)?.to_hex(),
        agent_version: None,
        protocol: PROTOCOL,
        kinds: Vec::new(),
    };
    let program = Program {
        path,
        arguments: program.arguments.clone(),
    };
    // Without an agent that enrols and says hello there is nothing to examine.
    match Stage::up(&program) {
        Ok(stage) => {
            report.agent_version = stage.desk.hellos.last().map(|hello| hello.agent_version.clone());
        }
        Err(finding) => {
            let case = case_of("hello", "docs/protocol.md#the-pipe", Err(finding));
            report.kinds.push(kind_of("pipe", vec![case]));
            return Ok(report);
        }
    }
    let program = &program;
    // At once: nearly all of the time is waited for hellos, and each part has agents and folders of its own.
    report.kinds = std::thread::scope(|scope| {
        let begun: Vec<_> = PARTS
            .into_iter()
            .map(|(part, run)| {
                let asked = Asked { program, only, part };
                (part, scope.spawn(move || run(asked)))
            })
            .collect();
        let ended = |(name, part): (&str, std::thread::ScopedJoinHandle<'_, Vec<CaseReport>>)| {
            let broken = |_| {
                let why = "the suite broke off".to_owned();
                vec![case_of("suite", "docs/conformance.md", Err(why))]
            };
            kind_of(name, part.join().unwrap_or_else(broken))
        };
        let all = begun.into_iter().map(ended);
        all.filter(|kind| !kind.cases.is_empty()).collect()
    });
    Ok(report)
}

fn kind_of(kind: &str, cases: Vec<CaseReport>) -> KindReport {
    KindReport {
        kind: kind.to_owned(),
        cases,
    }
}

fn each(asked: Asked<'_>, cases: &[Case]) -> Vec<CaseReport> {
    let run = |case: &Case| case_of(case.name, case.rests_on, (case.run)(asked.program));
    let wanted = cases.iter().filter(|case| asked.wants(case.name));
    wanted.map(run).collect()
}

fn case_of(name: &str, rests_on: &'static str, came: Result<(), Finding>) -> CaseReport {
    CaseReport {
        rests_on: Some(rests_on),
        ..reported(name, came.map(|()| Verdict::Passed))
    }
}

/// Cases that share an agent as long as it does well: after a failure the next one has another.
struct Shared<'a> {
    asked: Asked<'a>,
    stage: Option<Stage>,
    cases: Vec<CaseReport>,
    /// Why nothing more is run.
    left_out: Option<String>,
}

impl<'a> Shared<'a> {
    const fn new(asked: Asked<'a>) -> Self {
        Self {
            asked,
            stage: None,
            cases: Vec::new(),
            left_out: None,
        }
    }

    /// Where the newest case failed, those that rest on it are not run.
    fn leave_out_after_failure(&mut self) {
        let newest = self.cases.last().filter(|case| case.outcome == Outcome::Failed);
        self.left_out = newest.map(|case| format!("{} failed", case.name));
    }

    fn case(
        &mut self,
        name: &str,
        rests_on: &'static str,
        run: impl FnOnce(&mut Stage) -> Result<(), Finding>,
    ) {
        if !self.asked.wants(name) {
            return;
        }
        if let Some(why) = &self.left_out {
            let case = reported(name, Ok(Verdict::NotRun(why.clone())));
            self.cases.push(CaseReport {
                rests_on: Some(rests_on),
                ..case
            });
            return;
        }
        let came = self.ready().and_then(run);
        if came.is_err() {
            self.stage = None;
        }
        self.cases.push(case_of(name, rests_on, came));
    }

    fn ready(&mut self) -> Result<&mut Stage, Finding> {
        let stage = match self.stage.take() {
            Some(stage) => stage,
            None => Stage::up(self.asked.program)?,
        };
        Ok(self.stage.insert(stage))
    }
}
