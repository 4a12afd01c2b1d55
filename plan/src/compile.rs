//! Config to graph: every value gets its meaning, every mistake its diagnostic, every order of the list the same bytes.
//!
//! `settings` reads what holds for all resources, `resource` one item, `order` the dependencies among them. All of them report into one
//! sink and go on, so that an author sees all mistakes at once.

pub(crate) mod check;
mod condition;
mod content;
mod explain;
mod external;
mod family;
mod given;
pub(crate) mod include;
mod order;
mod resource;
mod select;
mod settings;
mod shell;
mod system;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use writ_protocol::codec::CodecError;
use writ_protocol::digest::{Digest, Hasher};
use writ_protocol::exec::{Limits, StepMode};
use writ_protocol::graph::{Condition, GRAPH_VERSION, Graph, GraphError, Spec};
use writ_protocol::limits::RESOURCES_MAX;

use crate::config::{Head, Item};
use crate::diagnostic::{Diagnostic, Mark, Problem, Sink, code};
use crate::rollout::Rollout;
use crate::selector::Selector;
use crate::template::Renderer;
use crate::yaml;
use content::Contents;
pub use explain::{Explained, Place, Replaced, values};
use external::Providers;
pub use given::{Given, VarFile};
use include::Loaded;
use select::Known;

/// A config and the files it names.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The config's file name, for messages.
    pub config_name: String,
    /// The config.
    pub config_text: String,
    /// Included files, templates, sources and programs of providers by their clean path relative to the config's folder; [`files_missing`] says which.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Sources {
    /// Digest over the config's text and all files with their names: what a plan was made from.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(bytes);
        };
        add(self.config_text.as_bytes());
        for (name, content) in &self.files {
            add(name.as_bytes());
            add(content);
        }
        hasher.finish()
    }
}

/// What one run may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Millionths of the currency's unit.
    pub amount_micros: u64,
    /// ISO 4217 code.
    pub currency: String,
}

/// A config that holds together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What is managed together.
    pub project: String,
    /// The hosts it is for.
    pub targets: Selector,
    /// What one run may cost, over all its hosts.
    pub budget: Option<Budget>,
    /// How an apply spreads over its hosts.
    pub rollout: Option<Rollout>,
    /// The resources, in their order; `graph.encode()` succeeds.
    pub graph: Graph,
    /// Contents of files, by digest: exactly those that the graph names.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// [`Sources::digest`].
    pub config_digest: Digest,
}

/// Compiles a config.
///
/// # Errors
/// Every problem found, in the order of the text; nothing is half compiled.
pub fn compile(sources: &Sources) -> Result<Compiled, Vec<Diagnostic>> {
    let given = sources.given()?;
    let mut sink = Sink::new(&sources.config_name, &sources.config_text);
    match compile_into(sources, &given, &mut sink) {
        Some(compiled) if sink.is_empty() => Ok(compiled),
        _ => Err(sink.into_sorted()),
    }
}

/// What compiling says of a config that is known to have problems.
fn problems_of(sources: &Sources) -> Vec<Diagnostic> {
    compile(sources).err().unwrap_or_default()
}

/// The files (included ones, templates, sources and programs of providers) that a config names: relative clean paths, sorted, each once. As long as it includes
/// files, only these: what they hold decides what else is named, and [`files_missing`] goes on from there.
///
/// # Errors
/// Problems that keep the list from being made.
pub fn files_needed(config_name: &str, config_text: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
    files_missing(&Sources {
        config_name: config_name.to_owned(),
        config_text: config_text.to_owned(),
        files: BTreeMap::new(),
    })
}

/// The files that a config names, directly or by what it includes, and that are not there yet. To be asked again when they are.
///
/// # Errors
/// Problems that keep the list from being made.
pub fn files_missing(sources: &Sources) -> Result<Vec<String>, Vec<Diagnostic>> {
    let given = sources.given()?;
    let mut sink = Sink::new(&sources.config_name, &sources.config_text);
    let files = include::load(sources, &given, &mut sink).map(|loaded| {
        if !loaded.missing.is_empty() {
            return loaded.missing.into_keys().collect();
        }
        let mut renderer = Renderer::new(loaded.vars(), &mut sink);
        let mut names = content::names(&loaded, &mut renderer, &mut sink);
        names.retain(|name| !sources.files.contains_key(name));
        names
    });
    match files {
        Some(files) if sink.is_empty() => Ok(files),
        _ => Err(sink.into_sorted()),
    }
}

/// Ids of other resources, with the places where they are named.
type Named = Vec<(String, Mark)>;

/// A resource on its way into the graph.
struct Draft {
    id: String,
    mark: Mark,
    depends_on: Named,
    notify: Named,
    when: Option<Condition>,
    tags: BTreeSet<String>,
    limits: Limits,
    mode: StepMode,
    spec: Spec,
}

/// What all resources share while they are read.
struct Room<'a, 'b> {
    sink: &'b mut Sink<'a>,
    renderer: Renderer,
    contents: Contents<'a>,
    /// The folders of the texts, by their numbers.
    folders: Vec<String>,
    limits: Limits,
    providers: Providers,
}

fn compile_into<'a>(sources: &'a Sources, given: &'a Given, sink: &mut Sink<'a>) -> Option<Compiled> {
    let loaded = include::load(sources, given, sink)?;
    for (name, mark) in &loaded.missing {
        sink.push(content::missing(name, *mark, &sources.files));
    }
    let (config, root) = (&loaded.config, &loaded.root);
    settings::check_version(config, sink);
    let project = settings::project(config, sink);
    let targets = settings::targets(config, key_mark(root, "targets"), sink);
    let budget = settings::budget(config, sink);
    let rollout = settings::rollout(config, key_mark(root, "rollout"), sink);
    settings::check_mode(config, sink);
    let mode = settings::mode_of(config, given.mode);
    let limits = settings::limits(config.limits.as_ref(), Limits::default(), sink);
    if !loaded.is_whole {
        return None;
    }
    let renderer = Renderer::new(loaded.vars(), sink);
    check_count(&loaded, sink)?;
    let mut room = Room {
        sink,
        renderer,
        contents: Contents::new(&sources.files, mode.is_strict().then_some(&given.dev_fast)),
        folders: loaded.folders.clone(),
        limits,
        providers: Providers::new(),
    };
    room.providers = external::providers(config, &mut room);
    let found = family::read(loaded.items(), &mut room)?;
    let Room { sink, contents, .. } = room;
    let known = Known::of(&found);
    let resources = order::arrange(found, sink);
    if !sink.is_empty() {
        return None;
    }
    let (resources, selection) = select::choose(resources, &known, given, sink)?;
    let graph = Graph {
        version: GRAPH_VERSION,
        project: project.clone()?,
        resources,
        selection,
        mode,
    };
    if let Err(error) = graph.encode() {
        sink.push(graph_problem(&error, key_mark(root, "resources")));
        return None;
    }
    let named = graph.blobs();
    let mut blobs = contents.into_blobs();
    blobs.retain(|digest, _| named.contains_key(digest));
    Some(Compiled {
        project: project?,
        targets: targets?,
        budget,
        rollout,
        graph,
        blobs,
        config_digest: sources.digest(),
    })
}

/// Checks that there is something to do, and not too much.
fn check_count(loaded: &Loaded, sink: &mut Sink<'_>) -> Option<()> {
    let at = key_mark(&loaded.root, "resources");
    let count = loaded.items().count();
    if count == 0 && loaded.config.resources.is_some() {
        let message = "`resources` is empty, so there is nothing to do";
        sink.push(Problem::new(code::MISSING_FIELD, at, message));
    }
    if count > RESOURCES_MAX {
        let message = format!("the config has {count} resources, at most {RESOURCES_MAX} are accepted");
        sink.push(Problem::new(code::TOO_MANY, at, message).hint("split the project"));
        return None;
    }
    Some(())
}

fn graph_problem(error: &GraphError, at: Mark) -> Problem {
    match error {
        GraphError::Codec(CodecError::TooLong { len, max, .. }) => {
            let message = format!("the resources make a graph of {len} bytes, at most {max} are accepted");
            Problem::new(code::CONTENT_TOO_LARGE, at, message).hint("split the project")
        }
        GraphError::Codec(error) => {
            Problem::new(code::GRAPH, at, format!("the config makes no graph: {error}"))
        }
        GraphError::Rule { .. } => {
            Problem::new(code::GRAPH, at, format!("the config makes no graph: {error}"))
        }
    }
}

fn key_mark(root: &yaml::Node, key: &str) -> Mark {
    root.get(key).map_or(root.mark, |(key, _)| key.mark)
}

/// One resource; `None` after problems were reported.
fn read_item(item: &Item, head: &Head<'_>, room: &mut Room<'_, '_>) -> Option<Draft> {
    let when = head.when.and_then(|text| condition::read(text, room));
    let tags = select::tags(head.tags, room);
    let draft = match item {
        Item::File(file) => resource::file(file, room),
        Item::Command(command) => resource::command(command, room),
        Item::Package(package) => system::package(package, room),
        Item::Service(service) => system::service(service, room),
        Item::User(user) => system::user(user, room),
        Item::Group(group) => system::group(group, room),
        Item::External(external) => external::external(external, room),
        Item::Broken(_) => None,
    };
    draft.map(|draft| Draft { when, tags, ..draft })
}
