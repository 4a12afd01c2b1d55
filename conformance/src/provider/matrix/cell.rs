//! One cell: a host is brought into a state, asked for another, and looked at from outside all the while.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use writ_protocol::provider::{Change, Subject, ToProvider};

use super::report::Ran;
use super::table::{Case, Row, Table};
use crate::provider::case::Finding;
use crate::provider::examples::{Examples, Spec};
use crate::provider::ground::told;
use crate::provider::place::Place;
use crate::provider::talk::Talk;
use crate::provider::tree::Tree;

/// What a provider is told of its time, milliseconds.
const WALL_MS: u64 = 110_000;
/// Attributes that say that a thing comes, goes or becomes another: all its other attributes come and go with it.
const WHOLE: [&str; 2] = ["kind", "state"];

/// A provider on a platform.
pub(super) struct Bench<'a> {
    place: &'a Place,
    row: &'a Row,
    examples: Examples,
}

impl<'a> Bench<'a> {
    pub(super) fn new(place: &'a Place, table: &Table, row: &'a Row) -> Self {
        let examples = table.examples();
        Self { place, row, examples }
    }

    pub(super) fn prepare(&self) -> Result<(), Finding> {
        self.place.sh(&self.here(&self.row.setup))
    }

    pub(super) fn run(&self, case: &Case) -> Result<Ran, Finding> {
        self.place.sh(&self.here(&case.begin))?;
        let mut talk = Talk::greeted(self.place)?.0;
        if let Some(from) = &case.from {
            let changes = self.check(&mut talk, from)?;
            if !changes.is_empty() {
                self.apply(&mut talk, from, &changes)?;
            }
            let left = self.check(&mut talk, from)?;
            if !left.is_empty() {
                return Err(format!("before it began, this was left: {:?}", names(&left)));
            }
        }
        let (tree, before) = (self.tree()?, self.witness()?);
        let changes = self.check(&mut talk, &case.to)?;
        let again = self.check(&mut talk, &case.to)?;
        if let Some(difference) = tree.difference(&self.tree()?) {
            return Err(format!("a check had an effect: {difference}"));
        }
        if changes != again || changes.is_empty() {
            let (one, other) = (names(&changes), names(&again));
            return Err(format!("two checks said {one:?} and {other:?}"));
        }
        self.apply(&mut talk, &case.to, &changes)?;
        let (tree, after) = (self.tree()?, self.witness()?);
        let predicted = whole(names(&changes));
        let done = whole(differing(&before, &after));
        // A second apply is what the first was: of all that a check says.
        let left = self.check(&mut talk, &case.to)?;
        self.apply(&mut talk, &case.to, &left)?;
        let moved = tree.difference(&self.tree()?);
        let is_same = self.witness()? == after;
        Ok(Ran {
            idempotent: left.is_empty() && moved.is_none() && is_same,
            again: moved.or_else(|| (!left.is_empty()).then(|| format!("still to do: {:?}", names(&left)))),
            predicted,
            done,
        })
    }

    /// What a check says.
    fn check(&self, talk: &mut Talk, spec: &Spec) -> Result<Vec<Change>, Finding> {
        let seen: Value = {
            self.lend(talk)?;
            let seen = talk.observe(self.subject(spec))?;
            seen.map_err(|problem| told("observe", &problem))?
        };
        self.lend(talk)?;
        let changes = talk.diff(self.subject(spec), seen)?;
        changes.map_err(|problem| told("diff", &problem))
    }

    fn apply(&self, talk: &mut Talk, spec: &Spec, changes: &[Change]) -> Result<(), Finding> {
        self.lend(talk)?;
        let applied = talk.apply(self.subject(spec), changes.to_vec())?;
        applied.map_err(|problem| told("apply", &problem))
    }

    fn lend(&self, talk: &mut Talk) -> Result<(), Finding> {
        for (digest, bytes) in self.examples.lent() {
            let bytes = bytes.to_vec();
            talk.say(&ToProvider::Lend { digest, bytes })?;
        }
        Ok(())
    }

    fn subject(&self, spec: &Spec) -> Subject {
        Subject {
            id: format!("{}:matrix", self.row.kind),
            kind: self.row.kind.clone(),
            spec: self.examples.filled(spec, &self.place.dir(), "matrix"),
            notified: false,
            wall_ms: WALL_MS,
        }
    }

    fn here(&self, script: &str) -> String {
        script.replace("{{dir}}", &self.place.dir())
    }

    fn tree(&self) -> Result<Tree, Finding> {
        let watched = self.row.watch.iter();
        let watched = watched.map(|path| self.place.outside(&self.here(path)));
        Tree::of(&watched.collect::<Vec<_>>())
    }

    fn witness(&self) -> Result<BTreeMap<String, String>, Finding> {
        let said = self.place.ask(&self.here(&self.row.witness))?;
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            (name.to_owned(), value.to_owned())
        };
        Ok(said.lines().map(pair).collect())
    }
}

fn names(changes: &[Change]) -> BTreeSet<String> {
    changes.iter().map(|change| change.attribute.clone()).collect()
}

fn differing(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let all = before.keys().chain(after.keys());
    all.filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect()
}

/// Of a thing that comes or goes only that is said.
fn whole(names: BTreeSet<String>) -> BTreeSet<String> {
    let all = WHOLE.iter().find(|all| names.contains(**all));
    all.map_or(names, |all| BTreeSet::from([(*all).to_owned()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_comes_brings_its_attributes_and_what_changes_names_them() {
        assert_eq!(whole(set(&["state", "uid", "shell"])), set(&["state"]));
        assert_eq!(whole(set(&["uid", "shell"])), set(&["uid", "shell"]));
        let at = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(own).collect()
        };
        let (before, after) = (
            at(&[("uid", "1"), ("shell", "a")]),
            at(&[("uid", "1"), ("shell", "b"), ("home", "/")]),
        );
        assert_eq!(differing(&before, &after), set(&["shell", "home"]));
    }
}
