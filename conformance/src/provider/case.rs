//! A case: its name, what it does, and how what came of it is told.

use super::ground::Ground;
use super::report::{CaseReport, Outcome};

/// What a provider did wrong, in words.
pub(super) type Finding = String;

/// What came of a case that found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of it was seen.
    Passed,
    /// It cannot be seen here, or of this kind.
    NotRun(String),
}

/// One case of a kind.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) run: fn(&Ground<'_>) -> Result<Verdict, Finding>,
}

impl Case {
    pub(super) fn reported(&self, came: Result<Verdict, Finding>) -> CaseReport {
        reported(self.name, came)
    }
}

pub(crate) fn reported(name: &str, came: Result<Verdict, Finding>) -> CaseReport {
    let (outcome, detail) = match came {
        Ok(Verdict::Passed) => (Outcome::Passed, None),
        Ok(Verdict::NotRun(why)) => (Outcome::NotRun, Some(why)),
        Err(finding) => (Outcome::Failed, Some(finding)),
    };
    CaseReport {
        name: name.to_owned(),
        rests_on: None,
        outcome,
        detail,
    }
}
