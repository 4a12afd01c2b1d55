//! Groups of the host's own files. They are read here and changed by the shadow tools, which know the locks, the backups and the shadow file.

use writ_protocol::graph::{GroupSpec, GroupState};

use crate::context::{Applied, Sinks};
use crate::error::Error;
use crate::logins::Logins;
use crate::observation::{Change, GroupObservation};
use crate::tool::{Tool, Tools};

const GROUPADD: Tool = tool("groupadd");
const GROUPMOD: Tool = tool("groupmod");
const GROUPDEL: Tool = tool("groupdel");
const GPASSWD: Tool = tool("gpasswd");
pub(crate) const GRPCONV: Tool = tool("grpconv");

/// A tool of the shadow suite.
pub(crate) const fn tool(name: &'static str) -> Tool {
    Tool {
        name,
        package: "passwd (Debian) or shadow-utils (Fedora)",
    }
}

pub(crate) fn observe(spec: &GroupSpec, logins: &Logins) -> GroupObservation {
    let group = logins.groups.get(&spec.name);
    GroupObservation {
        name: spec.name.clone(),
        gid: group.map(|group| group.gid),
        members: group.map(|group| group.members.clone()).unwrap_or_default(),
        complete: !logins.lacks_gshadow(&spec.name),
    }
}

pub(crate) fn diff(spec: &GroupSpec, seen: &GroupObservation) -> Vec<Change> {
    let GroupState::Present { gid, members, .. } = &spec.state else {
        let change = seen.gid.map(|_| Change::new("state", "absent", "present"));
        return change.into_iter().collect();
    };
    let mut changes = Vec::new();
    if seen.gid.is_none() {
        changes.push(Change::new("state", "present", "absent"));
    }
    if let Some(gid) = gid.filter(|gid| seen.gid != Some(*gid)) {
        let got = seen.gid.map_or_else(|| "-".to_owned(), |gid| gid.to_string());
        changes.push(Change::new("gid", gid.to_string(), got));
    }
    if let Some(members) = members {
        let wanted = sorted(members);
        if wanted != seen.members {
            changes.push(Change::new("members", listed(&wanted), listed(&seen.members)));
        }
    }
    if !seen.complete {
        changes.push(Change::new("shadow", "a line in gshadow", "none"));
    }
    changes
}

pub(crate) fn apply(
    spec: &GroupSpec,
    changes: &[Change],
    mut tools: Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<Applied, Error> {
    let done = change(spec, changes, &mut tools, sinks);
    tools.applied(done)
}

fn change(
    spec: &GroupSpec,
    changes: &[Change],
    tools: &mut Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<(), Error> {
    let is_to = |attribute: &str| changes.iter().any(|change| change.attribute == attribute);
    let name = spec.name.as_str();
    let out = &mut *sinks.on_output;
    let GroupState::Present { gid, members, system } = &spec.state else {
        if is_to("state") {
            tools.must(GROUPDEL, &["--", name], &[], out)?;
        }
        return Ok(());
    };
    // First what another tool that was ended in the middle left: groupadd and groupmod would trip over it.
    if is_to("shadow") {
        tools.must(GRPCONV, &[], &[], out)?;
    }
    let number = gid.map(|gid| gid.to_string());
    let number = number.as_deref();
    if is_to("state") {
        let mut words: Vec<&str> = system.then_some("--system").into_iter().collect();
        words.extend(number.iter().flat_map(|number| ["--gid", number]));
        words.extend(["--", name]);
        tools.must(GROUPADD, &words, &[], out)?;
    } else if let Some(number) = number.filter(|_| is_to("gid")) {
        tools.must(GROUPMOD, &["--gid", number, "--", name], &[], out)?;
    }
    if let Some(members) = members.as_ref().filter(|_| is_to("members")) {
        let list = sorted(members).join(",");
        tools.must(GPASSWD, &["--members", &list, name], &[], out)?;
    }
    Ok(())
}

/// Names in order, each once.
pub(crate) fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

/// Names for people.
pub(crate) fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
