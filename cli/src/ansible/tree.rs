//! Groups within groups and the hosts in them, and what that comes to for each host: which groups it is in, and which of several values counts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use writ_protocol::limits::{LABELS_MAX, NAME_BYTES_MAX};

use super::{
    AnsibleError, DEPTH_MAX, GIVEN_MAX, GROUPS_MAX, GROUPS_OF_HOST_MAX, HOSTS_MAX, Host, Imported, Reading,
    VARS_MAX,
};

/// The group that every host is in.
pub(super) const ALL: &str = "all";
/// The group of hosts that are in no other.
pub(super) const UNGROUPED: &str = "ungrouped";
/// What a label of a group says: being there is the word.
const MEMBER: &str = "true";
/// Decides among groups of one depth which counts: a variable of the group itself, which is none of its hosts'.
const PRIORITY: &str = "ansible_group_priority";

/// Variables by name, each with its line.
pub(super) type Vars = BTreeMap<String, Value>;

/// A group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) hosts: BTreeSet<String>,
    pub(super) children: BTreeSet<String>,
    /// From the inventory itself.
    pub(super) vars: Vars,
    /// From files beside it, which count before those.
    pub(super) beside: Vars,
}

/// A host.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) vars: Vars,
    pub(super) beside: Vars,
}

/// An inventory as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) hosts: BTreeMap<String, Node>,
    /// How often a host was named or given a variable: a short file with ranges in many groups is a long one.
    given: usize,
}

impl Tree {
    /// The group of a name, made where there is none.
    pub(super) fn group(&mut self, name: &str, reading: &Reading<'_>) -> Result<&mut Group, AnsibleError> {
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(name) {
            return Err(reading.too_much("groups", GROUPS_MAX));
        }
        Ok(self.groups.entry(name.to_owned()).or_default())
    }

    /// Counts what is given to hosts.
    pub(super) fn count(&mut self, more: usize, reading: &Reading<'_>) -> Result<(), AnsibleError> {
        self.given = self.given.saturating_add(more);
        if self.given > GIVEN_MAX {
            return Err(reading.too_much("hosts in groups and variables given to hosts", GIVEN_MAX));
        }
        Ok(())
    }

    /// The host of a name, made where there is none, in a group.
    pub(super) fn host(
        &mut self,
        name: &str,
        group: &str,
        line: usize,
        reading: &Reading<'_>,
    ) -> Result<&mut Node, AnsibleError> {
        self.count(1, reading)?;
        self.group(group, reading)?.hosts.insert(name.to_owned());
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(name) {
            return Err(reading.too_much("hosts", HOSTS_MAX));
        }
        let fresh = Node {
            line,
            ..Node::default()
        };
        Ok(self.hosts.entry(name.to_owned()).or_insert(fresh))
    }

    /// What all of it comes to.
    pub(super) fn resolve(&self, reading: &mut Reading<'_>) -> Result<Imported, AnsibleError> {
        let depths = self.depths(reading)?;
        let parents = self.parents();
        let labels = self.label_names(reading);
        let mut imported = Imported::default();
        let mut count = 0_usize;
        for (name, node) in &self.hosts {
            let member = self.member_of(name, &parents);
            if member.len() > GROUPS_OF_HOST_MAX {
                return Err(reading.too_much("groups of one host", GROUPS_OF_HOST_MAX));
            }
            let vars = self.vars_of(node, &member, &depths);
            count = count.saturating_add(vars.len());
            if count > VARS_MAX {
                return Err(reading.too_much("variables of hosts", VARS_MAX));
            }
            let found = member.iter().filter(|group| labels.contains(*group));
            let found: BTreeMap<String, String> =
                found.map(|group| (group.clone(), MEMBER.to_owned())).collect();
            if found.len() > LABELS_MAX {
                return Err(reading.wrong(
                    node.line,
                    format!("host {name:?} is in more than {LABELS_MAX} groups, and a host has at most so many labels"),
                ));
            }
            if !is_name(name) {
                reading.note(node.line, format!("host {name:?} is left out: {NO_NAME}"));
                continue;
            }
            let address = vars.get("ansible_host").and_then(Value::as_str);
            let host = Host {
                address: address.filter(|at| at != name).map(ToOwned::to_owned),
                labels: found,
                vars,
            };
            imported.hosts.insert(name.clone(), host);
        }
        Ok(imported)
    }

    /// Names of groups that can be labels; of the others it is told.
    fn label_names(&self, reading: &mut Reading<'_>) -> BTreeSet<String> {
        let mut good = BTreeSet::new();
        for name in self
            .groups
            .keys()
            .filter(|name| !matches!(name.as_str(), ALL | UNGROUPED))
        {
            if is_name(name) {
                good.insert(name.clone());
            } else {
                reading.note(0, format!("group {name:?} becomes no label: {NO_NAME}"));
            }
        }
        good
    }

    fn parents(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, group) in &self.groups {
            for child in &group.children {
                parents.entry(child).or_default().push(name);
            }
            for host in &group.hosts {
                // A host and a group may have one name: a slash is in neither.
                parents.entry(host).or_default().push(name);
            }
        }
        parents
    }

    /// Every group that a host is in, by way of other groups too, but for the one of all.
    fn member_of(&self, host: &str, parents: &BTreeMap<&str, Vec<&str>>) -> BTreeSet<String> {
        let is_direct = |name: &&&str| {
            self.groups
                .get(**name)
                .is_some_and(|group| group.hosts.contains(host))
        };
        let mut open: Vec<&str> = parents
            .get(host)
            .into_iter()
            .flatten()
            .filter(is_direct)
            .copied()
            .collect();
        let mut found = BTreeSet::new();
        while let Some(name) = open.pop() {
            if found.insert(name.to_owned()) {
                let is_child = |above: &&&str| {
                    self.groups
                        .get(**above)
                        .is_some_and(|group| group.children.contains(name))
                };
                open.extend(parents.get(name).into_iter().flatten().filter(is_child));
            }
        }
        found.remove(ALL);
        if found.len() > 1 {
            found.remove(UNGROUPED);
        }
        found
    }

    /// How deep each group lies: 1 below the one of all, the longest way counts.
    fn depths(&self, reading: &Reading<'_>) -> Result<BTreeMap<&str, usize>, AnsibleError> {
        let mut depths: BTreeMap<&str, usize> = self.groups.keys().map(|name| (name.as_str(), 1)).collect();
        for round in 0..=DEPTH_MAX {
            let mut has_moved = false;
            for (name, group) in self.groups.iter().filter(|(name, _)| name.as_str() != ALL) {
                let below = depths.get(name.as_str()).copied().unwrap_or(1).saturating_add(1);
                for child in &group.children {
                    if let Some(depth) = depths.get_mut(child.as_str()).filter(|depth| **depth < below) {
                        (*depth, has_moved) = (below, true);
                    }
                }
            }
            if !has_moved {
                return Ok(depths);
            }
            if round == DEPTH_MAX {
                break;
            }
        }
        let deepest = depths
            .iter()
            .max_by_key(|(_, depth)| **depth)
            .map_or("", |(name, _)| *name);
        Err(reading.wrong(
            0,
            format!("group {deepest:?} lies in itself, or deeper than {DEPTH_MAX} groups"),
        ))
    }

    /// The variables of a host: of all, of its groups from the outermost in, those of files after those of the inventory, then its own.
    fn vars_of(&self, node: &Node, member: &BTreeSet<String>, depths: &BTreeMap<&str, usize>) -> Vars {
        let mut order: Vec<(usize, i64, &str, &Group)> = member
            .iter()
            .filter_map(|name| {
                let group = self.groups.get(name)?;
                let depth = depths.get(name.as_str()).copied().unwrap_or(1);
                Some((depth, priority(group), name.as_str(), group))
            })
            .collect();
        order.sort_by_key(|(depth, priority, name, _)| (*depth, *priority, *name));
        let all = self.groups.get(ALL);
        let groups = || order.iter().map(|(.., group)| *group);
        let mut layers: Vec<&Vars> = all.iter().map(|group| &group.vars).collect();
        layers.extend(groups().map(|group| &group.vars));
        layers.extend(all.iter().map(|group| &group.beside));
        layers.extend(groups().map(|group| &group.beside));
        layers.extend([&node.vars, &node.beside]);
        let mut vars = Vars::new();
        for layer in layers {
            let own = layer.iter().filter(|(name, _)| name.as_str() != PRIORITY);
            vars.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        }
        vars
    }
}

fn priority(group: &Group) -> i64 {
    let value = group.beside.get(PRIORITY).or_else(|| group.vars.get(PRIORITY));
    match value {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(1),
        Some(Value::String(text)) => text.parse().unwrap_or(1),
        _ => 1,
    }
}

/// Why a name is not taken over.
const NO_NAME: &str = "a name has letters, digits, `.`, `_` and `-` and begins with a letter or digit";

/// Whether Writ's inventory takes a name, as of a host or a label.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
        && text.len() <= NAME_BYTES_MAX
}
