//! Programs to run, with the guards that say when there is nothing to do and the files that are to come back.

mod artefact;
mod guard;

use std::collections::BTreeMap;
use std::sync::Arc;

use writ_protocol::egress::Destination;
use writ_protocol::exec::{Exit, Isolation};
use writ_protocol::graph::{CommandSpec, Resource};
use writ_sandbox::{Network, Outcome, Spec, Stream, TERMINATE_GRACE};

use crate::context::{Applied, Context, Sinks};
use crate::error::Error;
use crate::host::Host;
use crate::logins::Somebody;
use crate::observation::{Change, CommandObservation};

pub use guard::GUARD_WALL_MAX;

/// `PATH` of a command whose spec names none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest program and arguments shown in a change, characters.
const SHOWN_CHARS_MAX: usize = 200;

/// The names of a program's own loopback, which need no proxy; less those that its plan names, and which therefore mean the host's.
fn direct_hosts(egress: &[Destination]) -> String {
    let is_named = |own: &str| {
        egress.iter().any(|destination| {
            destination.name() == Some(own)
                || destination
                    .address()
                    .is_some_and(|address| address.to_string() == own)
        })
    };
    let own = ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .filter(|own| !is_named(own));
    own.collect::<Vec<_>>().join(",")
}

/// One command at work.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a, 'c> {
    pub(crate) host: &'a Host,
    pub(crate) resource: &'a Resource,
    pub(crate) spec: &'a CommandSpec,
    pub(crate) context: &'a Context<'c>,
}

/// What running would change: that it runs.
pub(crate) fn diff(spec: &CommandSpec, seen: &CommandObservation) -> Vec<Change> {
    let shown = || {
        spec.argv
            .join(" ")
            .chars()
            .take(SHOWN_CHARS_MAX)
            .collect::<String>()
    };
    if seen.would_run {
        vec![Change::new("run", shown(), seen.why.as_str())]
    } else {
        Vec::new()
    }
}

impl Step<'_, '_> {
    /// Runs the program, whatever the guards say: whoever calls has asked them.
    pub(crate) fn apply(&self, sinks: &mut Sinks<'_>) -> Result<Applied, Error> {
        let user = self.user()?;
        let mut spec = self.sandbox_spec(&self.spec.argv, user.as_ref());
        self.open_way_out(&mut spec)?;
        let outcome = self.run(&spec, sinks.on_output)?;
        let usage = outcome.usage.clone();
        let mut failure = self.judge(&outcome);
        for path in &self.spec.artefacts {
            match artefact::collect(self.host.root(), path, user.as_ref().map(|user| user.ids.uid)) {
                Ok(artefact) => (sinks.on_artefact)(artefact),
                // Of a program that failed, what there is helps; what there is not was to be expected.
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Ok(Applied {
            failure,
            run: Some(outcome),
            usage,
        })
    }

    fn run(&self, spec: &Spec, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<Outcome, Error> {
        let ran = self.context.sandbox.run(spec, self.context.control, on_output);
        ran.map_err(|source| Error::Sandbox {
            id: self.resource.id.clone(),
            source,
        })
    }

    /// Who runs it, where that is not the agent's own user.
    fn user(&self) -> Result<Option<Somebody>, Error> {
        let Some(name) = &self.spec.user else {
            return Ok(None);
        };
        let missing = |problem: String, hint| Error::Missing {
            id: self.resource.id.clone(),
            problem,
            hint,
        };
        let found = self.host.logins().somebody(name).ok_or_else(|| {
            missing(
                format!("there is no user {name} for the command to run as"),
                "make the user before: a `user` resource in `depends_on`",
            )
        })?;
        let own = rustix::process::geteuid();
        if !own.is_root() && own.as_raw() != found.ids.uid {
            return Err(missing(
                format!(
                    "the command is to run as {name}, and this agent runs as another user and is not root"
                ),
                "run the agent as root, or leave `user` out",
            ));
        }
        Ok(Some(found))
    }

    fn sandbox_spec(&self, argv: &[String], user: Option<&Somebody>) -> Spec {
        Spec {
            argv: argv.to_vec(),
            cwd: self.spec.cwd.clone().unwrap_or_else(|| "/".to_owned()),
            env: self.environment(user),
            input: None,
            looks: false,
            asks: false,
            // Who is not root has no other ids than the user's already.
            user: user
                .filter(|_| rustix::process::geteuid().is_root())
                .map(|user| user.ids.clone()),
            limits: self.resource.limits,
            isolation: self.spec.isolation,
            network: match self.context.network {
                _ if self.spec.isolation < Isolation::Namespaces => Network::Host,
                Some(shared) => Network::Shared(Arc::clone(shared)),
                None => Network::Own,
            },
            grace: TERMINATE_GRACE,
        }
    }

    /// Tells the program of the agent's proxy, which is its only way out. Guards have none: they only ask.
    fn open_way_out(&self, spec: &mut Spec) -> Result<(), Error> {
        if self.spec.egress.is_empty() {
            return Ok(());
        }
        let door = self.context.door.filter(|_| self.context.network.is_some());
        let door = door.ok_or_else(|| Error::NoWayOut {
            id: self.resource.id.clone(),
        })?;
        let proxy = format!("http://{door}");
        let direct = direct_hosts(&self.spec.egress);
        for (name, value) in [
            ("HTTP_PROXY", &proxy),
            ("HTTPS_PROXY", &proxy),
            ("ALL_PROXY", &proxy),
            ("NO_PROXY", &direct),
        ] {
            // Programs differ on which of the two they read; another proxy cannot be reached.
            spec.env.insert(name.to_owned(), value.clone());
            spec.env.insert(name.to_ascii_lowercase(), value.clone());
        }
        Ok(())
    }

    fn environment(&self, user: Option<&Somebody>) -> BTreeMap<String, String> {
        let mut env = self.spec.env.clone();
        for name in ["USER", "LOGNAME"] {
            if let Some(user) = user {
                env.entry(name.to_owned()).or_insert_with(|| user.name.clone());
            }
        }
        let accounts = self.host.accounts();
        // A strict step is not the agent's user and sees nobody's home; what it has to itself is /tmp.
        let home = if self.spec.isolation >= Isolation::Strict {
            "/tmp"
        } else if let Some(user) = user {
            &user.home
        } else {
            accounts.home(rustix::process::geteuid().as_raw()).unwrap_or("/")
        };
        for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", home), ("LANG", "C.UTF-8")] {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let ids = self.context.ids;
        // These are ours: a spec cannot make a step look like another one.
        for (name, value) in [
            ("WRIT_RUN_ID", &ids.run_id),
            ("WRIT_ORDER_ID", &ids.order_id),
            ("WRIT_IDEMPOTENCY_KEY", &ids.idempotency_key),
        ] {
            env.insert(name.to_owned(), value.clone());
        }
        env
    }

    fn judge(&self, outcome: &Outcome) -> Option<Error> {
        let id = self.resource.id.clone();
        let success: &[i32] = if self.spec.exit_codes.is_empty() {
            &[0]
        } else {
            &self.spec.exit_codes
        };
        let wanted = || {
            success
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or ")
        };
        match &outcome.exit {
            Exit::Code(code) if success.contains(code) => None,
            Exit::Code(code) => Some(Error::Exit {
                id,
                ended: format!("exit code {code}"),
                wanted: wanted(),
            }),
            Exit::Signal(signal) => Some(Error::Exit {
                id,
                ended: format!("signal {signal}"),
                wanted: wanted(),
            }),
            Exit::Limit(limit) => Some(Error::Limit {
                id,
                limit: limit.clone(),
            }),
            Exit::Killed(reason) => Some(Error::Stopped {
                id,
                reason: reason.clone(),
            }),
        }
    }
}
