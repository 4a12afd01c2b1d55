//! Changes by apt-get, dpkg and apt-mark, without a question asked.

use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};
use writ_protocol::graph::PackageState;

use super::Work;
use crate::context::Sinks;
use crate::error::Error;
use crate::observation::PackageFound;
use crate::tool::{Ended, Tool, Tools};
use crate::wait::Wait;

const APT_GET: Tool = Tool {
    name: "apt-get",
    package: "apt",
};
const APT_CACHE: Tool = Tool {
    name: "apt-cache",
    package: "apt",
};
const APT_MARK: Tool = Tool {
    name: "apt-mark",
    package: "apt",
};
const DPKG: Tool = Tool {
    name: "dpkg",
    package: "dpkg",
};

/// Longest wait for another program to let go of the database; half of the resource's wall limit where that is less.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest list of versions on offer, bytes.
const OFFER_BYTES_MAX: usize = 1 << 20;
/// Time between two looks at a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// The locks, in the order in which the tools take them.
const LOCKS: &[&str] = &["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"];

/// Maintainer scripts and their helpers ask nobody, and nothing else restarts what it likes.
const ENV: &[(&str, &str)] = &[
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("NEEDRESTART_SUSPEND", "1"),
    ("UCF_FORCE_CONFFOLD", "1"),
];
/// What a person changed in a configuration file stays.
const KEEP_CONFIGURATION: &[&str] = &["--force-confdef", "--force-confold"];
/// Words of apt-get when its lists do not know what is wanted, or know it no more.
const LISTS_ARE_OLD: &[&str] = &[
    "Unable to locate package",
    "has no installation candidate",
    "was not found",
    "Failed to fetch",
];

pub(super) fn change(work: &Work<'_>, tools: &mut Tools<'_, '_>, sinks: &mut Sinks<'_>) -> Result<(), Error> {
    let seconds = wait_for_locks(tools)?;
    let mut changer = Changer {
        work,
        tools,
        sinks,
        seconds: seconds.to_string(),
    };
    changer.finish_what_was_begun()?;
    match &work.spec.state {
        PackageState::Absent { purge } => changer.remove(*purge),
        PackageState::Installed { .. } => changer.install(),
    }
}

struct Changer<'w, 't, 'a, 'c, 's> {
    work: &'w Work<'w>,
    tools: &'t mut Tools<'a, 'c>,
    sinks: &'t mut Sinks<'s>,
    seconds: String,
}

impl Changer<'_, '_, '_, '_, '_> {
    /// After an interruption nothing can be installed until dpkg has settled what was under way.
    fn finish_what_was_begun(&mut self) -> Result<(), Error> {
        if !self.tools.host.dpkg()?.unfinished {
            return Ok(());
        }
        let words = [KEEP_CONFIGURATION, &["--configure", "--pending"]].concat();
        let argv = self.tools.argv(DPKG, &words)?;
        // What it cannot settle is the next call's to name: that may be the very package that is to be installed again.
        self.tools.run(argv, ENV, self.sinks.on_output)?;
        self.tools.host.forget_packages();
        Ok(())
    }

    fn remove(&mut self, purge: bool) -> Result<(), Error> {
        let name = self.work.spec.name.as_str();
        if matches!(self.tools.host.dpkg()?.find(name), PackageFound::Absent) {
            return Ok(());
        }
        // dpkg refuses to take away what others need, where apt-get would take the others too.
        let action = if purge { "--purge" } else { "--remove" };
        self.tools
            .must(DPKG, &[action, "--", name], ENV, self.sinks.on_output)
    }

    fn install(&mut self) -> Result<(), Error> {
        let name = self.work.spec.name.clone();
        if self.work.is_to("state") || self.work.is_to("version") {
            let found = self.tools.host.dpkg()?.find(&name);
            let is_done = match (&found, self.work.pin()) {
                (PackageFound::Installed { .. }, None) => true,
                (PackageFound::Installed { version, .. }, Some(pin)) => super::matches(pin, version),
                _ => false,
            };
            if !is_done {
                self.apt_get(matches!(found, PackageFound::Broken { .. }))?;
            }
        }
        if self.work.is_to("hold") {
            let action = if self.work.spec.hold == Some(true) {
                "hold"
            } else {
                "unhold"
            };
            let words = [action, "--", &name];
            self.tools.must(APT_MARK, &words, ENV, self.sinks.on_output)?;
        }
        Ok(())
    }

    fn apt_get(&mut self, again: bool) -> Result<(), Error> {
        let ended = self.install_once(again)?;
        let is_stale = ended.code != 0 && LISTS_ARE_OLD.iter().any(|words| ended.text.contains(words));
        if !is_stale || self.work.spec.source.is_some() {
            return self.tools.judge("apt-get install", &ended);
        }
        let words = self.words(&["update"]);
        let argv = self.tools.argv(APT_GET, &as_str(&words))?;
        let updated = self.tools.run(argv, ENV, self.sinks.on_output)?;
        self.tools.judge("apt-get update", &updated)?;
        let ended = self.install_once(again)?;
        self.tools.judge("apt-get install", &ended)
    }

    fn install_once(&mut self, again: bool) -> Result<Ended, Error> {
        let spec = self.work.spec;
        let mut words = self.words(&["install", "--no-remove"]);
        if again {
            words.push("--reinstall".to_owned());
        }
        if self.work.pin().is_some() {
            words.push("--allow-downgrades".to_owned());
        }
        if spec.hold.is_some() {
            words.push("--allow-change-held-packages".to_owned());
        }
        let target = match (&spec.source, self.work.pin()) {
            (Some(source), _) => source.clone(),
            (None, Some(pin)) => format!("{}={}", spec.name, self.version_of(pin)?),
            (None, None) => spec.name.clone(),
        };
        words.extend(["--".to_owned(), target]);
        let argv = self.tools.argv(APT_GET, &as_str(&words))?;
        self.tools.run(argv, ENV, self.sinks.on_output)
    }

    /// The newest version on offer that fits a pin; the pin itself where none does, for apt-get to say so. Its own patterns know no more
    /// than a star at the end.
    fn version_of(&mut self, pin: &str) -> Result<String, Error> {
        if !pin.contains(['*', '?']) {
            return Ok(pin.to_owned());
        }
        let argv = self
            .tools
            .argv(APT_CACHE, &["madison", "--", &self.work.spec.name])?;
        let ended = self.tools.read(argv, OFFER_BYTES_MAX)?;
        // `name | version | where from`, the newest first.
        let offered = ended.text.lines().filter_map(|line| line.split('|').nth(1));
        let mut fitting = offered
            .map(str::trim)
            .filter(|version| super::matches(pin, version));
        Ok(fitting.next().unwrap_or(pin).to_owned())
    }

    fn words(&self, action: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = [
            "--yes",
            "--quiet",
            "-oDpkg::Use-Pty=0",
            // Names are names, not patterns.
            "-oAPT::Cmd::Pattern-Only=true",
            "-oAcquire::Retries=2",
        ]
        .map(str::to_owned)
        .to_vec();
        words.push(format!("-oDPkg::Lock::Timeout={}", self.seconds));
        words.extend(
            KEEP_CONFIGURATION
                .iter()
                .map(|option| format!("-oDpkg::Options::={option}")),
        );
        words.extend(action.iter().map(|&word| word.to_owned()));
        words
    }
}

fn as_str(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Waits until nobody works on the database. It may be taken again before the tool takes it; apt-get then waits by itself, and dpkg says so.
fn wait_for_locks(tools: &Tools<'_, '_>) -> Result<u64, Error> {
    let half = Duration::from_millis(tools.wall_left_ms() / 2);
    let most = LOCK_WAIT_MAX.min(half);
    for path in LOCKS {
        let wait = Wait::new(most);
        while let Some(holder) = holder(tools, path)? {
            if let Some(reason) = tools.context.control.asked() {
                return Err(Error::Stopped {
                    id: tools.resource.id.clone(),
                    reason,
                });
            }
            if !wait.pause(LOCK_PAUSE) {
                return Err(Error::Locked {
                    id: tools.resource.id.clone(),
                    database: "dpkg's database",
                    holder,
                    seconds: most.as_secs(),
                });
            }
        }
    }
    Ok(most.as_secs().max(1))
}

/// Who holds a lock; nobody where it could be had. Only asked: a lock taken to find out could be in another's way.
fn holder(tools: &Tools<'_, '_>, path: &str) -> Result<Option<String>, Error> {
    let shown = format!("/{path}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::openat(tools.host.root(), path, flags, Mode::empty()) {
        Ok(file) => file,
        // The tools make it.
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::at("look at the lock", &shown)(errno)),
    };
    let wanted = Flock::from(FlockType::WriteLock);
    let held = fcntl_getlk(&file, &wanted).map_err(Error::at("look at the lock", &shown))?;
    Ok(held.map(|lock| lock.pid.map_or_else(|| "another program".to_owned(), name_of)))
}

/// A process in words.
fn name_of(pid: Pid) -> String {
    let pid = pid.as_raw_nonzero();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({})", name.trim())
}
