//! What is another between two bills, package by package, for the person who meets the gate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Differences, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    lines: Vec<String>,
}

impl Changes {
    /// Compares two files; one that is missing or is no bill has no packages.
    pub(super) fn between(before: &str, after: &str) -> Self {
        let (old, new) = (packages(before), packages(after));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut lines = Vec::new();
        for name in names {
            let none = BTreeMap::new();
            let was = old.get(name).unwrap_or(&none);
            let is = new.get(name).unwrap_or(&none);
            let gone: Vec<&String> = was.keys().filter(|version| !is.contains_key(*version)).collect();
            let come: Vec<&String> = is.keys().filter(|version| !was.contains_key(*version)).collect();
            if let ([from], [to]) = (gone.as_slice(), come.as_slice()) {
                lines.push(format!("changed: {name} {from} is {to}"));
            } else {
                lines.extend(gone.iter().map(|version| format!("removed: {name} {version}")));
                lines.extend(come.iter().map(|version| format!("added:   {name} {version}")));
            }
            for (version, fields) in is {
                let Some(before) = was.get(version) else {
                    continue;
                };
                let another = differing(before, fields);
                if !another.is_empty() {
                    lines.push(format!("changed: {name} {version}: {}", another.join(", ")));
                }
            }
        }
        if lines.is_empty() && before != after {
            lines.push("changed: nothing of a package, only how the file is written".to_owned());
        }
        Self { lines }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

type Fields = BTreeMap<String, Value>;

/// Name, version, and what the bill tells of it.
fn packages(bill: &str) -> BTreeMap<String, BTreeMap<String, Fields>> {
    let bill: Value = serde_json::from_str(bill).unwrap_or_default();
    let list = |name: &str| {
        bill.get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let text = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut needs: BTreeMap<String, Value> = list("dependencies")
        .into_iter()
        .map(|one| {
            (
                text(&one, "ref"),
                one.get("dependsOn").cloned().unwrap_or_default(),
            )
        })
        .collect();
    let mut packages: BTreeMap<String, BTreeMap<String, Fields>> = BTreeMap::new();
    for one in list("components") {
        let mut fields: Fields = one.as_object().cloned().unwrap_or_default().into_iter().collect();
        if let Some(needs) = needs.remove(&text(&one, "bom-ref")) {
            fields.insert("dependsOn".to_owned(), needs);
        }
        packages
            .entry(text(&one, "name"))
            .or_default()
            .insert(text(&one, "version"), fields);
    }
    packages
}

/// What is told differently, in words.
fn differing(before: &Fields, after: &Fields) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| match name.as_str() {
            "licenses" => "its licence".to_owned(),
            "hashes" => "its sum".to_owned(),
            "dependsOn" => "what it needs".to_owned(),
            "scope" => "whether it is shipped".to_owned(),
            other => other.to_owned(),
        })
        .collect()
}
