//! `cargo xtask sbom`: the bill of materials of the workspace in `docs/sbom.cdx.json`, and the gate that holds it to what is built.
//!
//! CycloneDX 1.5, made of cargo's graph and the sums in `Cargo.lock`: the same bytes on every machine and on every day, so no time, no serial
//! number, no path and no registry in it. What a change brings in from outside is then a difference in a file that a review reads.

mod changes;
mod graph;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::place::Place;
use changes::Changes;

/// Where it is checked in, below the root.
const FILE: &str = "docs/sbom.cdx.json";
/// What writes it.
const COMMAND: &str = "cargo xtask sbom";

/// What of it to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only compare the file with what would be written
    #[arg(long)]
    check: bool,
}

/// Writes the bill, and says what is another.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    if options.check {
        println!("{}", check(place)?);
        return Ok(ExitCode::SUCCESS);
    }
    let made = make(place)?;
    let path = place.root.join(FILE);
    let before = fs::read_to_string(&path).unwrap_or_default();
    let changes = Changes::between(&before, &made);
    fs::write(&path, made).with_context(|| format!("writing {FILE}"))?;
    print!("{changes}");
    println!("{FILE} is written");
    Ok(ExitCode::SUCCESS)
}

/// Compares what is checked in with what is made; a line for the summary when they are the same.
///
/// # Errors
/// They differ: which packages came, went or changed, and the command that writes the file.
pub(crate) fn check(place: &Place) -> anyhow::Result<String> {
    let made = make(place)?;
    let there = match fs::read_to_string(place.root.join(FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("reading {FILE}"));
        }
        text => text.unwrap_or_default(),
    };
    verdict(&there, &made)?;
    Ok(format!("{FILE} is what is built"))
}

fn verdict(there: &str, made: &str) -> anyhow::Result<()> {
    if there == made {
        return Ok(());
    }
    let changes = Changes::between(there, made);
    bail!(
        "{FILE} is not what is built:\n{changes}    if that is meant, `{COMMAND}` writes it, and it is committed with the change"
    );
}

fn make(place: &Place) -> anyhow::Result<String> {
    let lock = fs::read_to_string(place.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    text(&bill(&graph::read(&place.metadata()?, &sums(&lock)?)?))
}

fn text(bill: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&sorted(bill))? + "\n")
}

/// The names of every object in their order. A package that is built beside us may have `serde_json` keep the order in which they were written.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)));
            Value::Object(fields.collect())
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The lock file, as far as it is read here.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// SHA-256 of each package that comes from outside, by its reference.
fn sums(lock: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let lock: Lock = toml::from_str(lock).context("in Cargo.lock")?;
    let sums = lock
        .package
        .into_iter()
        .filter_map(|package| Some((reference(&package.name, &package.version), package.checksum?)));
    Ok(sums.collect())
}

/// The package URL by which everything in the bill is named.
fn reference(name: &str, version: &str) -> String {
    // The one character of a version that a package URL does not take as it is.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// A package as the bill tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Component {
    name: String,
    version: String,
    licence: Option<String>,
    sum: Option<String>,
    /// Ours.
    is_ours: bool,
    /// It is part of a program that we ship.
    is_shipped: bool,
    /// What it is made with: references.
    needs: Vec<String>,
}

fn bill(components: &BTreeMap<String, Component>) -> Value {
    let listed: Vec<Value> = components
        .iter()
        .map(|(name, one)| component(name, one))
        .collect();
    let needs: Vec<Value> = components
        .iter()
        .map(|(name, one)| json!({"ref": name, "dependsOn": one.needs}))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "writ", "name": "writ"},
            "properties": [{"name": "writ:command", "value": COMMAND}],
        },
        "components": listed,
        "dependencies": needs,
    })
}

fn component(reference: &str, one: &Component) -> Value {
    let mut value = json!({
        "type": if one.is_ours { "application" } else { "library" },
        "bom-ref": reference,
        "name": one.name,
        "version": one.version,
        "purl": reference,
        "scope": if one.is_shipped { "required" } else { "excluded" },
    });
    if let Some(fields) = value.as_object_mut() {
        if let Some(licence) = &one.licence {
            fields.insert("licenses".to_owned(), json!([{"expression": licence}]));
        }
        if let Some(sum) = &one.sum {
            fields.insert("hashes".to_owned(), json!([{"alg": "SHA-256", "content": sum}]));
        }
    }
    value
}

#[cfg(test)]
mod tests;
