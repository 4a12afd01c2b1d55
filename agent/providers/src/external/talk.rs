//! The asking side of the provider protocol: one question at a time, each answer held to its question and to a time.

use std::io::PipeWriter;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;
use writ_protocol::provider::{
    self, Hello, PROVIDER_CHANGES_MAX, PROVIDER_PROTOCOL, Subject, ToHost, ToProvider,
};
use writ_provider_sdk::wire;

use crate::observation::Change;

/// How long a provider may take to say its first word.
const HELLO_WAIT: Duration = Duration::from_secs(20);
/// How long it may take to end when the pipe was closed.
const END_WAIT: Duration = Duration::from_secs(10);
/// Longest attribute, and longest value of one, bytes.
const ATTRIBUTE_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 4 << 10;

/// Answers, as they come.
pub(super) type Answers = Receiver<ToHost>;

/// A conversation with one life of a provider. Faults are told as what the provider did.
pub(super) struct Talk<'a> {
    to: Option<PipeWriter>,
    answers: &'a Answers,
    last: u64,
}

impl<'a> Talk<'a> {
    pub(super) const fn new(to: PipeWriter, answers: &'a Answers) -> Self {
        Self {
            to: Some(to),
            answers,
            last: 0,
        }
    }

    /// Settles the version, and that it has this kind.
    pub(super) fn greet(&mut self, kind: &str) -> Result<(), String> {
        let offered = [PROVIDER_PROTOCOL];
        self.say(&ToProvider::Hello(Hello {
            versions: offered.to_vec(),
            host: format!("writ-agent {}", env!("CARGO_PKG_VERSION")),
        }))?;
        let welcome = match self.answers.recv_timeout(HELLO_WAIT) {
            Ok(ToHost::Welcome(welcome)) => welcome,
            Ok(ToHost::Unfit { versions }) => {
                let spoken: Vec<String> = versions.iter().take(4).map(ToString::to_string).collect();
                return Err(format!(
                    "speaks version {} of the protocol, and this agent {PROVIDER_PROTOCOL}",
                    spoken.join(", ")
                ));
            }
            Ok(_) => return Err("answered `hello` with another word".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "did not answer `hello` within {} s",
                    HELLO_WAIT.as_secs()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => return Err("did not answer `hello`".to_owned()),
        };
        welcome
            .validate(&offered)
            .map_err(|rule| format!("said a welcome that cannot be believed: {rule}"))?;
        if welcome.kinds.iter().any(|known| known.name == kind) {
            return Ok(());
        }
        let kinds: Vec<&str> = welcome.kinds.iter().map(|known| known.name.as_str()).collect();
        Err(format!("does not know that kind; it knows {}", kinds.join(", ")))
    }

    pub(super) fn observe(&mut self, subject: Subject) -> Result<Value, String> {
        let id = self.number();
        match self.ask("observe", id, &ToProvider::Observe { id, subject })? {
            ToHost::Observed { observation, .. } => Ok(observation),
            _ => Err(other_word("observe")),
        }
    }

    pub(super) fn diff(&mut self, subject: Subject, observation: Value) -> Result<Vec<Change>, String> {
        let id = self.number();
        let question = ToProvider::Diff {
            id,
            subject,
            observation,
        };
        let ToHost::Differs { changes, .. } = self.ask("diff", id, &question)? else {
            return Err(other_word("diff"));
        };
        if changes.len() > PROVIDER_CHANGES_MAX {
            return Err(format!(
                "answered `diff` with {} changes, at most {PROVIDER_CHANGES_MAX} are taken",
                changes.len()
            ));
        }
        let is_long = |change: &provider::Change| {
            change.attribute.is_empty()
                || change.attribute.len() > ATTRIBUTE_BYTES_MAX
                || change.want.len().max(change.got.len()) > VALUE_BYTES_MAX
        };
        if changes.iter().any(is_long) {
            return Err(format!(
                "answered `diff` with a change without attribute, or with one longer than {ATTRIBUTE_BYTES_MAX} or a value longer than {VALUE_BYTES_MAX} bytes"
            ));
        }
        let changes = changes
            .into_iter()
            .map(|change| Change::new(&change.attribute, change.want, change.got));
        Ok(changes.collect())
    }

    pub(super) fn apply(&mut self, subject: Subject, changes: Vec<provider::Change>) -> Result<(), String> {
        let id = self.number();
        match self.ask("apply", id, &ToProvider::Apply { id, subject, changes })? {
            ToHost::Applied { .. } => Ok(()),
            _ => Err(other_word("apply")),
        }
    }

    /// Closes the pipe, at which it has to end.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.to = None;
        match self.answers.recv_timeout(END_WAIT) {
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(format!(
                "did not end within {} s after its input was closed",
                END_WAIT.as_secs()
            )),
            Ok(_) => Err("answered more than it was asked".to_owned()),
        }
    }

    fn ask(&mut self, what: &str, id: u64, question: &ToProvider) -> Result<ToHost, String> {
        self.say(question)?;
        // How long it may take is a limit of the process, at whose end this is told.
        let Ok(answer) = self.answers.recv() else {
            return Err(format!("did not answer `{what}`"));
        };
        match answer {
            answer if answer.id() != Some(id) => Err(format!("answered `{what}` with another word")),
            ToHost::Failed { problem, .. } => {
                let said = provider::Problem::new(problem.reason, &problem.detail);
                let plain: String = said
                    .detail
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                let reason = serde_json::to_value(problem.reason).unwrap_or_default();
                let reason = reason.as_str().unwrap_or("failed").to_owned();
                Err(format!("answered `{what}` with {reason}: {plain}"))
            }
            answer => Ok(answer),
        }
    }

    /// What is not read to its end is told by what comes back, or does not.
    fn say(&mut self, word: &ToProvider) -> Result<(), String> {
        let Some(to) = &mut self.to else {
            return Err("was asked after its end".to_owned());
        };
        match wire::write(to, word) {
            Ok(()) | Err(wire::WireError::Io(_)) => Ok(()),
            Err(error) => Err(format!("cannot be asked: {error}")),
        }
    }

    const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

fn other_word(what: &str) -> String {
    format!("answered `{what}` with another word")
}
