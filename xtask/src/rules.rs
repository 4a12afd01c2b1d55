//! The rules as data: `xtask/arch.toml` (who may name whom) and `xtask/tidy.toml` (sizes, names, words), read into types.
//!
//! Nothing is decided here; `tidy` and `supply` hold the checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The file of arrows, below the root.
pub(crate) const ARCH: &str = "xtask/arch.toml";
/// The file of sizes, names and words, below the root.
pub(crate) const TIDY: &str = "xtask/tidy.toml";

/// What `xtask/arch.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arch {
    /// Package (without `writ-`) → our packages it may name; `*` for all.
    pub(crate) allow: BTreeMap<String, Vec<String>>,
    /// Our packages that every package may name in its dev-dependencies.
    pub(crate) allow_in_tests: Vec<String>,
    /// Folder → room → rooms it may name.
    pub(crate) rooms: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Words that may stand only in some places.
    pub(crate) token: Vec<Token>,
    /// Third-party packages that only some of ours may name.
    pub(crate) owner: Vec<Owner>,
    /// Third-party packages that some of ours may never name.
    pub(crate) pure: Pure,
    /// What may come from outside.
    pub(crate) supply: Supply,
}

/// Where a word may stand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// The words, as the code writes them.
    pub(crate) tokens: Vec<String>,
    /// The only places; with neither list, nowhere.
    #[serde(default)]
    pub(crate) only_in: Vec<String>,
    /// The places where it may not stand; elsewhere it may.
    #[serde(default)]
    pub(crate) not_in: Vec<String>,
    /// Look inside string literals instead of at the code.
    #[serde(default)]
    pub(crate) strings: bool,
    /// Tests are held to it too.
    #[serde(default)]
    pub(crate) tests: bool,
    /// Why, for the person who meets the finding.
    pub(crate) reason: String,
}

/// A third-party package with an owner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    /// The third-party packages.
    pub(crate) packages: Vec<String>,
    /// Ours that may name them.
    pub(crate) owners: Vec<String>,
    /// Why.
    pub(crate) reason: String,
}

/// Packages that do no IO.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pure {
    /// Ours that are pure.
    pub(crate) packages: Vec<String>,
    /// What they may not name.
    pub(crate) never: Vec<String>,
    /// Why.
    pub(crate) reason: String,
}

/// Rules for what comes from outside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Supply {
    /// SPDX identifiers that may be linked.
    pub(crate) licences: Vec<String>,
    /// Packages that may not be in the tree at all.
    pub(crate) ban: Vec<Ban>,
    /// The advisory database, relative to the root.
    pub(crate) advisory_db: String,
    /// Advisories that are known and accepted.
    #[serde(default)]
    pub(crate) accepted: Vec<Accepted>,
}

/// Packages that may not be in the tree.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ban {
    /// Their names.
    pub(crate) packages: Vec<String>,
    /// Why, and what to use instead.
    pub(crate) reason: String,
}

/// An advisory that does not reach us.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accepted {
    /// The advisory's id.
    pub(crate) id: String,
    /// Why it does not reach us.
    pub(crate) reason: String,
}

/// What `xtask/tidy.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tidy {
    /// Lines of a Rust file, whatever it holds.
    pub(crate) lines_max: usize,
    /// Files that may be longer.
    #[serde(default)]
    pub(crate) long: Vec<Long>,
    /// File stems that say nothing.
    pub(crate) empty_names: Vec<String>,
    /// Words that may stand nowhere, or not everywhere, in code.
    pub(crate) token: Vec<Token>,
    /// Words that may stand in no file at all.
    pub(crate) text: Vec<Text>,
    /// Names of files that are not ours to word.
    pub(crate) text_skip: Vec<String>,
}

/// A file that may be longer than the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Long {
    /// Its path.
    pub(crate) path: String,
    /// Its own cap.
    pub(crate) lines_max: usize,
    /// Why.
    pub(crate) reason: String,
}

/// Words that may stand in no file; written in pieces, so that the rule does not break itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    /// Each word as the pieces it is made of.
    pub(crate) pieces: Vec<Vec<String>>,
    /// The words begin a path: something like a path before them makes them another.
    #[serde(default)]
    pub(crate) paths: bool,
    /// Why.
    pub(crate) reason: String,
}

/// Reads `xtask/arch.toml`.
pub(crate) fn arch(root: &Path) -> anyhow::Result<Arch> {
    load(root, ARCH)
}

/// Reads `xtask/tidy.toml`.
pub(crate) fn tidy(root: &Path) -> anyhow::Result<Tidy> {
    load(root, TIDY)
}

fn load<T: DeserializeOwned>(root: &Path, name: &str) -> anyhow::Result<T> {
    let text = fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"))?;
    toml::from_str(&text).with_context(|| format!("in {name}"))
}
