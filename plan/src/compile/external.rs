//! Providers of the config and what they keep: programs become blobs, specs become bounded data that only the provider understands.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::digest::Digest;
use writ_protocol::exec::StepMode;
use writ_protocol::graph::{ExternalSpec, Spec, WANTED_DEPTH_MAX, WANTED_NODES_MAX, Wanted, check_wanted};
use writ_protocol::provider::{KINDS_MAX, check_name};

use super::resource::References;
use super::{Draft, Room, check, content, settings};
use crate::config::{Config, ExternalItem};
use crate::diagnostic::{Mark, Problem, code};
use crate::yaml::read::{Text, canonical_integer};
use crate::yaml::{Kind, Node};

/// Most providers of one config.
const PROVIDERS_MAX: usize = KINDS_MAX;

/// The providers of a config by name; without a program those with a reported problem.
pub(super) type Providers = BTreeMap<String, Option<(Digest, u64)>>;

/// The programs of all providers.
pub(super) fn providers(config: &Config, room: &mut Room<'_, '_>) -> Providers {
    let entries = config.providers.as_ref().map_or(&[][..], |all| &all.0);
    if let Some((key, _)) = entries.get(PROVIDERS_MAX) {
        let message = format!(
            "a config has at most {PROVIDERS_MAX} providers, and here are {}",
            entries.len()
        );
        room.sink.push(Problem::new(code::TOO_MANY, key.mark, message));
    }
    let mut providers = Providers::new();
    for (key, item) in entries.iter().take(PROVIDERS_MAX) {
        if let Err(rule) = check_name("the provider's name", &key.text) {
            let hint = "such as `acme-notes`";
            room.sink
                .push(Problem::new(code::NAME, key.mark, rule).hint(hint));
        }
        let program = content::program(&key.text, &item.program, room);
        providers.insert(key.text.clone(), program);
    }
    providers
}

/// A resource that a provider keeps; `None` after problems were reported.
pub(super) fn external(item: &ExternalItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let at = item.external.mark;
    let name = room.renderer.text(&item.external, room.sink);
    let name = name.and_then(|name| check::name(&name, at, "external", room.sink));
    let program = program(&item.provider, room);
    let kind = room.renderer.text(&item.kind, room.sink);
    let kind = kind.and_then(|kind| match check_name("the kind", &kind) {
        Ok(()) => Some(kind),
        Err(rule) => {
            room.sink.push(
                Problem::new(code::NAME, item.kind.mark, rule)
                    .hint("`writ provider test` lists a provider's kinds"),
            );
            None
        }
    });
    let spec = wanted(item, room);
    let limits = settings::limits(item.limits.as_ref(), room.limits, room.sink);
    let name = name?;
    let id = format!("external:{name}");
    let references = References {
        depends_on: item.depends_on.as_deref(),
        notify: item.notify.as_deref(),
    };
    let (depends_on, notify) = references.read(&id, room);
    let (provider, program, length) = program?;
    let spec = Spec::External(ExternalSpec {
        provider,
        program,
        length,
        kind: kind?,
        name,
        spec: spec?,
    });
    Some(Draft {
        id,
        mark: at,
        depends_on,
        notify,
        when: None,
        tags: BTreeSet::new(),
        limits,
        mode: StepMode::Checked,
        spec,
    })
}

/// The provider that a resource names.
fn program(text: &Text, room: &mut Room<'_, '_>) -> Option<(String, Digest, u64)> {
    let name = room.renderer.text(text, room.sink)?;
    if let Some(known) = room.providers.get(&name) {
        return known.map(|(program, length)| (name, program, length));
    }
    let message = format!("there is no provider `{}` in `providers`", check::short(&name));
    let hint = "name its program beside the config: `providers: { acme-notes: { program: acme-notes } }`";
    let problem = Problem::new(code::PROVIDER, text.mark, message);
    room.sink.push(
        problem
            .meant(&name, room.providers.keys().map(String::as_str))
            .hint(hint),
    );
    None
}

/// What is wanted, within its bounds.
fn wanted(item: &ExternalItem, room: &mut Room<'_, '_>) -> Option<BTreeMap<String, Wanted>> {
    let mut reader = Reader { nodes: 1 };
    let mut spec = BTreeMap::new();
    let entries = item.spec.as_ref().map_or(&[][..], |spec| &spec.0);
    for (key, value) in entries {
        spec.insert(key.text.clone(), reader.read(&value.0, 2, room)?);
    }
    if let Err(rule) = check_wanted(&spec) {
        let at = entries.first().map_or(item.external.mark, |(key, _)| key.mark);
        room.sink.push(beyond(at, &rule));
        return None;
    }
    Some(spec)
}

fn beyond(at: Mark, rule: &str) -> Problem {
    Problem::new(code::PROVIDER_SPEC, at, rule)
        .hint("keep large data in a `file` resource, and give the provider its path")
}

/// Reads the values of a spec.
struct Reader {
    nodes: usize,
}

impl Reader {
    fn read(&mut self, node: &Node, depth: usize, room: &mut Room<'_, '_>) -> Option<Wanted> {
        self.nodes += 1;
        if depth > WANTED_DEPTH_MAX || self.nodes > WANTED_NODES_MAX {
            let rule = format!(
                "the spec nests deeper than {WANTED_DEPTH_MAX} levels or has more than {WANTED_NODES_MAX} values"
            );
            room.sink.push(beyond(node.mark, &rule));
            return None;
        }
        match &node.kind {
            Kind::Null => Some(Wanted::Null),
            Kind::Scalar { text, plain } => {
                let text = Text {
                    value: text.clone(),
                    plain: *plain,
                    mark: node.mark,
                };
                scalar(&text, room)
            }
            Kind::List(items) => {
                let items = items.iter().map(|item| self.read(item, depth + 1, room));
                items.collect::<Option<_>>().map(Wanted::List)
            }
            Kind::Map(entries) => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    map.insert(key.text.clone(), self.read(value, depth + 1, room)?);
                }
                Some(Wanted::Map(map))
            }
        }
    }
}

fn scalar(text: &Text, room: &mut Room<'_, '_>) -> Option<Wanted> {
    match text.value.as_str() {
        "true" if text.plain => return Some(Wanted::Flag(true)),
        "false" if text.plain => return Some(Wanted::Flag(false)),
        number if text.plain && is_number(number) => {
            if let Some(number) = canonical_integer(number) {
                return Some(Wanted::Integer(number));
            }
            let shown = check::short(number);
            let problem = Problem::new(
                code::PROVIDER_SPEC,
                text.mark,
                format!("{shown} is a number, and no whole one in its plain form"),
            );
            room.sink.push(problem.hint(format!(
                "write a whole number such as `8080`, or a text: `\"{shown}\"`"
            )));
            return None;
        }
        _ => {}
    }
    room.renderer.text(text, room.sink).map(Wanted::Text)
}

/// Whether a plain text is a number to some reader of YAML.
fn is_number(text: &str) -> bool {
    let begins = text
        .strip_prefix(['-', '+'])
        .unwrap_or(text)
        .starts_with(|c: char| c.is_ascii_digit() || c == '.');
    begins && text.parse::<f64>().is_ok()
}
