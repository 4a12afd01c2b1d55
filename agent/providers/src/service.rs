//! Services of the host's init: systemd where it runs, OpenRC where it runs, else the scripts of `/etc/init.d`.
//!
//! Whether a service starts with the host is read from the links that say so; whether it runs only the init can tell, and is asked. A
//! service that was notified restarts or reloads once, and only if it ran.

mod leave;
mod openrc;
mod systemd;
mod sysvinit;

use std::time::Duration;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use writ_protocol::exec::Usage;
use writ_protocol::graph::{OnNotify, ServiceManager, ServiceSpec};

use crate::context::{Applied, Sinks};
use crate::error::Error;
use crate::observation::{Change, ServiceObservation};
use crate::tool::Tools;
use crate::wait::Wait;

/// Longest answer of an init about one service, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest time in which a service gets to be what it was told to be, after its script has ended.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Time between two looks at it.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// Most entries of a folder of links that are looked at.
const LINKS_MAX: usize = 4_096;

pub(crate) fn observe(
    spec: &ServiceSpec,
    mut tools: Tools<'_, '_>,
) -> Result<(ServiceObservation, Usage), Error> {
    let notified = tools.context.notified && spec.on_notify != OnNotify::Ignore;
    let asks = Asks {
        running: spec.running.is_some() || notified,
        enabled: spec.enabled.is_some(),
    };
    let manager = manager(spec, &tools);
    let seen = match manager {
        Some(ServiceManager::Systemd) => systemd::look(spec, asks, &mut tools)?,
        Some(ServiceManager::Openrc) => openrc::look(spec, asks, &mut tools)?,
        Some(ServiceManager::Sysvinit) => sysvinit::look(spec, asks, &mut tools)?,
        None => None,
    };
    let observation = ServiceObservation {
        name: spec.name.clone(),
        manager: manager.map_or("", name_of).to_owned(),
        exists: seen.is_some(),
        running: seen.as_ref().and_then(|seen| seen.running),
        enabled: seen.as_ref().and_then(|seen| seen.enabled),
        notified,
    };
    Ok((observation, tools.usage()))
}

/// What is asked of an init.
#[derive(Clone, Copy, Debug)]
struct Asks {
    running: bool,
    enabled: bool,
}

/// What an init says of a service that it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    running: Option<bool>,
    enabled: Option<bool>,
}

const fn name_of(manager: ServiceManager) -> &'static str {
    match manager {
        ServiceManager::Systemd => "systemd",
        ServiceManager::Openrc => "openrc",
        ServiceManager::Sysvinit => "sysvinit",
    }
}

/// The init of the resource, or the one that runs the host.
fn manager(spec: &ServiceSpec, tools: &Tools<'_, '_>) -> Option<ServiceManager> {
    spec.manager.or_else(|| {
        if exists(tools, "run/systemd/system") {
            Some(ServiceManager::Systemd)
        } else if exists(tools, "run/openrc") || exists(tools, "etc/runlevels") {
            Some(ServiceManager::Openrc)
        } else if exists(tools, "etc/init.d") {
            Some(ServiceManager::Sysvinit)
        } else {
            None
        }
    })
}

fn exists(tools: &Tools<'_, '_>, path: &str) -> bool {
    rustix::fs::statat(tools.host.root(), path, AtFlags::empty()).is_ok()
}

/// Names in a folder; none of one that is not there.
fn names(tools: &Tools<'_, '_>, folder: &str) -> Result<Vec<String>, Error> {
    let shown = format!("/{folder}");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(tools.host.root(), folder, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(Error::at("list", &shown)(errno)),
    };
    let entries = Dir::new(opened).map_err(Error::at("list", &shown))?;
    let mut names = Vec::new();
    for entry in entries.take(LINKS_MAX) {
        let entry = entry.map_err(Error::at("list", &shown))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

pub(crate) fn diff(spec: &ServiceSpec, seen: &ServiceObservation) -> Vec<Change> {
    let mut changes = Vec::new();
    let words = |is: bool, yes: &'static str, no: &'static str| if is { yes } else { no };
    let unknown = if seen.exists { "unknown" } else { "no such service" };
    for (attribute, want, got) in [
        ("enabled", spec.enabled, seen.enabled),
        ("running", spec.running, seen.running),
    ] {
        let Some(want) = want.filter(|want| got != Some(*want)) else {
            continue;
        };
        // What is not there neither runs nor starts with the host.
        if !want && !seen.exists {
            continue;
        }
        changes.push(Change::new(
            attribute,
            words(want, "yes", "no"),
            got.map_or(unknown, |got| words(got, "yes", "no")),
        ));
    }
    if seen.notified && seen.running == Some(true) && spec.running != Some(false) {
        let verb = words(spec.on_notify == OnNotify::Reload, "reload", "restart");
        changes.push(Change::new(verb, "after the change", "running since before"));
    }
    changes
}

pub(crate) fn apply(
    spec: &ServiceSpec,
    changes: &[Change],
    mut tools: Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<Applied, Error> {
    let done = change(spec, changes, &mut tools, sinks);
    tools.applied(done)
}

/// One thing to do to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Enable,
    Disable,
    Start,
    Stop,
    Restart,
    Reload,
}

impl Action {
    /// The word that every init has for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

fn change(
    spec: &ServiceSpec,
    changes: &[Change],
    tools: &mut Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let manager = manager(spec, tools);
    let asks = Asks {
        running: false,
        enabled: false,
    };
    let is_known = match manager {
        Some(ServiceManager::Systemd) => systemd::look(spec, asks, tools)?.is_some(),
        Some(ServiceManager::Openrc) => openrc::look(spec, asks, tools)?.is_some(),
        Some(ServiceManager::Sysvinit) => sysvinit::look(spec, asks, tools)?.is_some(),
        None => false,
    };
    let Some(manager) = manager.filter(|_| is_known) else {
        return Err(Error::Missing {
            id: tools.resource.id.clone(),
            problem: format!(
                "there is no service {:?} on this host ({})",
                spec.name,
                manager.map_or("no init is known here", name_of)
            ),
            hint: "install its package first and depend on that, or correct the name",
        });
    };
    for change in changes {
        let action = match (change.attribute.as_str(), change.want.as_str()) {
            ("enabled", "yes") => Action::Enable,
            ("enabled", _) => Action::Disable,
            ("running", "yes") => Action::Start,
            ("running", _) => Action::Stop,
            ("restart", _) => Action::Restart,
            ("reload", _) => Action::Reload,
            _ => continue,
        };
        match manager {
            ServiceManager::Systemd => systemd::act(spec, action, tools, sinks)?,
            ServiceManager::Openrc => openrc::act(spec, action, tools, sinks)?,
            ServiceManager::Sysvinit => sysvinit::act(spec, action, tools, sinks)?,
        }
        match action {
            Action::Start | Action::Restart => settle(spec, manager, true, tools)?,
            Action::Stop => settle(spec, manager, false, tools)?,
            Action::Enable | Action::Disable | Action::Reload => {}
        }
    }
    Ok(())
}

/// A script may end a moment before its daemon has written its pid file, or has gone. systemctl waits by itself.
fn settle(
    spec: &ServiceSpec,
    manager: ServiceManager,
    running: bool,
    tools: &mut Tools<'_, '_>,
) -> Result<(), Error> {
    let asks = Asks {
        running: true,
        enabled: false,
    };
    let wait = Wait::new(SETTLE_MAX);
    loop {
        let seen = match manager {
            ServiceManager::Systemd => return Ok(()),
            ServiceManager::Openrc => openrc::look(spec, asks, tools)?,
            ServiceManager::Sysvinit => sysvinit::look(spec, asks, tools)?,
        };
        // When it does not settle, the look after the change says so.
        if seen.and_then(|seen| seen.running) == Some(running) || !wait.pause(SETTLE_PAUSE) {
            return Ok(());
        }
    }
}
