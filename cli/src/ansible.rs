//! Ansible's inventories, read so that a fleet that has one need not be written down again: INI and YAML files, the JSON of a dynamic script, and the
//! `group_vars` and `host_vars` beside them.
//!
//! What is read here was written by others and for another program. So everything is bounded, nothing is run, no template is filled in, no vault is
//! opened, and whatever is not taken over is told with its place ([`Note`]) and not left out in silence. What the forms mean is told by Ansible's
//! own inventory guide; `cli/tests/ansible/` holds what `ansible-inventory` makes of the same files.

mod ini;
mod literal;
mod range;
mod script;
mod tree;
mod vars;
mod yaml;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use tree::Tree;

/// Longest file of an inventory, and most that a script may print, bytes.
pub const INVENTORY_BYTES_MAX: usize = 16 << 20;
/// Most files of an inventory: itself, and those of `group_vars` and `host_vars`.
pub const INVENTORY_FILES_MAX: usize = 4_096;
/// Most hosts; as many as Writ's own inventory has.
pub const HOSTS_MAX: usize = writ_plan::inventory::INVENTORY_HOSTS_MAX;
/// Most groups.
pub const GROUPS_MAX: usize = 10_000;
/// Deepest nesting of groups, and of values.
pub const DEPTH_MAX: usize = 32;
/// Most keys, values, lists and mappings of one file.
pub const NODES_MAX: usize = 2_000_000;
/// Most groups that one host is in, by way of others too.
pub const GROUPS_OF_HOST_MAX: usize = 1_000;
/// Most times that hosts are named, and that variables are given to one.
pub const GIVEN_MAX: usize = 2_000_000;
/// Most variables of all hosts, groups' own counted once for each of their hosts.
pub const VARS_MAX: usize = 2_000_000;

/// A file, or what a script printed.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it is named in messages.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The inventory.
    pub inventory: Source,
    /// Whether it came from a script.
    pub is_script: bool,
    /// Files of variables of groups, by group, in the order in which later ones count.
    pub group_vars: Vec<(String, Source)>,
    /// Files of variables of hosts, by host.
    pub host_vars: Vec<(String, Source)>,
}

/// Something that is not taken over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// The file.
    pub file: String,
    /// Its line, from 1; 0 where a program printed it.
    pub line: usize,
    /// What, and why.
    pub message: String,
}

/// Why an inventory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AnsibleError {
    /// Ansible would not read it either.
    #[error("{file}:{line}: {what}")]
    Malformed {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It breaks a bound.
    #[error("{file}: more than {max} {what}")]
    TooMuch {
        /// The file.
        file: String,
        /// Of what.
        what: &'static str,
        /// At most.
        max: usize,
    },
}

/// A host as it is taken over.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Host {
    /// Where it is reached, where that is not its name: `ansible_host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A label for each group that it is in.
    pub labels: BTreeMap<String, String>,
    /// Its variables, those of its groups among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
}

/// An inventory of Writ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Imported {
    /// By name.
    pub hosts: BTreeMap<String, Host>,
}

/// A file while it is read.
#[derive(Debug)]
struct Reading<'a> {
    file: &'a str,
    notes: &'a mut Vec<Note>,
}

impl Reading<'_> {
    fn note(&mut self, line: usize, message: impl Into<String>) {
        self.notes.push(Note {
            file: self.file.to_owned(),
            line,
            message: message.into(),
        });
    }

    /// The value of a variable as it is taken over; none where it is in a vault. Templates stay text, which is told.
    fn taken(&mut self, (name, line): (&str, usize), value: Value) -> Option<Value> {
        if holds(&value, &|part| part.get(VAULTED).is_some()) {
            self.note(
                line,
                format!("`{name}` is left out: it is in a vault, which is not opened"),
            );
            return None;
        }
        let is_template = |part: &Value| {
            let text = part.as_str().unwrap_or_default();
            text.contains("{{") || text.contains("{%")
        };
        if holds(&value, &is_template) {
            self.note(
                line,
                format!("`{name}` is kept as text: it holds a template of Ansible, which is not filled in"),
            );
        }
        Some(value)
    }

    fn wrong(&self, line: usize, what: impl Into<String>) -> AnsibleError {
        AnsibleError::Malformed {
            file: self.file.to_owned(),
            line,
            what: what.into(),
        }
    }

    fn too_much(&self, what: &'static str, max: usize) -> AnsibleError {
        AnsibleError::TooMuch {
            file: self.file.to_owned(),
            what,
            max,
        }
    }
}

/// Under which name Ansible's JSON has the text of a vault.
const VAULTED: &str = "__ansible_vault";

/// Whether a value, or one within it, is such a one. Values nest at most as deep as their readers let them.
fn holds(value: &Value, is_one: &impl Fn(&Value) -> bool) -> bool {
    let is_within = match value {
        Value::Array(items) => items.iter().any(|item| holds(item, is_one)),
        Value::Object(entries) => entries.values().any(|value| holds(value, is_one)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    is_within || is_one(value)
}

/// Reads an inventory and what lies beside it.
///
/// # Errors
/// [`AnsibleError`].
pub fn import(sources: &Sources) -> Result<(Imported, Vec<Note>), AnsibleError> {
    let mut notes = Vec::new();
    let mut tree = Tree::default();
    let Source { name, text } = &sources.inventory;
    let mut reading = Reading {
        file: name,
        notes: &mut notes,
    };
    if text.len() > INVENTORY_BYTES_MAX {
        return Err(reading.too_much("bytes", INVENTORY_BYTES_MAX));
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    if sources.is_script {
        script::read(text, &mut tree, &mut reading)?;
    } else if matches!(extension, Some("yml" | "yaml" | "json")) {
        yaml::read_inventory(text, &mut tree, &mut reading)?;
    } else {
        ini::read(text, &mut tree, &mut reading)?;
    }
    vars::read(sources, &mut tree, &mut notes)?;
    let mut reading = Reading {
        file: name,
        notes: &mut notes,
    };
    let imported = tree.resolve(&mut reading)?;
    notes.sort();
    notes.dedup();
    Ok((imported, notes))
}
