//! Which part of a config a graph is, where it is not the whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Graph;
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, RESOURCES_MAX};

/// Most words of each kind in a selection.
pub const SELECTION_WORDS_MAX: usize = 256;

/// What was asked for of a config. Who reads the graph can tell by it that there is more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// Ids and families that were asked for, sorted.
    pub targets: Vec<String>,
    /// Tags that were asked for, sorted.
    pub tags: Vec<String>,
    /// Tags that were left out, sorted.
    pub skip_tags: Vec<String>,
    /// Resources of the config that are not in the graph.
    pub left_out: u32,
}

impl Selection {
    /// Checks its bounds.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn validate(&self) -> Result<(), String> {
        for words in [&self.targets, &self.tags, &self.skip_tags] {
            let good = |word: &String| {
                !word.is_empty()
                    && word.len() <= 2 * NAME_BYTES_MAX + PATH_BYTES_MAX
                    && !word.chars().any(char::is_control)
            };
            if words.len() > SELECTION_WORDS_MAX || !words.iter().all(good) || !words.is_sorted() {
                return Err(format!(
                    "a selection has at most {SELECTION_WORDS_MAX} words of a kind, sorted"
                ));
            }
        }
        if usize::try_from(self.left_out).unwrap_or(usize::MAX) > RESOURCES_MAX {
            return Err("a selection leaves out more than there can be".to_owned());
        }
        Ok(())
    }
}

impl Graph {
    /// The part of it that is these resources and whatever they notify, in its order; none where it has none of them. What they depend on is left out:
    /// it is as it should be, or has a part of its own.
    pub fn part(&self, wanted: &BTreeSet<&str>) -> Option<Self> {
        let mut members: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = wanted.iter().copied().collect();
        while let Some(id) = open.pop() {
            let Some(resource) = self.resources.iter().find(|one| one.id == id) else {
                continue;
            };
            if members.insert(&resource.id) {
                open.extend(resource.notify.iter().map(String::as_str));
            }
        }
        let kept = self
            .resources
            .iter()
            .filter(|one| members.contains(one.id.as_str()));
        let resources: Vec<_> = kept
            .cloned()
            .map(|mut one| {
                one.depends_on.retain(|id| members.contains(id.as_str()));
                one.notify.retain(|id| members.contains(id.as_str()));
                one
            })
            .collect();
        let targets = wanted
            .iter()
            .filter(|id| members.contains(*id))
            .map(|id| (*id).to_owned());
        let selection = Selection {
            targets: targets.collect(),
            left_out: u32::try_from(self.resources.len() - resources.len()).unwrap_or(u32::MAX),
            ..Selection::default()
        };
        (!resources.is_empty()).then(|| Self {
            version: self.version,
            project: self.project.clone(),
            resources,
            selection: Some(selection),
            mode: self.mode,
        })
    }
}
