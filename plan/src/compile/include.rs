//! A config, what it includes and what the command line adds, as one.
//!
//! A file that is included more than once counts once, at its first place. What a file includes stands before it, so that its own `vars` win
//! over theirs, and those of a later file over those of an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use super::given::{self, Given};
use super::{Sources, check, content, settings};
use writ_protocol::digest::Digest;

use crate::config::{Config, Fragment, Item};
use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::template;
use crate::yaml::read::{Anything, Entries, FromNode as _, Text};
use crate::yaml::{self, CONFIG_BYTES_MAX, Key, Node};

/// Most files that a config includes, those that included ones include counted.
const FILES_MAX: usize = 64;
/// Deepest nesting of includes.
const DEPTH_MAX: usize = 8;

/// A config with what it includes.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The config's own tree.
    pub(crate) root: Node,
    /// What it includes, in the order in which values replace each other.
    fragments: Vec<Fragment>,
    /// What the command line adds.
    given: Vec<(Layer, (Key, Node))>,
    /// The folders of the sink's texts, by their numbers.
    pub(super) folders: Vec<String>,
    /// Files that are included and not there, with the place that names them first.
    pub(super) missing: BTreeMap<String, Mark>,
    /// Whether all of it could be read; without the rest nobody can tell which values and resources there are.
    pub(super) is_whole: bool,
}

impl Loaded {
    /// All resources.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        let more = self
            .fragments
            .iter()
            .flat_map(|one| one.resources.iter().flatten());
        self.config.resources.iter().flatten().chain(more)
    }

    /// All values: a later one stands in place of an earlier one of the same name.
    pub(super) fn vars(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.layers().map(|(_, key, node)| (key, node))
    }

    /// All values with what they stand in, in the same order.
    pub(super) fn layers(&self) -> impl Iterator<Item = (Layer, &Key, &Node)> {
        let defaults = own(Layer::Defaults, self.config.defaults.as_ref());
        let included = self
            .fragments
            .iter()
            .flat_map(|one| own(Layer::Included, one.vars.as_ref()));
        let vars = own(Layer::Vars, self.config.vars.as_ref());
        let given = self.given.iter().map(|(layer, (key, node))| (*layer, key, node));
        defaults.chain(included).chain(vars).chain(given)
    }
}

fn own(layer: Layer, entries: Option<&Entries<Anything>>) -> impl Iterator<Item = (Layer, &Key, &Node)> {
    let entries = entries.into_iter().flat_map(|entries| &entries.0);
    entries.map(move |(key, value)| (layer, key, &value.0))
}

impl Loaded {
    /// Adds the values of the command line. One of a name that nobody has is a slip, and would change nothing.
    fn take<'a>(&mut self, given: &'a Given, sink: &mut Sink<'a>) {
        let before = sink.count();
        for file in &given.var_files {
            let values = given::of_file(file, sink).unwrap_or_default();
            self.given
                .extend(values.into_iter().map(|value| (Layer::File, value)));
        }
        self.is_whole &= sink.count() == before;
        let known: BTreeSet<String> = self.vars().map(|(key, _)| key.text.clone()).collect();
        for text in &given.vars {
            let Some((key, node)) = given::of_text(text, sink) else {
                continue;
            };
            if self.is_whole && !known.contains(&key.text) {
                let message = format!("the config has no variable `{}`", check::short(&key.text));
                let problem = Problem::new(code::GIVEN, key.mark, message)
                    .meant(&key.text, known.iter().map(String::as_str));
                sink.push(problem.hint("declare it with a value under `defaults`"));
            }
            self.given.push((Layer::Line, (key, node)));
        }
    }
}

/// Where values stand, what is replaced first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// `defaults` of the config.
    Defaults,
    /// `vars` of an included file.
    Included,
    /// `vars` of the config.
    Vars,
    /// A file that the command line names.
    File,
    /// A value on the command line.
    Line,
}

/// Reads a config and what it includes; `None` when the config itself has no tree.
pub(crate) fn load<'a>(sources: &'a Sources, given: &'a Given, sink: &mut Sink<'a>) -> Option<Loaded> {
    let root = yaml::parse(&sources.config_text, 0, sink)?;
    let config = Config::read(&root, sink)?;
    let mut loader = Loader {
        sources,
        sink,
        fragments: Vec::new(),
        folders: vec![String::new()],
        missing: BTreeMap::new(),
        states: BTreeMap::from([(sources.config_name.clone(), State::Open)]),
        path: vec![sources.config_name.clone()],
        bytes: sources.config_text.len(),
        is_full: false,
        is_whole: true,
        refused: settings::mode_of(&config, given.mode)
            .is_strict()
            .then_some(&given.dev_fast),
    };
    for file in &given.var_files {
        let bytes = file.text.as_bytes();
        if let Some(problem) = content::from_trial(&file.name, bytes, root.mark, loader.refused) {
            loader.sink.push(problem);
        }
    }
    loader.include(config.include.as_deref().unwrap_or_default(), "");
    let Loader {
        fragments,
        folders,
        missing,
        is_whole,
        ..
    } = loader;
    let is_whole = is_whole && missing.is_empty();
    let mut loaded = Loaded {
        config,
        root,
        fragments,
        given: Vec::new(),
        folders,
        missing,
        is_whole,
    };
    loaded.take(given, sink);
    Some(loaded)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// What it includes is being read.
    Open,
    Done,
}

struct Loader<'a, 'b> {
    sources: &'a Sources,
    sink: &'b mut Sink<'a>,
    fragments: Vec<Fragment>,
    folders: Vec<String>,
    missing: BTreeMap<String, Mark>,
    states: BTreeMap<String, State>,
    /// The files from the config to the one that is read.
    path: Vec<String>,
    bytes: usize,
    is_full: bool,
    is_whole: bool,
    /// What trial runs produced, where that is refused.
    refused: Option<&'a BTreeSet<Digest>>,
}

impl Loader<'_, '_> {
    fn include(&mut self, names: &[Text], folder: &str) {
        let before = self.sink.count();
        self.include_all(names, folder);
        // What was refused may have held anything.
        self.is_whole &= self.sink.count() == before;
    }

    fn include_all(&mut self, names: &[Text], folder: &str) {
        for text in names {
            if self.is_full {
                return;
            }
            if template::has_tags(&text.value) {
                let problem = Problem::new(
                    code::INCLUDE,
                    text.mark,
                    "the name of an included file is no template",
                );
                self.sink.push(
                    problem.hint("what is included decides the values, and so it cannot depend on them"),
                );
                continue;
            }
            let Some(name) = content::below(folder, &text.value) else {
                self.sink.push(content::outside(&text.value, text.mark));
                continue;
            };
            match self.states.get(&name) {
                Some(State::Done) => {}
                Some(State::Open) => self.refuse_circle(&name, text.mark),
                None => self.read(name, text.mark),
            }
        }
    }

    fn refuse_circle(&mut self, name: &str, mark: Mark) {
        let from = self.path.iter().skip_while(|one| *one != name);
        let circle: Vec<String> = from
            .map(|one| check::short(one))
            .chain([check::short(name)])
            .collect();
        let message = format!(
            "files include each other in a circle: {}",
            circle.join(" includes ")
        );
        self.sink
            .push(Problem::new(code::INCLUDE, mark, message).hint("remove one `include` of the circle"));
    }

    fn read(&mut self, name: String, mark: Mark) {
        if self.path.len() > DEPTH_MAX || self.states.len() > FILES_MAX {
            let message = format!(
                "a config includes at most {FILES_MAX} files, at most {DEPTH_MAX} of them inside each other"
            );
            self.sink
                .push(Problem::new(code::INCLUDE, mark, message).hint("put some of them together"));
            self.is_full = self.states.len() > FILES_MAX;
            return;
        }
        let Some((known, bytes)) = self.sources.files.get_key_value(&name) else {
            self.missing.entry(name).or_insert(mark);
            return;
        };
        if let Some(problem) = content::from_trial(&name, bytes, mark, self.refused) {
            self.sink.push(problem);
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > CONFIG_BYTES_MAX {
            let message = format!("the config and what it includes have more than {CONFIG_BYTES_MAX} bytes");
            let problem = Problem::new(code::TOO_LARGE, mark, message);
            self.sink.push(problem.hint("split the project"));
            self.is_full = true;
            return;
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            let message = format!("included file `{}` is not UTF-8 text", check::short(&name));
            self.sink.push(Problem::new(code::SYNTAX, mark, message));
            return;
        };
        let file = self.sink.add(known, text);
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        self.folders.push(folder.clone());
        self.states.insert(name.clone(), State::Open);
        let tree = yaml::parse(text, file, self.sink);
        if let Some(fragment) = tree.and_then(|tree| Fragment::from_node(&tree, "include", self.sink)) {
            self.path.push(name.clone());
            self.include(fragment.include.as_deref().unwrap_or_default(), &folder);
            self.path.pop();
            self.fragments.push(fragment);
        } else {
            self.is_whole = false;
        }
        self.states.insert(name, State::Done);
    }
}
