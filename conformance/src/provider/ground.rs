//! What every case of a kind stands on: the examples filled in, a place that begins each case empty, and the three questions with what may go wrong.

use std::path::PathBuf;

use serde_json::Value;
use writ_protocol::provider::{Change, Problem, Subject, ToProvider, Welcome};

use super::case::{Case, Finding, Verdict};
use super::examples::{Examples, Kind, Spec};
use super::place::Place;
use super::talk::Talk;
use super::tree::Tree;

/// What a provider is told of its time, milliseconds.
const WALL_MS: u64 = 110_000;
/// A name like any other.
const NAME: &str = "plain";

pub(super) struct Ground<'a> {
    pub(super) place: &'a Place,
    pub(super) kind: &'a Kind,
    name: &'a str,
    examples: &'a Examples,
}

/// A thing brought into a state.
pub(super) struct Converged {
    pub(super) before: Value,
    pub(super) changes: Vec<Change>,
    pub(super) after: Value,
}

impl<'a> Ground<'a> {
    pub(super) const fn new(place: &'a Place, name: &'a str, kind: &'a Kind, examples: &'a Examples) -> Self {
        Self {
            place,
            kind,
            name,
            examples,
        }
    }

    /// Makes what the examples need.
    pub(super) fn prepare(&self) -> Result<(), Finding> {
        self.script(self.kind.setup.as_deref())
    }

    /// Runs a case from an empty place.
    pub(super) fn run(&self, case: &Case) -> Result<Verdict, Finding> {
        self.reset()
            .map_err(|finding| format!("before it began: {finding}"))?;
        (case.run)(self).map_err(|finding| match self.place.said() {
            said if said.is_empty() => finding,
            said => format!("{finding}; on standard error it said: {said}"),
        })
    }

    fn script(&self, script: Option<&str>) -> Result<(), Finding> {
        script.map_or(Ok(()), |script| {
            self.place.sh(&script.replace("{{dir}}", &self.place.dir()))
        })
    }

    /// Takes everything back that a case may have done.
    pub(super) fn reset(&self) -> Result<(), Finding> {
        if !self.place.is_lab() {
            self.place
                .wipe()
                .map_err(|error| format!("the folder cannot be emptied: {error}"))?;
            return self.prepare();
        }
        match &self.kind.absent {
            Some(absent) => self.converge(&mut self.talk()?, absent).map(drop),
            None => self.script(self.kind.reset.as_deref()),
        }
    }

    /// A new life of the provider.
    pub(super) fn talk(&self) -> Result<Talk, Finding> {
        self.greeted().map(|(talk, _)| talk)
    }

    /// A new life of the provider, and its welcome, which names the kind.
    pub(super) fn greeted(&self) -> Result<(Talk, Welcome), Finding> {
        let (talk, welcome) = Talk::greeted(self.place)?;
        if welcome.kinds.iter().all(|kind| kind.name != self.name) {
            return Err(format!(
                "the examples have a kind {:?}, which its welcome does not name",
                self.name
            ));
        }
        Ok((talk, welcome))
    }

    pub(super) const fn kind_name(&self) -> &str {
        self.name
    }

    /// A question's subject, its placeholders filled in.
    pub(super) fn subject(&self, spec: &Spec) -> Subject {
        self.named(spec, NAME)
    }

    pub(super) fn named(&self, spec: &Spec, name: &str) -> Subject {
        Subject {
            id: format!("{}:{name}", self.name),
            kind: self.name.to_owned(),
            spec: self.examples.filled(spec, &self.place.dir(), name),
            notified: false,
            wall_ms: WALL_MS,
        }
    }

    pub(super) fn lend(&self, talk: &mut Talk) -> Result<(), Finding> {
        for (digest, bytes) in self.examples.lent() {
            let bytes = bytes.to_vec();
            talk.say(&ToProvider::Lend { digest, bytes })?;
        }
        Ok(())
    }

    pub(super) fn observe(&self, talk: &mut Talk, spec: &Spec) -> Result<Value, Finding> {
        self.lend(talk)?;
        talk.observe(self.subject(spec))?
            .map_err(|problem| told("observe", &problem))
    }

    pub(super) fn diff(&self, talk: &mut Talk, spec: &Spec, seen: &Value) -> Result<Vec<Change>, Finding> {
        self.lend(talk)?;
        talk.diff(self.subject(spec), seen.clone())?
            .map_err(|problem| told("diff", &problem))
    }

    pub(super) fn apply(&self, talk: &mut Talk, spec: &Spec, changes: &[Change]) -> Result<(), Finding> {
        self.lend(talk)?;
        talk.apply(self.subject(spec), changes.to_vec())?
            .map_err(|problem| told("apply", &problem))
    }

    /// Brings the thing into a state and holds the provider to it: then nothing differs.
    pub(super) fn converge(&self, talk: &mut Talk, spec: &Spec) -> Result<Converged, Finding> {
        let before = self.observe(talk, spec)?;
        let changes = self.diff(talk, spec, &before)?;
        if !changes.is_empty() {
            self.apply(talk, spec, &changes)?;
        }
        let after = self.observe(talk, spec)?;
        match self.diff(talk, spec, &after)?.first() {
            None => Ok(Converged {
                before,
                changes,
                after,
            }),
            Some(left) => Err(format!(
                "after an apply {} is still {:?} where {:?} is wanted",
                left.attribute, left.got, left.want
            )),
        }
    }

    /// What the watched files are now.
    pub(super) fn tree(&self) -> Result<Tree, Finding> {
        let dir = self.place.dir();
        let watched = self
            .kind
            .watch
            .iter()
            .map(|path| self.place.outside(&path.replace("{{dir}}", &dir)));
        Tree::of(&watched.collect::<Vec<PathBuf>>())
    }

    /// Does something that must not have an effect.
    pub(super) fn quietly<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, Finding>,
    ) -> Result<T, Finding> {
        let before = self.tree()?;
        let done = work()?;
        match before.difference(&self.tree()?) {
            None => Ok(done),
            Some(difference) => Err(format!("{what} had an effect: {difference}")),
        }
    }
}

pub(super) fn told(what: &str, problem: &Problem) -> Finding {
    format!(
        "{what} came to nothing ({:?}): {}",
        problem.reason, problem.detail
    )
}
