//! Which hosts are meant: names, or those of an inventory that a config's targets select; and how many of them are at work at once.

use std::collections::BTreeSet;
use std::path::Path;

use writ_plan::compile::Compiled;
use writ_plan::inventory::Inventory;
use writ_plan::plan::Plan;
use writ_plan::rollout::Share;
use writ_protocol::reason::Code;

use super::super::author;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::ssh::{Host, NotAHost};

/// Most hosts of one command.
const HOSTS_MAX: usize = 10_000;
/// Hosts at work at once where nobody says how many.
const AT_ONCE: usize = 8;
/// Most hosts at work at once: each is a process, a few threads, and an agent on its way.
const AT_ONCE_MAX: usize = 64;

/// The hosts that words name, sorted, each once.
pub(super) fn named(words: &[String], compiled: &Compiled) -> anyhow::Result<Vec<Host>> {
    let mut hosts = BTreeSet::new();
    for word in words {
        match word.strip_prefix('@') {
            Some(file) => hosts.extend(of_inventory(Path::new(file), compiled)?),
            None => drop(hosts.insert(word.parse::<Host>().map_err(|error| refused(&error))?)),
        }
    }
    if hosts.len() > HOSTS_MAX {
        let what = format!("{} hosts are named, and {HOSTS_MAX} is the most", hosts.len());
        return Err(Fault::coded(Code::TooLarge, what).into());
    }
    Ok(hosts.into_iter().collect())
}

fn refused(error: &NotAHost) -> Fault {
    Fault::new(Exit::Usage, error.to_string()).help(
        "what begins with a hyphen is an option to ssh, and goes into --ssh-option; a port goes into ssh's own configuration or --ssh-option Port=N",
    )
}

fn of_inventory(file: &Path, compiled: &Compiled) -> anyhow::Result<Vec<Host>> {
    let (name, text) = author::read_inventory(file)?;
    let inventory: Inventory = Inventory::read(&name, &text).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        Fault::new(
            Exit::Invalid,
            format!("{} is no inventory: {first}", file.display()),
        )
        .help("writ validate PATH --inventory FILE shows all that is wrong with it")
    })?;
    let selected = inventory.select(&compiled.targets);
    if selected.is_empty() {
        let what = format!("the config's targets select no host of {}", file.display());
        return Err(Fault::coded(Code::NoTargets, what).into());
    }
    let host = |name: &str| {
        let address = inventory.addresses.get(name).map_or(name, String::as_str);
        Ok(Host::at(name, address).map_err(|error| refused(&error))?)
    };
    selected.into_iter().map(host).collect()
}

/// The hosts on which a plan is to be carried out: each of them is in it. Where they are an inventory's, it has to select the plan's hosts and no others.
pub(super) fn of_plan(words: &[String], hosts: Vec<Host>, plan: &Plan) -> anyhow::Result<Vec<Host>> {
    let known: BTreeSet<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    if let Some(inventory) = words.iter().find(|word| word.starts_with('@')) {
        let meant: BTreeSet<&str> = hosts.iter().map(Host::name).collect();
        let moved = |how: &str, which: &str| {
            let what = format!("{inventory} {how} {which} since the plan was made");
            Fault::coded(Code::PlanOutdated, what).help(format!(
                "make a new plan and review it: writ plan --ssh {inventory} PATH --out FILE"
            ))
        };
        if let Some(new) = meant.difference(&known).next() {
            return Err(moved("selects another host,", new).into());
        }
        if let Some(gone) = known.difference(&meant).next() {
            return Err(moved("no longer selects", gone).into());
        }
    }
    if let Some(host) = hosts.iter().find(|host| !known.contains(host.name())) {
        let names: Vec<&str> = known.into_iter().collect();
        return Err(
            Fault::new(Exit::Invalid, format!("{host} is no host of this plan"))
                .help(format!("it is of: --ssh {}", names.join(",")))
                .into(),
        );
    }
    Ok(hosts)
}

/// How many of so many hosts are at work at once.
pub(super) fn at_once(wanted: Option<Share>, hosts: usize) -> usize {
    let count = match wanted {
        None => AT_ONCE,
        Some(Share::Count(count)) => usize::try_from(count).unwrap_or(usize::MAX),
        Some(Share::Percent(hundredths)) => hosts.saturating_mul(hundredths.into()) / 100,
    };
    count.clamp(1, AT_ONCE_MAX).min(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_at_once_are_bounded_and_never_none() {
        assert_eq!(at_once(None, 3), 3);
        assert_eq!(at_once(None, 300), AT_ONCE);
        assert_eq!(at_once(Some(Share::Count(2)), 300), 2);
        assert_eq!(at_once(Some(Share::Percent(1)), 3), 1);
        assert_eq!(at_once(Some(Share::Percent(100)), 3_000), AT_ONCE_MAX);
    }
}
