//! Files of variables beside an inventory: `group_vars/GROUP` and `host_vars/HOST`.

use super::tree::{ALL, Tree};
use super::{AnsibleError, INVENTORY_BYTES_MAX, Note, Reading, Source, Sources, yaml};

/// What a file begins with that is a vault as a whole.
const VAULT: &str = "$ANSIBLE_VAULT;";

pub(super) fn read(sources: &Sources, tree: &mut Tree, notes: &mut Vec<Note>) -> Result<(), AnsibleError> {
    for (group, source) in &sources.group_vars {
        if group != ALL && !tree.groups.contains_key(group) {
            continue;
        }
        if let Some(vars) = file(source, notes)? {
            tree.groups.entry(group.clone()).or_default().beside.extend(vars);
        }
    }
    for (host, source) in &sources.host_vars {
        if !tree.hosts.contains_key(host) {
            continue;
        }
        let vars = file(source, notes)?;
        if let Some((node, vars)) = tree.hosts.get_mut(host).zip(vars) {
            node.beside.extend(vars);
        }
    }
    Ok(())
}

fn file(source: &Source, notes: &mut Vec<Note>) -> Result<Option<super::tree::Vars>, AnsibleError> {
    let mut reading = Reading {
        file: &source.name,
        notes,
    };
    if source.text.len() > INVENTORY_BYTES_MAX {
        return Err(reading.too_much("bytes", INVENTORY_BYTES_MAX));
    }
    if source.text.starts_with(VAULT) {
        reading.note(1, "the file is left out: it is a vault, which is not opened");
        return Ok(None);
    }
    match yaml::parse(&source.text, &reading)? {
        Some(node) => yaml::vars(&node, "a file of variables", &mut reading).map(Some),
        None => Ok(None),
    }
}
