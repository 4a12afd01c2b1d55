//! Guards: the questions that decide whether a command has anything to do. The cheap ones are asked first; a program is started only when
//! nothing cheaper has answered.

use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use writ_protocol::exec::{Exit, Isolation, Meter, Usage};
use writ_sandbox::ROOM_TO_WRITE;

use super::Step;
use crate::error::Error;
use crate::observation::CommandObservation;

/// Longest time of a guard.
pub const GUARD_WALL_MAX: Duration = Duration::from_secs(10);

/// Bytes of a guard's output that an error shows.
const SHOWN_BYTES_MAX: u64 = 256;

impl Step<'_, '_> {
    pub(crate) fn observe(&self) -> Result<(CommandObservation, Usage), Error> {
        let mut usage = Usage::none(Meter::Agent);
        let (would_run, why) = self.ask(&mut usage)?;
        Ok((CommandObservation { would_run, why }, usage))
    }

    fn ask(&self, usage: &mut Usage) -> Result<(bool, String), Error> {
        if self.spec.only_when_notified && !self.context.notified {
            return Ok((false, "nothing notified it".to_owned()));
        }
        if let Some(path) = &self.spec.creates
            && self.exists(path)?
        {
            return Ok((false, format!("{path} exists")));
        }
        if let Some(why) = self.awaits_its_user() {
            return Ok((true, why));
        }
        if let Some(argv) = &self.spec.only_if {
            let code = self.code("only_if", argv, usage)?;
            if code != 0 {
                return Ok((false, format!("only_if exited with {code}")));
            }
        }
        if let Some(argv) = &self.spec.unless
            && self.code("unless", argv, usage)? == 0
        {
            return Ok((false, "unless exited with 0".to_owned()));
        }
        Ok((true, self.reason()))
    }

    /// Guards are asked as the user that the command runs as. Where there is no such user yet, one that the same config makes is waited for, and nothing
    /// speaks against the command before.
    fn awaits_its_user(&self) -> Option<String> {
        let name = self.spec.user.as_deref()?;
        let is_there = self.host.logins().users.contains_key(name);
        (!is_there).then(|| format!("there is no user {name} yet who could be asked"))
    }

    /// Why it runs, of all the guards it has.
    fn reason(&self) -> String {
        let mut reasons = Vec::new();
        if self.spec.only_when_notified {
            reasons.push("it was notified".to_owned());
        }
        reasons.extend(
            self.spec
                .creates
                .as_ref()
                .map(|path| format!("{path} does not exist")),
        );
        reasons.extend(
            self.spec
                .only_if
                .as_ref()
                .map(|_| "only_if exited with 0".to_owned()),
        );
        reasons.extend(
            self.spec
                .unless
                .as_ref()
                .map(|_| "unless did not exit with 0".to_owned()),
        );
        if reasons.is_empty() {
            "it has no guard".to_owned()
        } else {
            reasons.join(", ")
        }
    }

    /// Whether anything stands at the path; a link counts, wherever it points.
    fn exists(&self, path: &str) -> Result<bool, Error> {
        let relative = path
            .strip_prefix('/')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(".");
        match rustix::fs::statat(self.host.root(), relative, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(Error::at("look at", path)(errno)),
        }
    }

    /// The exit code of a guard. Anything but an exit is no answer.
    fn code(&self, guard: &'static str, argv: &[String], usage: &mut Usage) -> Result<i32, Error> {
        let user = self.user()?;
        let mut spec = self.sandbox_spec(argv, user.as_ref());
        let wall = u64::try_from(GUARD_WALL_MAX.as_millis()).unwrap_or(u64::MAX);
        spec.limits.wall_ms = spec.limits.wall_ms.min(wall);
        spec.limits.output_bytes = SHOWN_BYTES_MAX;
        if spec.isolation >= Isolation::Namespaces && spec.isolation < Isolation::Strict {
            spec.asks = true;
            spec.env
                .entry("TMPDIR".to_owned())
                .or_insert_with(|| ROOM_TO_WRITE.to_owned());
        }
        let seconds = spec.limits.wall_ms.div_ceil(1_000);
        let no_answer = |detail: String| Error::Guard {
            id: self.resource.id.clone(),
            guard,
            detail,
            seconds,
        };
        let outcome = match self.run(&spec, &mut |_, _| {}) {
            Err(Error::Sandbox {
                source: writ_sandbox::Error::Start { program, detail },
                ..
            }) => {
                return Err(no_answer(format!("{program} cannot be started, {detail}")));
            }
            other => other?,
        };
        usage.add(&outcome.usage);
        match outcome.exit {
            Exit::Code(code) => Ok(code),
            Exit::Signal(signal) => Err(no_answer(format!("signal {signal} ended it"))),
            Exit::Limit(limit) => Err(no_answer(format!("it reached its {limit} limit"))),
            Exit::Killed(reason) => Err(Error::Stopped {
                id: self.resource.id.clone(),
                reason,
            }),
        }
    }
}
