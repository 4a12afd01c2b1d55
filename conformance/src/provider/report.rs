//! What came of an examination, for people and programs.

use std::fmt::Write as _;

use serde::Serialize;

/// Version of the report's form.
pub const REPORT_VERSION: u16 = 1;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u16,
    /// The program.
    pub program: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// What it calls itself; absent where it gave no welcome.
    pub provider: Option<String>,
    /// Its release.
    pub release: Option<String>,
    /// Versions of the protocol that the suite speaks.
    pub offered: Vec<u16>,
    /// The version that was agreed on.
    pub agreed: Option<u16>,
    /// What was examined.
    pub kinds: Vec<KindReport>,
}

/// The cases of one kind, or of the protocol itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindReport {
    /// Its name; `protocol` for what belongs to no kind.
    pub kind: String,
    /// Its cases, in the order in which they ran.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// The place in the documents that it rests on, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<&'static str>,
    /// What came of it.
    pub outcome: Outcome,
    /// What the provider did wrong, or why the case could not run.
    pub detail: Option<String>,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The provider did as it owes.
    Passed,
    /// It did not.
    Failed,
    /// The case could not run; the detail says why.
    NotRun,
}

impl Outcome {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::NotRun => "NOT_RUN",
        }
    }
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

    /// For people: a line for each case, and a last one that counts. Control characters of a provider's words are shown as `?`.
    pub fn told(&self) -> String {
        let mut text = String::new();
        let dash = || "-".to_owned();
        let _infallible = writeln!(
            text,
            "{} {}, protocol {}, sha256 {}",
            self.provider.clone().unwrap_or_else(dash),
            self.release.clone().unwrap_or_else(dash),
            self.agreed.map_or_else(dash, |version| version.to_string()),
            self.digest,
        );
        text.push_str(&told(&self.kinds));
        text
    }
}

/// How many cases ended so.
pub(crate) fn count(kinds: &[KindReport], outcome: Outcome) -> usize {
    let cases = kinds.iter().flat_map(|kind| &kind.cases);
    cases.filter(|case| case.outcome == outcome).count()
}

/// A line for each case, and a last one that counts. Control characters of somebody's words are shown as `?`.
pub(crate) fn told(kinds: &[KindReport]) -> String {
    let mut text = String::new();
    for kind in kinds {
        for case in &kind.cases {
            let detail = case.detail.as_ref().map(|detail| format!(": {detail}"));
            let line = format!(
                "{:7}  {}/{}{}",
                case.outcome.word(),
                kind.kind,
                case.name,
                detail.unwrap_or_default()
            );
            let _infallible = writeln!(text, "{}", plain(&line));
        }
    }
    let _infallible = writeln!(
        text,
        "{} passed, {} failed, {} not run",
        count(kinds, Outcome::Passed),
        count(kinds, Outcome::Failed),
        count(kinds, Outcome::NotRun)
    );
    text
}

fn plain(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[Outcome]) -> Report {
        let cases = outcomes.iter().map(|outcome| CaseReport {
            name: "case".into(),
            rests_on: None,
            outcome: *outcome,
            detail: Some("why\u{1b}[31m".into()),
        });
        Report {
            version: REPORT_VERSION,
            program: "/p".into(),
            digest: "00".into(),
            provider: Some("p".into()),
            release: None,
            offered: vec![1],
            agreed: Some(1),
            kinds: vec![KindReport {
                kind: "k".into(),
                cases: cases.collect(),
            }],
        }
    }

    #[test]
    fn good_is_only_what_was_seen_and_did_not_fail() {
        use Outcome::{Failed, NotRun, Passed};
        assert!(report(&[Passed, NotRun]).is_good());
        assert!(!report(&[Passed, Failed]).is_good());
        assert!(!report(&[NotRun]).is_good(), "nothing was seen");
        assert!(!report(&[]).is_good());
        let told = report(&[Passed, NotRun, Failed]).told();
        assert!(told.contains("NOT_RUN  k/case: why?[31m\n"), "{told}");
        assert!(told.ends_with("1 passed, 1 failed, 1 not run\n"), "{told}");
    }
}
