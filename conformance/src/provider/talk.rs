//! One life of a provider, in the words of its protocol.

use std::time::Duration;

use serde_json::Value;
use writ_protocol::provider::{
    self, Change, Hello, PROGRESS_MAX, PROVIDER_PROTOCOL, Problem, Subject, ToHost, ToProvider, Welcome,
};
use writ_provider_sdk::wire;

use super::case::Finding;
use super::place::Place;
pub(super) use crate::process::END_WAIT;
use crate::process::Process;

/// How long an answer may take.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// What came of waiting for a word.
pub(super) type Heard = crate::process::Heard<ToHost>;

/// A provider that runs.
pub(super) struct Talk {
    process: Process<ToHost>,
    last: u64,
}

impl Talk {
    /// Starts the provider.
    pub(super) fn start(place: &Place) -> Result<Self, Finding> {
        let command = place
            .command()
            .map_err(|error| format!("no place for its words: {error}"))?;
        let process = Process::start(command, |output| {
            wire::read(output).map_err(|error| chain(&error))
        })?;
        Ok(Self { process, last: 0 })
    }

    /// Starts it and shakes hands.
    pub(super) fn greeted(place: &Place) -> Result<(Self, Welcome), Finding> {
        let mut talk = Self::start(place)?;
        let offered = [PROVIDER_PROTOCOL];
        talk.hello(&offered)?;
        let welcome = match talk.hear(END_WAIT) {
            Heard::Word(ToHost::Welcome(welcome)) => welcome,
            other => {
                let said = place.said();
                let said = if said.is_empty() {
                    said
                } else {
                    format!("; on standard error it said: {said}")
                };
                return Err(format!("hello was answered by {}{said}", shown(&other)));
            }
        };
        welcome
            .validate(&offered)
            .map_err(|rule| format!("its welcome cannot be believed: {rule}"))?;
        Ok((talk, welcome))
    }

    pub(super) fn hello(&mut self, versions: &[u16]) -> Result<(), Finding> {
        let host = format!("writ-conformance {}", env!("CARGO_PKG_VERSION"));
        let versions = versions.to_vec();
        self.say(&ToProvider::Hello(Hello { versions, host }))
    }

    pub(super) fn say(&mut self, word: &ToProvider) -> Result<(), Finding> {
        let bytes = provider::frame(word).map_err(|error| format!("the suite cannot say this: {error}"))?;
        self.send(bytes)
    }

    /// Sends any bytes.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Result<(), Finding> {
        self.process.send(bytes)
    }

    pub(super) fn hear(&mut self, wait: Duration) -> Heard {
        self.process.hear(wait)
    }

    /// A number for the next question.
    pub(super) const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The answer to a question, after its words of progress.
    pub(super) fn answer(&mut self, id: u64, wait: Duration) -> Result<ToHost, Finding> {
        for _ in 0..PROGRESS_MAX {
            match self.hear(wait) {
                Heard::Word(word) if word.id() != Some(id) => {
                    return Err(format!(
                        "question {id} was answered by {}",
                        shown(&Heard::Word(word))
                    ));
                }
                Heard::Word(ToHost::Progress { .. }) => {}
                Heard::Word(word) => return Ok(word),
                Heard::Silence => return Err(format!("no answer within {} s", wait.as_secs())),
                other => return Err(format!("instead of an answer came {}", shown(&other))),
            }
        }
        Err(format!("more than {PROGRESS_MAX} words of progress"))
    }

    pub(super) fn observe(&mut self, subject: Subject) -> Result<Result<Value, Problem>, Finding> {
        let id = self.number();
        self.say(&ToProvider::Observe { id, subject })?;
        match self.answer(id, ANSWER_WAIT)? {
            ToHost::Observed { observation, .. } => Ok(Ok(observation)),
            ToHost::Failed { problem, .. } => Ok(Err(problem)),
            other => Err(format!("observe was answered by {}", shown(&Heard::Word(other)))),
        }
    }

    pub(super) fn diff(
        &mut self,
        subject: Subject,
        observation: Value,
    ) -> Result<Result<Vec<Change>, Problem>, Finding> {
        let id = self.number();
        self.say(&ToProvider::Diff {
            id,
            subject,
            observation,
        })?;
        match self.answer(id, ANSWER_WAIT)? {
            ToHost::Differs { changes, .. } => Ok(Ok(changes)),
            ToHost::Failed { problem, .. } => Ok(Err(problem)),
            other => Err(format!("diff was answered by {}", shown(&Heard::Word(other)))),
        }
    }

    pub(super) fn apply(
        &mut self,
        subject: Subject,
        changes: Vec<Change>,
    ) -> Result<Result<(), Problem>, Finding> {
        let id = self.number();
        self.say(&ToProvider::Apply { id, subject, changes })?;
        match self.answer(id, ANSWER_WAIT)? {
            ToHost::Applied { .. } => Ok(Ok(())),
            ToHost::Failed { problem, .. } => Ok(Err(problem)),
            other => Err(format!("apply was answered by {}", shown(&Heard::Word(other)))),
        }
    }

    /// Closes its standard input.
    pub(super) fn close(&mut self) {
        self.process.close();
    }

    /// Waits for its end; its exit code, which a signal leaves out.
    pub(super) fn end(&mut self, wait: Duration) -> Result<Option<i32>, Finding> {
        self.process.end(wait)
    }

    /// Kills it and what it started, and waits until nothing is left of that.
    pub(super) fn kill_wholly(&mut self) -> Result<(), Finding> {
        self.process.kill_wholly()
    }
}

/// A word, for a finding: which it is, and a part of what it says.
pub(super) fn shown(heard: &Heard) -> String {
    match heard {
        Heard::Word(word) => format!("{word:?}").chars().take(300).collect(),
        Heard::Broken(why) => format!("what is no word ({why})"),
        Heard::End => "the end of its standard output".to_owned(),
        Heard::Silence => "nothing in time".to_owned(),
    }
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
