//! The suite of controllers: an agent that the suite plays joins over the bus with a join token, as any foreign agent would, and asks and says good and
//! bad things. Good ones must be answered, taken and acknowledged as the protocol says, bad ones refused with their code and without an effect.
//!
//! * `door` is the way of one who has a token, `guest` the agent once it is enrolled, `journal` what it says; they check whatever is signed.
//! * `enrolment`, `hellos`, `requests`, `batches`, `manifests` and `reach` have the cases.
//!
//! Watermarks, manifests and answers are judged in every case, whatever it is about: they must verify, be for this agent, and never go back. A case
//! names the place of docs/protocol.md that it rests on. To add one: a function in the file of its sort, and a row there.

mod batches;
mod door;
mod enrolment;
mod guest;
mod hellos;
mod journal;
mod manifests;
mod reach;
mod requests;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use writ_protocol::enrol::JoinToken;

use crate::provider::case::{Verdict, reported};
use crate::provider::report::{CaseReport, KindReport, Outcome, count, told};
use crate::world::MakeError;
use door::Door;
use guest::Guest;

/// Version of the report's form.
pub const REPORT_VERSION: u16 = 1;
/// Version of the protocol that the suite speaks.
pub const PROTOCOL: u16 = 1;
/// Most join tokens that are taken.
pub const TOKENS_MAX: usize = 64;
/// How long anything may take that a controller does at once.
const WAIT: Duration = Duration::from_secs(30);
/// Between two looks at what comes a moment later, and how many there are.
const PAUSE: Duration = Duration::from_millis(200);
const LOOKS_MAX: u32 = 100;

/// Why a case did not pass.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// What the controller did wrong.
    Failed(String),
    /// Why the case could not be run.
    NotRun(String),
}

impl Stop {
    const fn failed(what: String) -> Self {
        Self::Failed(what)
    }
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

type Came = Result<(), Stop>;

/// A mistake of the suite, not of the controller.
#[expect(clippy::needless_pass_by_value, reason = "errors are handed to it")]
fn ours(error: MakeError) -> Stop {
    Stop::NotRun(format!("the suite cannot go on: {}", chain(&*error)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// All that came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u16,
    /// The servers of the bus, as the first token names them.
    pub servers: Vec<String>,
    /// The tenant.
    pub tenant: String,
    /// The fingerprint of the root that the tokens pin.
    pub root: String,
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
        let (tenant, root) = (&self.tenant, &self.root);
        format!(
            "controllers of {tenant}, protocol {}, root {root}\n{}",
            self.protocol,
            told(&self.kinds)
        )
    }
}

/// Why nothing could be examined.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// No join token was given, or too many.
    #[error("{0} join tokens were given; 1 to {TOKENS_MAX} are wanted")]
    Tokens(usize),
    /// What was given is no join token.
    #[error("the join token number {number} cannot be read")]
    Token {
        /// Which, from 1.
        number: usize,
        /// Why.
        source: writ_protocol::codec::CodecError,
    },
}

/// A case.
struct Case {
    name: &'static str,
    rests_on: &'static str,
    run: fn(&mut Ground) -> Came,
}

/// The parts, in the order in which they are run: those that leave the agent worse come last.
const PARTS: [(&str, &[Case]); 6] = [
    ("enrolment", enrolment::CASES),
    ("bus", reach::CASES),
    ("hello", hellos::CASES),
    ("request", requests::CASES),
    ("manifest", manifests::CASES),
    ("batch", batches::CASES),
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

/// Runs the cases of `only` these parts (`part`, or `part/case`), or all where there is none, on the controllers that the tokens lead to.
///
/// # Errors
/// [`ExamineError`] when nothing could be begun. What a controller does wrong stands in the report.
pub fn examine(tokens: &[String], only: &[String]) -> Result<Report, ExamineError> {
    if tokens.is_empty() || tokens.len() > TOKENS_MAX {
        return Err(ExamineError::Tokens(tokens.len()));
    }
    let read = |(place, text): (usize, &String)| {
        JoinToken::parse(text.trim()).map_err(|source| ExamineError::Token {
            number: place + 1,
            source,
        })
    };
    let tokens: VecDeque<JoinToken> = tokens.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let first = tokens.front().ok_or(ExamineError::Tokens(0))?;
    let mut report = Report {
        version: REPORT_VERSION,
        servers: first.servers.clone(),
        tenant: first.tenant.clone(),
        root: first.root.to_hex(),
        protocol: PROTOCOL,
        kinds: Vec::new(),
    };
    let mut ground = Ground {
        tokens,
        door: None,
        guest: None,
        other: None,
    };
    for (part, cases) in PARTS {
        let is_wanted = |case: &&Case| {
            let whole = format!("{part}/{}", case.name);
            only.is_empty() || only.iter().any(|one| one == part || *one == whole)
        };
        let cases: Vec<CaseReport> = cases
            .iter()
            .filter(is_wanted)
            .map(|case| ground.run(case))
            .collect();
        if !cases.is_empty() {
            let kind = part.to_owned();
            report.kinds.push(KindReport { kind, cases });
        }
    }
    Ok(report)
}

/// What the cases stand on: tokens that are not used yet, and agents that are enrolled.
struct Ground {
    tokens: VecDeque<JoinToken>,
    /// The way of the first token, before it is used.
    door: Option<Door>,
    guest: Option<Guest>,
    other: Option<Guest>,
}

impl Ground {
    fn run(&mut self, case: &Case) -> CaseReport {
        let came = (case.run)(self);
        if matches!(came, Err(Stop::Failed(_))) && self.tokens.len() > 1 {
            // The next case has an agent that nothing was done to, as long as there are tokens; the last one is for the other agent.
            self.guest = None;
        }
        let came = match came {
            Ok(()) => Ok(Verdict::Passed),
            Err(Stop::NotRun(why)) => Ok(Verdict::NotRun(why)),
            Err(Stop::Failed(what)) => Err(what),
        };
        CaseReport {
            rests_on: Some(case.rests_on),
            ..reported(case.name, came)
        }
    }

    /// The way of a token, used or not.
    fn door(&mut self) -> Result<&mut Door, Stop> {
        if let Some(guest) = &mut self.guest {
            return Ok(&mut guest.door);
        }
        let door = match self.door.take() {
            Some(door) => door,
            None => Door::new(self.tokens.pop_front().ok_or_else(no_token)?)?,
        };
        Ok(self.door.insert(door))
    }

    /// An agent that is enrolled.
    fn guest(&mut self) -> Result<&mut Guest, Stop> {
        let guest = if let Some(guest) = self.guest.take() {
            guest
        } else {
            self.door()?;
            Guest::new(self.door.take().ok_or_else(no_token)?.join()?)?
        };
        Ok(self.guest.insert(guest))
    }

    /// Two agents.
    fn two(&mut self) -> Result<(&mut Guest, &mut Guest), Stop> {
        self.guest()?;
        if self.other.is_none() {
            let token = self.tokens.pop_back().ok_or_else(no_token)?;
            self.other = Some(Guest::new(Door::new(token)?.join()?)?);
        }
        match (&mut self.guest, &mut self.other) {
            (Some(guest), Some(other)) => Ok((guest, other)),
            _ => Err(no_token()),
        }
    }
}

fn no_token() -> Stop {
    Stop::NotRun("it wants another agent, and no join token is left".to_owned())
}
