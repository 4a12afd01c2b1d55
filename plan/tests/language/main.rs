//! What the config's language makes of a config: families, conditions, included files, values and parts.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a test that cannot go on says so and stops"
)]

mod externals;
mod families;
mod files;
mod modes;
mod parts;

use std::collections::BTreeMap;

use writ_plan::compile::{Compiled, Sources, compile};
use writ_plan::diagnostic::render;
use writ_protocol::graph::Resource;

pub(crate) const HEAD: &str = "version: 1\nproject: p\ntargets: { hosts: [a] }\n";

pub(crate) fn sources(body: &str) -> Sources {
    Sources {
        config_name: "writ.yaml".to_owned(),
        config_text: format!("{HEAD}{body}"),
        files: BTreeMap::new(),
    }
}

pub(crate) fn compiled(sources: &Sources) -> Compiled {
    compile(sources).unwrap_or_else(|problems| panic!("{}", render(&problems, 20)))
}

pub(crate) fn ids(compiled: &Compiled) -> Vec<&str> {
    compiled
        .graph
        .resources
        .iter()
        .map(|one| one.id.as_str())
        .collect()
}

pub(crate) fn resource<'a>(compiled: &'a Compiled, id: &str) -> &'a Resource {
    let found = compiled.graph.resources.iter().find(|one| one.id == id);
    found.unwrap_or_else(|| panic!("{id} is missing of {:?}", ids(compiled)))
}

pub(crate) fn contents(compiled: &Compiled) -> Vec<&str> {
    let mut texts: Vec<_> = compiled
        .blobs
        .values()
        .map(|blob| std::str::from_utf8(blob).expect("text"))
        .collect();
    texts.sort_unstable();
    texts
}

/// A config of several files; the first one is the config itself.
pub(crate) fn of_files(files: &[(&str, &str)]) -> Sources {
    let (first, more) = files.split_first().expect("a config");
    Sources {
        config_name: first.0.to_owned(),
        config_text: format!("{HEAD}{}", first.1),
        files: more
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect(),
    }
}
