//! The suite of providers: any program that speaks the protocol, external or ours, is asked the same questions, and what it did is looked at from
//! outside.
//!
//! * [`examples`] say what a provider of some kind can be asked for: the suite knows no kinds.
//! * [`place`] is where it works: a folder of its own, or a lab host.
//! * `talk` is one life of the program, `ground` what every case stands on, `tree` what the files were before and after.
//! * `words` has the cases of the protocol, `promises` and `hostile` those of a kind.
//! * [`matrix`] counts the kinds that come with an agent over platforms.
//! * [`report`] is what came of it, for people and programs; [`builtin`] has the examples of the kinds that come with an agent.
//!
//! A case that cannot run is told as such, with the reason, and never as passed. To add one: a function in the file of its sort, and a row there.

pub mod builtin;
pub(crate) mod case;
pub mod examples;

mod ground;
mod hostile;
pub mod matrix;
pub mod place;
mod promises;
pub mod report;
mod talk;
mod tree;
mod words;

use std::path::{Path, PathBuf};

use writ_protocol::digest::Digest;
use writ_protocol::provider::PROVIDER_PROTOCOL;

use case::{Case, Verdict};
use examples::{Examples, Kind};
use ground::Ground;
use place::{Place, PlaceError};
use report::{CaseReport, KindReport, Outcome, Report};
use talk::Talk;

/// Largest program that is digested, bytes.
const PROGRAM_BYTES_MAX: u64 = 1 << 30;
/// What the cases of the protocol itself stand under in a report.
const PROTOCOL: &str = "protocol";

/// A provider to be examined.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Why nothing was examined.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The program cannot be read.
    #[error("cannot read the program {path}: {why}")]
    Program {
        /// Its path.
        path: String,
        /// Why.
        why: String,
    },
    /// There is no place to work in.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The table of the matrix is not readable.
    #[error(transparent)]
    Table(#[from] examples::ExamplesError),
}

/// Runs every case on a program: those of the protocol once, those of a kind for each kind of the examples.
///
/// # Errors
/// [`ExamineError`] when nothing could be begun. What a provider does wrong stands in the report.
pub fn examine(program: &Program, examples: &Examples) -> Result<Report, ExamineError> {
    let unreadable = |why: String| ExamineError::Program {
        path: program.path.display().to_string(),
        why,
    };
    let path = program
        .path
        .canonicalize()
        .map_err(|error| unreadable(error.to_string()))?;
    let digest = digest(&path).map_err(|error| unreadable(error.to_string()))?;
    let program = Program {
        path,
        arguments: program.arguments.clone(),
    };
    let mut report = Report {
        version: report::REPORT_VERSION,
        program: program.path.display().to_string(),
        digest: digest.to_hex(),
        provider: None,
        release: None,
        offered: vec![PROVIDER_PROTOCOL],
        agreed: None,
        kinds: Vec::new(),
    };
    let place = Place::folder(&program)?;
    match Talk::greeted(&place) {
        Ok((_talk, welcome)) => {
            report.provider = Some(welcome.name);
            report.release = Some(welcome.release);
            report.agreed = Some(welcome.version);
        }
        Err(finding) => {
            let case = CaseReport {
                name: "handshake".to_owned(),
                rests_on: None,
                outcome: Outcome::Failed,
                detail: Some(finding),
            };
            report.kinds.push(KindReport {
                kind: PROTOCOL.to_owned(),
                cases: vec![case],
            });
            return Ok(report);
        }
    }
    report.kinds.push(KindReport {
        kind: PROTOCOL.to_owned(),
        cases: words::run(&place),
    });
    for (name, kind) in &examples.kinds {
        let cases = of_kind(&program, (name, kind), examples)?;
        report.kinds.push(KindReport {
            kind: name.clone(),
            cases,
        });
    }
    Ok(report)
}

fn of_kind(
    program: &Program,
    (name, kind): (&str, &Kind),
    examples: &Examples,
) -> Result<Vec<CaseReport>, ExamineError> {
    let all: Vec<Case> = promises::CASES.iter().chain(hostile::CASES).copied().collect();
    let place = if kind.lab {
        match Place::lab(program) {
            Err(PlaceError::NoLab { why }) => {
                let none =
                    |case: &Case| case.reported(Ok(Verdict::NotRun(format!("no lab host here: {why}"))));
                return Ok(all.iter().map(none).collect());
            }
            other => other?,
        }
    } else {
        Place::folder(program)?
    };
    let ground = Ground::new(&place, name, kind, examples);
    if let Err(finding) = ground.prepare() {
        let failed = |case: &Case| case.reported(Err(format!("the examples' setup failed: {finding}")));
        return Ok(all.iter().map(failed).collect());
    }
    Ok(all.iter().map(|case| case.reported(ground.run(case))).collect())
}

/// SHA-256 of a program.
pub(crate) fn digest(path: &Path) -> std::io::Result<Digest> {
    let size = std::fs::metadata(path)?.len();
    if size > PROGRAM_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it has {size} bytes; at most {PROGRAM_BYTES_MAX} are possible"
        )));
    }
    Ok(Digest::of(&std::fs::read(path)?))
}
