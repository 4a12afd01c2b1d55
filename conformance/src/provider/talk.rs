//! One life of a provider: started, asked, waited for with a bound, and ended with everything that it started.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use writ_protocol::provider::{
    self, Change, Hello, PROGRESS_MAX, PROVIDER_PROTOCOL, Problem, Subject, ToHost, ToProvider, Welcome,
};
use writ_provider_sdk::wire;

use super::case::Finding;
use super::family::Family;
use super::place::Place;

/// How long an answer may take.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// How long a provider may take to say its first word, and to end.
pub(super) const END_WAIT: Duration = Duration::from_secs(20);
/// Words on their way, in each direction.
const WAITING_MAX: usize = 16;

/// What came of waiting for a word.
#[derive(Debug)]
pub(super) enum Heard {
    Word(ToHost),
    /// It is no word.
    Broken(String),
    /// It closed its standard output.
    End,
    Silence,
}

/// How a process ended: its exit code, which a signal leaves out.
#[derive(Clone, Copy)]
struct Ended(Option<i32>);

/// A provider that runs.
pub(super) struct Talk {
    pid: Option<Pid>,
    /// Closed by dropping it.
    to: Option<SyncSender<Vec<u8>>>,
    from: Receiver<Heard>,
    ended: Receiver<Option<i32>>,
    /// How it ended, once that is known.
    end: Option<Ended>,
    last: u64,
}

impl Talk {
    /// Starts the provider.
    pub(super) fn start(place: &Place) -> Result<Self, Finding> {
        let mut command = place
            .command()
            .map_err(|error| format!("no place for its words: {error}"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("it does not start: {error}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (to, words) = sync_channel::<Vec<u8>>(WAITING_MAX);
        let (heard, from) = sync_channel(WAITING_MAX);
        let (over, ended) = sync_channel(1);
        if let Some(mut input) = child.stdin.take() {
            // Of its own, so that a provider that does not read cannot stop the suite. A closed pipe is told by its end.
            thread::spawn(move || {
                while let Ok(bytes) = words.recv() {
                    if input.write_all(&bytes).and_then(|()| input.flush()).is_err() {
                        return;
                    }
                }
            });
        }
        if let Some(mut output) = child.stdout.take() {
            thread::spawn(move || {
                loop {
                    let word = match wire::read(&mut output) {
                        Ok(Some(word)) => Heard::Word(word),
                        Ok(None) => Heard::End,
                        Err(error) => Heard::Broken(chain(&error)),
                    };
                    let is_last = !matches!(word, Heard::Word(_));
                    if heard.send(word).is_err() || is_last {
                        return;
                    }
                }
            });
        }
        thread::spawn(move || {
            let code = child.wait().ok().and_then(|status| status.code());
            // Nobody may want to know.
            let _unheard = over.send(code);
        });
        Ok(Self {
            pid,
            to: Some(to),
            from,
            ended,
            end: None,
            last: 0,
        })
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
        let to = self.to.as_ref().ok_or("its standard input is closed")?;
        to.try_send(bytes)
            .map_err(|_full| "it does not read its standard input".to_owned())
    }

    pub(super) fn hear(&mut self, wait: Duration) -> Heard {
        match self.from.recv_timeout(wait) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
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
        self.to = None;
    }

    /// Waits for its end; its exit code, which a signal leaves out.
    pub(super) fn end(&mut self, wait: Duration) -> Result<Option<i32>, Finding> {
        if let Some(Ended(code)) = self.end {
            return Ok(code);
        }
        match self.ended.recv_timeout(wait) {
            Ok(code) => {
                self.end = Some(Ended(code));
                Ok(code)
            }
            Err(_) => Err(format!("it did not end within {} s", wait.as_secs())),
        }
    }

    /// Kills it and what it started in its process group.
    pub(super) fn kill(&mut self) -> Result<(), Finding> {
        if self.end.is_none()
            && let Some(pid) = self.pid
        {
            // It may have ended by itself.
            let _gone = kill_process_group(pid, Signal::KILL);
        }
        self.end(END_WAIT).map(drop)
    }

    /// Kills it in the same way, and waits until nothing is left of anything that it started.
    pub(super) fn kill_wholly(&mut self) -> Result<(), Finding> {
        let family = self.pid.map(Family::frozen).unwrap_or_default();
        self.kill()?;
        family.gone()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _left = self.kill();
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
