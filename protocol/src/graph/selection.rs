//! Which part of a config a graph is, where it is not the whole.

use serde::{Deserialize, Serialize};

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
