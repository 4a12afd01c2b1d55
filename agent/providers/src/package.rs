//! Packages. What is installed is read from the package manager's own database; what is to change is left to apt-get, dpkg, dnf and rpm.
//!
//! What is never done: taking away or replacing another package to make room for this one, taking away what others need, going past a hold
//! that the resource does not mention. The tools refuse, and say so.

mod apt;
mod dnf;
pub(crate) mod dpkg;
pub(crate) mod rpm;

use std::os::fd::OwnedFd;

use writ_protocol::exec::Usage;
use writ_protocol::graph::{PackageManager, PackageSpec, PackageState};

use crate::context::{Applied, Sinks};
use crate::error::Error;
use crate::observation::{Change, PackageFound, PackageObservation};
use crate::tool::Tools;

pub(crate) fn observe(
    spec: &PackageSpec,
    mut tools: Tools<'_, '_>,
) -> Result<(PackageObservation, Usage), Error> {
    let (database, found) = match manager(spec, &tools)? {
        PackageManager::Apt => ("dpkg", tools.host.dpkg()?.find(&spec.name)),
        PackageManager::Dnf => {
            let host = tools.host;
            ("rpm", host.rpm(&mut tools)?.find(&spec.name, spec.hold.is_some()))
        }
    };
    let observation = PackageObservation {
        name: spec.name.clone(),
        database: database.to_owned(),
        found,
    };
    Ok((observation, tools.usage()))
}

/// The package manager of the resource, or the host's: dpkg where it has a database, else rpm.
fn manager(spec: &PackageSpec, tools: &Tools<'_, '_>) -> Result<PackageManager, Error> {
    found(spec, tools.host.root()).ok_or_else(|| Error::Missing {
        id: tools.resource.id.clone(),
        problem: "the host has no package database of dpkg or rpm that this resource could mean".to_owned(),
        hint: "only hosts with apt or dnf are served; take the others out of the targets",
    })
}

fn found(spec: &PackageSpec, root: &OwnedFd) -> Option<PackageManager> {
    let found = match spec.manager {
        Some(manager) => Some(manager),
        None if dpkg::is_there(root) => Some(PackageManager::Apt),
        None if rpm::is_there(root) => Some(PackageManager::Dnf),
        None => None,
    };
    found.filter(|manager| match manager {
        PackageManager::Apt => dpkg::is_there(root),
        PackageManager::Dnf => rpm::is_there(root),
    })
}

/// Whether the package's database is read here, and no tool is asked.
pub(crate) fn only_reads(spec: &PackageSpec, root: &OwnedFd) -> bool {
    found(spec, root) == Some(PackageManager::Apt)
}

pub(crate) fn diff(spec: &PackageSpec, seen: &PackageObservation) -> Vec<Change> {
    match &spec.state {
        PackageState::Absent { purge } => match &seen.found {
            PackageFound::Absent => Vec::new(),
            PackageFound::ConfigFiles { .. } if !purge => Vec::new(),
            found => vec![Change::new(
                "state",
                if *purge { "purged" } else { "absent" },
                shown(found),
            )],
        },
        PackageState::Installed { version: pin } => {
            let mut changes = Vec::new();
            let (version, held) = match &seen.found {
                PackageFound::Installed { version, held, .. } => (Some(version), *held),
                found => {
                    changes.push(Change::new("state", "installed", shown(found)));
                    (None, None)
                }
            };
            if let Some(pin) = pin
                && version.is_none_or(|version| !matches(pin, version))
            {
                changes.push(Change::new("version", pin, version.map_or("-", String::as_str)));
            }
            if let Some(hold) = spec.hold.filter(|hold| held.unwrap_or(false) != *hold) {
                changes.push(Change::new("hold", hold.to_string(), (!hold).to_string()));
            }
            changes
        }
    }
}

fn shown(found: &PackageFound) -> String {
    match found {
        PackageFound::Absent => "absent".to_owned(),
        PackageFound::ConfigFiles { version } => format!("configuration of {version} left"),
        PackageFound::Installed { version, .. } => format!("installed {version}"),
        PackageFound::Broken { status, .. } => status.clone(),
    }
}

/// Whether a version fits a pin: `*` is any text, `?` any character.
fn matches(pin: &str, version: &str) -> bool {
    let (pin, version) = (pin.as_bytes(), version.as_bytes());
    let (mut p, mut v) = (0, 0);
    // Where the last star stood, and how far the text was then: the one place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while v < version.len() {
        match pin.get(p) {
            Some(b'*') => {
                star = Some((p + 1, v));
                p += 1;
            }
            Some(b'?') => (p, v) = (p + 1, v + 1),
            Some(byte) if Some(byte) == version.get(v) => (p, v) = (p + 1, v + 1),
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, v) = (after, from + 1);
            }
        }
    }
    pin.get(p..)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

pub(crate) fn apply(
    spec: &PackageSpec,
    changes: &[Change],
    mut tools: Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<Applied, Error> {
    let work = Work { spec, changes };
    let done = if changes.is_empty() {
        Ok(())
    } else {
        manager(spec, &tools).and_then(|manager| match manager {
            PackageManager::Apt => apt::change(&work, &mut tools, sinks),
            PackageManager::Dnf => dnf::change(&work, &mut tools, sinks),
        })
    };
    tools.applied(done)
}

/// One package at work.
struct Work<'a> {
    spec: &'a PackageSpec,
    changes: &'a [Change],
}

impl Work<'_> {
    fn is_to(&self, attribute: &str) -> bool {
        self.changes.iter().any(|change| change.attribute == attribute)
    }

    /// The version wanted, where one is.
    fn pin(&self) -> Option<&str> {
        match &self.spec.state {
            PackageState::Installed { version } => version.as_deref(),
            PackageState::Absent { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_fit_whole_versions() {
        for (pin, version) in [
            ("1.22.*", "1.22.1-9"),
            ("*", "anything"),
            ("1.0-1", "1.0-1"),
            ("1:?.*-1*", "1:2.3-1~deb12u1"),
            ("*~deb12*", "1~deb12"),
            ("**a", "ba"),
        ] {
            assert!(matches(pin, version), "{pin} {version}");
        }
        for (pin, version) in [
            ("1.22.*", "1.220.1"),
            ("1.0", "1.0-1"),
            ("?", ""),
            ("", "1"),
            ("1.*.3", "1.2.4"),
            ("a*b*c", "acb"),
        ] {
            assert!(!matches(pin, version), "{pin} {version}");
        }
        let (stars, text) = ("*a".repeat(60) + "b", "a".repeat(4_000));
        assert!(!matches(&stars, &text), "a hostile pin is no work without end");
    }
}
