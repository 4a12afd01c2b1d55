//! The policy of the host's operator: rules in Rego that are asked about every connection that a plan allows. It can only narrow: nobody is reached
//! because of it, and whatever keeps it from saying "true" refuses.
//!
//! It is read once, when the agent starts, and answers on a thread of its own: rules that take too long hold up nobody who is connected already.

mod files;
mod rego;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;
use writ_protocol::digest::Digest;
use writ_protocol::egress::PolicyWord;

pub use rego::{RuleTest, decide_once, run_tests};

/// Longest evaluation of one rule.
pub const EVALUATION_MAX: Duration = Duration::from_millis(50);
/// Longest wait for an answer, the questions before it counted in.
pub const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Questions that wait; as many as one step has connections.
const QUESTIONS_MAX: usize = super::CONNECTIONS_AT_ONCE_MAX;
/// Stack of the thread, bytes: rules may call rules.
const STACK_BYTES: usize = 8 << 20;
/// Longest reason of a policy's own that is kept, bytes: with what stands before it, it fits in a record's.
const REASON_BYTES_MAX: usize = 160;

/// A policy that can be asked.
#[derive(Debug)]
pub struct Policy {
    digest: Digest,
    questions: SyncSender<Question>,
}

/// What a host has for a policy. A wrong one is not the same as none.
#[derive(Clone, Debug, Default)]
pub enum Guard {
    /// Its operator set none: the plan's list decides alone.
    #[default]
    None,
    /// One that is asked.
    Set(Arc<Policy>),
    /// One that cannot be used, and why: no step that names destinations is started.
    Broken(String),
}

/// A policy, and who asks it.
#[derive(Clone, Debug)]
pub struct Review {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The step that asks.
    pub asker: Asker,
}

/// What a policy is asked, as `input` in its rules.
#[derive(Clone, Debug, Serialize)]
pub struct Input<'a> {
    /// The host's clock, RFC 3339 in UTC.
    pub now: String,
    /// Who asks.
    #[serde(flatten)]
    pub step: &'a Asker,
    /// The name or address that the program asked for.
    pub host: String,
    /// The port that it asked for.
    pub port: u16,
    /// The address that the name stands for; `null` before that is looked up.
    pub ip: Option<String>,
    /// `connect` for a tunnel, `http` for a plain request.
    pub scheme: &'static str,
}

/// The step that asks, as a policy knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asker {
    /// The tenant of the agent.
    pub tenant: String,
    /// The agent's id.
    pub agent: String,
    /// The agent's name for people.
    pub agent_name: String,
    /// The project of the bundle.
    pub project: String,
    /// The run.
    pub run: String,
    /// The order.
    pub order: String,
    /// The digest of the plan that was reviewed, hexadecimal; none where a run has none.
    pub plan: Option<String>,
    /// The resource's id.
    pub step: String,
}

/// What a policy says, with words for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it came to.
    pub word: PolicyWord,
    /// Why not; empty where it allows.
    pub reason: String,
}

/// Why a policy cannot be used: a sentence with the place in its files.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("{}: it cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The files are not what a policy is made of.
    #[error("{place}: {rule}")]
    Files {
        /// Which file or folder.
        place: String,
        /// What is wrong with it.
        rule: String,
    },
    /// A rule is wrong: file, line, column and what.
    #[error("{0}")]
    Rule(String),
}

struct Question {
    /// [`Input`] as JSON.
    input: String,
    answer: oneshot::Sender<Verdict>,
}

impl Policy {
    /// Reads and compiles a policy: a `.rego` file, or a folder with rules in `*.rego` and data in `data.json`. What ends in `_test.rego` is left out.
    ///
    /// # Errors
    /// [`PolicyError`], with file, line and column where it is a rule that is wrong.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let files = files::read(path)?;
        let engine = rego::Engine::compile(&files)?;
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        let thread = std::thread::Builder::new()
            .name("writ-policy".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || answer_all(engine, &asked));
        // It ends when nobody is left who could ask.
        let _detached = thread.map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            digest: files.digest(),
            questions,
        })
    }

    /// SHA-256 over the names and bytes of its files.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Asks it. Everything but a plain "true" refuses.
    pub async fn ask(&self, input: &Input<'_>) -> Verdict {
        let input = match serde_json::to_string(input) {
            Ok(input) => input,
            Err(error) => return Verdict::failed(&error.to_string()),
        };
        let (answer, answered) = oneshot::channel();
        if self.questions.try_send(Question { input, answer }).is_err() {
            return Verdict::failed("too many questions wait for it");
        }
        match timeout(ANSWER_WAIT, answered).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Verdict::failed("it ended while it was asked"),
            Err(_) => Verdict::failed("it did not answer in time"),
        }
    }
}

impl Verdict {
    fn allowed() -> Self {
        Self {
            word: PolicyWord::Allowed,
            reason: String::new(),
        }
    }

    fn denied(reason: Option<&str>) -> Self {
        Self {
            word: PolicyWord::Denied,
            reason: reason.map_or_else(
                || "the host's policy refuses it".to_owned(),
                |reason| format!("the host's policy refuses it: {}", bounded(reason)),
            ),
        }
    }

    fn failed(why: &str) -> Self {
        Self {
            word: PolicyWord::Failed,
            reason: format!("the host's policy does not decide: {}", bounded(why)),
        }
    }
}

/// One line of bounded length: a policy's words go into records and logs.
fn bounded(text: &str) -> String {
    let line = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>();
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = words.floor_char_boundary(REASON_BYTES_MAX);
    words.get(..end).unwrap_or_default().to_owned()
}

fn answer_all(mut engine: rego::Engine, asked: &Receiver<Question>) {
    while let Ok(Question { input, answer }) = asked.recv() {
        // Who gave up waiting was refused by that.
        if answer.is_closed() {
            continue;
        }
        let _gave_up = answer.send(engine.decide(&input));
    }
}
