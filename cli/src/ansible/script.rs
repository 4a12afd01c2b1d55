//! What a dynamic inventory script prints for `--list`: groups with hosts, children and variables, and `_meta` with those of hosts.

use serde_json::{Map, Value};

use super::tree::{ALL, Tree, UNGROUPED};
use super::{AnsibleError, Reading};

pub(super) fn read(text: &str, tree: &mut Tree, reading: &mut Reading<'_>) -> Result<(), AnsibleError> {
    let parsed: Value = serde_json::from_str(text).map_err(|error| {
        reading.wrong(
            error.line(),
            format!("what the script printed is not JSON: {error}"),
        )
    })?;
    let Value::Object(all) = parsed else {
        return Err(reading.wrong(1, "what the script printed is no JSON object"));
    };
    if !all.contains_key("_meta") {
        reading.note(
            0,
            "the script prints no `_meta`: variables of hosts are not asked for one by one",
        );
    }
    for (name, value) in &all {
        if name == "_meta" {
            continue;
        }
        match value {
            Value::Array(hosts) => add_hosts(name, hosts, tree, reading)?,
            Value::Object(group) => read_group(name, group, tree, reading)?,
            _ => return Err(reading.wrong(0, format!("group {name:?} is neither a list nor an object"))),
        }
    }
    let vars = all
        .get("_meta")
        .and_then(|meta| meta.get("hostvars"))
        .and_then(Value::as_object);
    for (host, vars) in vars.into_iter().flatten() {
        let Some(vars) = vars.as_object() else {
            return Err(reading.wrong(0, format!("variables of host {host:?} are no object")));
        };
        // Variables alone make no host.
        if let Some(node) = tree.hosts.get_mut(host) {
            node.vars.extend(taken(vars, reading));
        }
    }
    Ok(())
}

fn read_group(
    name: &str,
    group: &Map<String, Value>,
    tree: &mut Tree,
    reading: &mut Reading<'_>,
) -> Result<(), AnsibleError> {
    tree.group(name, reading)?;
    for (key, value) in group {
        match (key.as_str(), value) {
            ("hosts", Value::Array(hosts)) => add_hosts(name, hosts, tree, reading)?,
            ("children", Value::Array(children)) => {
                for child in children {
                    let Some(child) = child.as_str() else {
                        return Err(reading.wrong(0, format!("a child of group {name:?} is no text")));
                    };
                    tree.group(child, reading)?;
                    tree.group(name, reading)?.children.insert(child.to_owned());
                }
            }
            ("vars", Value::Object(vars)) => {
                let vars = taken(vars, reading);
                tree.group(name, reading)?.vars.extend(vars);
            }
            ("hosts" | "children" | "vars", _) => {
                return Err(reading.wrong(0, format!("`{key}` of group {name:?} has the wrong form")));
            }
            (other, _) => reading.note(0, format!("`{other}` of group {name:?} is not taken over")),
        }
    }
    Ok(())
}

fn add_hosts(
    name: &str,
    hosts: &[Value],
    tree: &mut Tree,
    reading: &mut Reading<'_>,
) -> Result<(), AnsibleError> {
    let group = if name == ALL { UNGROUPED } else { name };
    for host in hosts {
        let Some(host) = host.as_str() else {
            return Err(reading.wrong(0, format!("a host of group {name:?} is no text")));
        };
        tree.host(host, group, 0, reading)?;
    }
    Ok(())
}

fn taken(vars: &Map<String, Value>, reading: &mut Reading<'_>) -> Vec<(String, Value)> {
    let one =
        |(name, value): (&String, &Value)| Some((name.clone(), reading.taken((name, 0), value.clone())?));
    vars.iter().filter_map(one).collect()
}
