//! A part of a config: what `--target`, `--tags` and `--skip-tags` choose, and what belongs to it.
//!
//! Mistakes are told of the whole config first, so that choosing hides none. What is chosen brings what it depends on and what it notifies,
//! for without these it would not be what the config says. What is skipped takes what depends on it along, as if it had failed.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::graph::{Resource, Selection};

use super::family::{Families, Found};
use super::given::Given;
use super::{Room, check};
use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::yaml::read::Text;

/// Most tags of one resource.
const TAGS_MAX: usize = 32;

/// What words of a selection can name.
pub(super) struct Known {
    /// Ids by tag.
    tags: BTreeMap<String, BTreeSet<String>>,
    families: Families,
}

impl Known {
    pub(super) fn of(found: &Found) -> Self {
        let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for draft in &found.drafts {
            for tag in &draft.tags {
                tags.entry(tag.clone()).or_default().insert(draft.id.clone());
            }
        }
        Self {
            tags,
            families: found.families.clone(),
        }
    }
}

/// The tags of one resource.
pub(super) fn tags(list: &[Text], room: &mut Room<'_, '_>) -> BTreeSet<String> {
    if let Some(text) = list.get(TAGS_MAX) {
        let message = format!(
            "a resource has at most {TAGS_MAX} tags, and here are {}",
            list.len()
        );
        room.sink.push(Problem::new(code::TOO_MANY, text.mark, message));
    }
    let mut tags = BTreeSet::new();
    for text in list.iter().take(TAGS_MAX) {
        if let Some(tag) = room.renderer.text(text, room.sink) {
            tags.extend(check::name(&tag, text.mark, "tag", room.sink));
        }
    }
    tags
}

/// The resources that are meant, in their order, and what was asked for; all of them where nothing was. `None` after a problem.
pub(super) fn choose<'a>(
    resources: Vec<Resource>,
    known: &Known,
    given: &'a Given,
    sink: &mut Sink<'a>,
) -> Option<(Vec<Resource>, Option<Selection>)> {
    if given.targets.is_empty() && given.tags.is_empty() && given.skip_tags.is_empty() {
        return Some((resources, None));
    }
    let before = sink.count();
    let skipped = ids_of_tags(&given.skip_tags, "--skip-tags", known, sink);
    let out = with_dependants(&skipped, &resources);
    let mut wanted = ids_of_tags(&given.tags, "--tags", known, sink);
    wanted.extend(ids_of_targets(&given.targets, (&resources, known, &out), sink));
    if given.targets.is_empty() && given.tags.is_empty() {
        wanted = resources.iter().map(|one| one.id.as_str()).collect();
    }
    let members = closure(&wanted, &out, &resources);
    let members: BTreeSet<String> = members.into_iter().map(ToOwned::to_owned).collect();
    if members.is_empty() && sink.count() == before {
        let message = "the selection leaves nothing of the config";
        sink.push(Problem::new(code::SELECTION, Mark::default(), message).hint("choose less to skip"));
    }
    if sink.count() > before {
        return None;
    }
    let all = resources.len();
    let kept: Vec<Resource> = resources
        .into_iter()
        .filter(|one| members.contains(&one.id))
        .map(|mut one| {
            one.notify.retain(|id| members.contains(id));
            one
        })
        .collect();
    let words = |list: &[String]| -> Vec<String> {
        list.iter()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    let selection = Selection {
        targets: words(&given.targets),
        tags: words(&given.tags),
        skip_tags: words(&given.skip_tags),
        left_out: u32::try_from(all - kept.len()).unwrap_or(u32::MAX),
    };
    Some((kept, Some(selection)))
}

/// A word of the command line that names nothing.
fn refuse<'a, 'k>(
    word: &'a str,
    flag: &'static str,
    (what, known): (&str, impl IntoIterator<Item = &'k str>),
    sink: &mut Sink<'a>,
) {
    let mark = Mark {
        file: sink.add(flag, word),
        line: 1,
        column: 1,
        length: u32::try_from(word.chars().count().max(1)).unwrap_or(u32::MAX),
    };
    let problem = Problem::new(code::SELECTION, mark, format!("{what} `{}`", check::short(word)));
    let hint = if flag == "--target" {
        "an id is `type:name`; a family is named as its resource is, with `*` for what differs"
    } else {
        "tags stand in `tags` of resources"
    };
    sink.push(problem.meant(word, known).hint(hint));
}

fn ids_of_tags<'k, 'a>(
    words: &'a [String],
    flag: &'static str,
    known: &'k Known,
    sink: &mut Sink<'a>,
) -> BTreeSet<&'k str> {
    let mut ids = BTreeSet::new();
    for word in words {
        match known.tags.get(word) {
            Some(found) => ids.extend(found.iter().map(String::as_str)),
            None => refuse(
                word,
                flag,
                ("no resource has the tag", known.tags.keys().map(String::as_str)),
                sink,
            ),
        }
    }
    ids
}

fn ids_of_targets<'k, 'a>(
    words: &'a [String],
    (resources, known, out): (&'k [Resource], &'k Known, &BTreeSet<&str>),
    sink: &mut Sink<'a>,
) -> BTreeSet<&'k str> {
    let all: BTreeSet<&str> = resources.iter().map(|one| one.id.as_str()).collect();
    let mut ids = BTreeSet::new();
    for word in words {
        let found = match all.get(word.as_str()) {
            Some(id) => Some(vec![*id]),
            None => known.families.members(word),
        };
        match found {
            None => {
                let names = all.iter().copied().chain(known.families.names());
                refuse(word, "--target", ("no resource has the id", names), sink);
            }
            Some(found) if found.iter().any(|id| out.contains(id)) => {
                refuse(word, "--target", ("what is asked for is skipped:", []), sink);
            }
            Some(found) => ids.extend(found),
        }
    }
    ids
}

/// These, and everything that depends on one of them.
fn with_dependants<'r>(ids: &BTreeSet<&str>, resources: &'r [Resource]) -> BTreeSet<&'r str> {
    let mut out: BTreeSet<&str> = BTreeSet::new();
    // A resource stands after all that it depends on.
    for one in resources {
        if ids.contains(one.id.as_str()) || one.depends_on.iter().any(|id| out.contains(id.as_str())) {
            out.insert(&one.id);
        }
    }
    out
}

/// These, what they depend on and what they notify, and so on; but nothing that is out.
fn closure<'r>(ids: &BTreeSet<&str>, out: &BTreeSet<&str>, resources: &'r [Resource]) -> BTreeSet<&'r str> {
    let by_id: BTreeMap<&str, &Resource> = resources.iter().map(|one| (one.id.as_str(), one)).collect();
    let mut open: Vec<&Resource> = ids.iter().filter_map(|id| by_id.get(id).copied()).collect();
    let mut members = BTreeSet::new();
    while let Some(one) = open.pop() {
        if !out.contains(one.id.as_str()) && members.insert(one.id.as_str()) {
            let more = one.depends_on.iter().chain(&one.notify);
            open.extend(more.filter_map(|id| by_id.get(id.as_str()).copied()));
        }
    }
    members
}
