//! Things that a provider of the config keeps in a state: its program is asked in the provider protocol, in a process of its own.
//!
//! Each life of the program has one task and remembers nothing of another: one looks and says what differs, and cannot write while it does; one makes
//! the changes. None of them is believed: what they say is bounded, and whether a change took place another look tells.

mod listen;
mod program;
mod talk;

use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::Value;
use writ_protocol::codec;
use writ_protocol::exec::{Exit, Isolation, Usage};
use writ_protocol::graph::{ExternalSpec, Resource};
use writ_protocol::provider::{self, Subject};
use writ_sandbox::{Network, Outcome, Spec, Stream, TERMINATE_GRACE};

use self::listen::Ears;
use self::talk::Talk;
use crate::context::{Applied, Context, Sinks};
use crate::error::Error;
use crate::observation::{Change, ExternalObservation};
use crate::tool;

/// Longest time of a look: first words, observing and diffing.
pub const LOOK_WALL_MAX: Duration = Duration::from_secs(60);
/// Largest observation, bytes of MessagePack.
pub(crate) const OBSERVATION_BYTES_MAX: usize = 1 << 20;
/// Answers on their way to who asked; one is asked at a time.
const ANSWERS_MAX: usize = 1;

/// One resource at work.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a, 'c> {
    pub(crate) resource: &'a Resource,
    pub(crate) spec: &'a ExternalSpec,
    pub(crate) context: &'a Context<'c>,
}

/// What a life of the program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Look,
    Change,
}

/// What came of a life: what was answered, and the process.
struct Life<T> {
    answered: Result<T, Error>,
    outcome: Outcome,
}

impl Step<'_, '_> {
    /// Looks, and asks what differs.
    pub(crate) fn observe(&self) -> Result<(ExternalObservation, Usage), Error> {
        let (subject, again) = (self.subject(), self.subject());
        let life = self.live(Task::Look, &mut |_, _| {}, |talk| {
            let seen = talk.observe(subject)?;
            check_seen(&seen)?;
            let changes = talk.diff(again, seen.clone())?;
            Ok(ExternalObservation { seen, changes })
        })?;
        Ok((life.answered?, life.outcome.usage))
    }

    /// Has the changes made that a look said.
    pub(crate) fn apply(&self, changes: &[Change], sinks: &mut Sinks<'_>) -> Result<Applied, Error> {
        let said = changes.iter().map(|change| provider::Change {
            attribute: change.attribute.clone(),
            want: change.want.clone(),
            got: change.got.clone(),
        });
        let (said, subject) = (said.collect(), self.subject());
        let life = self.live(Task::Change, sinks.on_output, |talk| talk.apply(subject, said))?;
        Ok(Applied {
            failure: life.answered.err(),
            usage: life.outcome.usage.clone(),
            run: Some(life.outcome),
        })
    }

    fn subject(&self) -> Subject {
        Subject {
            id: self.resource.id.clone(),
            kind: self.spec.kind.clone(),
            spec: self.spec.words(),
            notified: self.context.notified,
            wall_ms: self.resource.limits.wall_ms,
        }
    }

    /// Starts the program, has `ask` talk to it, and waits for the end of everything that it started.
    fn live<T: Send>(
        &self,
        task: Task,
        on_output: &mut dyn FnMut(Stream, &[u8]),
        ask: impl FnOnce(&mut Talk<'_>) -> Result<T, String> + Send,
    ) -> Result<Life<T>, Error> {
        let program = program::put(self.spec, self.context)?;
        let (input, to) = std::io::pipe().map_err(|source| self.no_pipe(source))?;
        let spec = self.sandbox_spec(task, program, input.into());
        let control = self.context.control.part();
        let (heard, answers) = sync_channel(ANSWERS_MAX);
        let (stop, kind) = (control.clone(), &self.spec.kind);
        let mut ears = Ears::new(heard, &control, self.resource.limits.output_bytes);
        let (ran, asked) = std::thread::scope(|scope| {
            let talker = scope.spawn(move || converse(to, &answers, kind, &stop, ask));
            let ran = self.context.sandbox.run(&spec, &control, &mut |stream, bytes| {
                ears.take(stream, bytes, on_output);
            });
            // Who writes to a program that is gone must be told so, and who waits for its words.
            drop(spec);
            ears.close();
            let asked = talker.join();
            (ran, asked)
        });
        let mut outcome = match ran {
            Ok(outcome) => outcome,
            Err(writ_sandbox::Error::Start { detail, .. }) => {
                return Err(self.fault(&format!("cannot be started: {detail}"), &ears, false));
            }
            Err(source) => {
                let id = self.resource.id.clone();
                return Err(Error::Sandbox { id, source });
            }
        };
        let asked = asked.unwrap_or_else(|_| Err("the agent could not talk to it".to_owned()));
        let answered = self.judge(&mut outcome, &mut ears, asked);
        outcome.output = ears.into_output();
        Ok(Life { answered, outcome })
    }

    fn sandbox_spec(&self, task: Task, program: String, input: OwnedFd) -> Spec {
        let mut limits = self.resource.limits;
        let mut env = tool::environment(&[]);
        if task == Task::Look {
            let most = u64::try_from(LOOK_WALL_MAX.as_millis()).unwrap_or(u64::MAX);
            limits.wall_ms = limits.wall_ms.min(most);
            // It is not the user whose home that is.
            env.insert("HOME".to_owned(), "/".to_owned());
        }
        Spec {
            argv: vec![program],
            cwd: "/".to_owned(),
            input: Some(Arc::new(input)),
            env,
            limits,
            isolation: Isolation::Namespaces,
            looks: task == Task::Look,
            asks: false,
            user: None,
            network: Network::Own,
            grace: TERMINATE_GRACE,
        }
    }

    /// What became of it: why it is a failure, the nearest cause first; else what it answered.
    fn judge<T>(&self, outcome: &mut Outcome, ears: &mut Ears, asked: Result<T, String>) -> Result<T, Error> {
        if let Some(reason) = self.context.control.asked()
            && matches!(outcome.exit, Exit::Killed(_))
        {
            return Err(Error::Stopped {
                id: self.resource.id.clone(),
                reason,
            });
        }
        let (did, is_limit) = match (ears.fault(), asked, &outcome.exit) {
            (Some(fault), ..) | (None, Err(fault), Exit::Killed(_)) => (fault, false),
            (None, Err(fault), Exit::Limit(limit)) => (
                format!("{fault}; it reached its {limit} limit and was ended"),
                true,
            ),
            (None, Ok(_), Exit::Limit(limit)) => {
                (format!("answered, and then reached its {limit} limit"), true)
            }
            (None, Ok(_), Exit::Killed(reason)) => (reason.clone(), false),
            (None, Err(fault), exit) => (format!("{fault}; it ended with {}", ended(exit)), false),
            (None, Ok(answer), Exit::Code(0)) => return Ok(answer),
            (None, Ok(_), exit) => (format!("answered, and then ended with {}", ended(exit)), false),
        };
        if matches!(outcome.exit, Exit::Killed(_)) {
            // Nobody outside asked for it: it was at fault.
            outcome.exit = Exit::Limit("provider".to_owned());
        }
        Err(self.fault(&did, ears, is_limit))
    }

    fn fault(&self, did: &str, ears: &Ears, is_limit: bool) -> Error {
        let said = tool::said(&ears.words());
        let said = if said == "nothing" {
            String::new()
        } else {
            format!("; on standard error it said: {said}")
        };
        Error::Provider {
            id: self.resource.id.clone(),
            provider: self.spec.provider.clone(),
            kind: self.spec.kind.clone(),
            did: format!("{did}{said}"),
            is_limit,
        }
    }

    fn no_pipe(&self, source: std::io::Error) -> Error {
        Error::Path {
            action: "make a pipe to the provider of",
            path: self.resource.id.clone(),
            hint: "raise the agent's limit of open files",
            source,
        }
    }
}

/// The talking side: asks, closes the pipe, and waits for the end.
fn converse<T>(
    to: PipeWriter,
    answers: &talk::Answers,
    kind: &str,
    stop: &writ_sandbox::Control,
    ask: impl FnOnce(&mut Talk<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let mut talk = Talk::new(to, answers);
    let answered = talk.greet(kind).and_then(|()| ask(&mut talk));
    let ended = match &answered {
        Ok(_) => talk.end(),
        Err(fault) => Err(fault.clone()),
    };
    if let Err(fault) = &ended {
        stop.kill(fault);
    }
    ended.and(answered)
}

fn check_seen(seen: &Value) -> Result<(), String> {
    let bytes = codec::to_msgpack("observation", seen).map_err(|error| error.to_string())?;
    if bytes.len() > OBSERVATION_BYTES_MAX {
        return Err(format!(
            "answered `observe` with {} bytes, at most {OBSERVATION_BYTES_MAX} are taken",
            bytes.len()
        ));
    }
    Ok(())
}

fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Limit(limit) => format!("its {limit} limit"),
        Exit::Killed(reason) => reason.clone(),
    }
}
