//! What the command line adds to a config: values, and which part of it is meant.
//!
//! It travels with the config's files, under a name that no config can write, so that whoever has the files has all that the graph is made
//! from, and the config's digest covers it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::graph::SELECTION_WORDS_MAX;

use super::Sources;
use crate::diagnostic::{Diagnostic, Mark, Problem, Sink, SourceText, code};
use crate::yaml::read::{Anything, Entries, FromNode as _};
use crate::yaml::{self, Key, Kind, Node};

/// Where it stands among the files: no clean path, and so the name of no other file.
const NAME: &str = "./given";
/// Most values that are given one by one.
const VARS_MAX: usize = 256;
/// Most files of values.
const FILES_MAX: usize = 16;
/// Most digests of what trial runs produced.
const DIGESTS_MAX: usize = 65_536;
/// Longest text of one value or word, bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What the command line adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Given {
    /// Files of values, the later ones before the earlier ones.
    pub var_files: Vec<VarFile>,
    /// Values as `name=value`, before those of any file.
    pub vars: Vec<String>,
    /// Ids or families of the resources that are meant, and nothing but these and what belongs to them.
    pub targets: Vec<String>,
    /// Tags of the resources that are meant.
    pub tags: Vec<String>,
    /// Tags of resources that are left out, and with them what depends on these.
    pub skip_tags: Vec<String>,
    /// How a run is carried out, instead of what the config says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RunMode>,
    /// Digests of files that came of `dev-fast` runs, as far as they are known: no strict plan takes one.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub dev_fast: BTreeSet<Digest>,
}

/// A file of values: a mapping of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VarFile {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Sources {
    /// Adds what the command line says; instead of what was added before.
    pub fn give(&mut self, given: &Given) {
        self.files.remove(NAME);
        if *given != Given::default()
            && let Ok(bytes) = serde_json::to_vec(given)
        {
            self.files.insert(NAME.to_owned(), bytes);
        }
    }

    /// What the command line adds.
    pub(crate) fn given(&self) -> Result<Given, Vec<Diagnostic>> {
        let Some(bytes) = self.files.get(NAME) else {
            return Ok(Given::default());
        };
        let given: Result<Given, String> = serde_json::from_slice(bytes).map_err(|error| error.to_string());
        given.and_then(Given::bounded).map_err(|why| {
            let message = format!("what the command line adds cannot be read: {why}");
            let problem = Problem::new(code::GIVEN, Mark::default(), message);
            vec![problem.into_diagnostic(&SourceText::new(NAME, ""))]
        })
    }
}

impl Given {
    fn bounded(self) -> Result<Self, String> {
        if self.vars.len() > VARS_MAX || self.var_files.len() > FILES_MAX {
            return Err(format!(
                "more than {VARS_MAX} values or {FILES_MAX} files of them"
            ));
        }
        if self.dev_fast.len() > DIGESTS_MAX {
            return Err(format!("more than {DIGESTS_MAX} digests of trial runs"));
        }
        let words = [&self.targets, &self.tags, &self.skip_tags];
        if words.iter().any(|words| words.len() > SELECTION_WORDS_MAX) {
            return Err(format!("a selection of more than {SELECTION_WORDS_MAX} words"));
        }
        if words
            .into_iter()
            .chain([&self.vars])
            .flatten()
            .any(|text| text.len() > TEXT_BYTES_MAX)
        {
            return Err(format!("a text longer than {TEXT_BYTES_MAX} bytes"));
        }
        Ok(self)
    }
}

/// Values of one place, with the place.
pub(super) type Values = Vec<(Key, Node)>;

/// The values of one file; `None` after a problem.
pub(super) fn of_file<'a>(file: &'a VarFile, sink: &mut Sink<'a>) -> Option<Values> {
    let number = sink.add(&file.name, &file.text);
    let tree = yaml::parse(&file.text, number, sink)?;
    let values = Entries::<Anything>::from_node(&tree, "a file of values", sink)?;
    Some(values.0.into_iter().map(|(key, value)| (key, value.0)).collect())
}

/// One value given as `name=value`; `None` after a problem.
pub(super) fn of_text<'a>(text: &'a str, sink: &mut Sink<'a>) -> Option<(Key, Node)> {
    let file = sink.add("--var", text);
    let mark = |column: usize, length: usize| Mark {
        file,
        line: 1,
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        length: u32::try_from(length.max(1)).unwrap_or(u32::MAX),
    };
    let Some((name, value)) = text.split_once('=') else {
        let problem = Problem::new(
            code::GIVEN,
            mark(0, text.chars().count()),
            "a value is given as `name=value`",
        );
        sink.push(problem.hint("write `--var port=8080`"));
        return None;
    };
    let letters = name.chars().count();
    let key = Key {
        mark: mark(0, letters),
        text: name.to_owned(),
    };
    let node = Node {
        mark: mark(letters + 1, value.chars().count()),
        kind: Kind::Scalar {
            text: value.to_owned(),
            plain: !value.is_empty(),
        },
    };
    Some((key, node))
}
