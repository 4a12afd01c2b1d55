//! The table as it is written down.

use std::collections::BTreeMap;

use serde::Deserialize;
use writ_protocol::codec;

use crate::provider::examples::{EXAMPLES_BYTES_MAX, Examples, ExamplesError, Spec};

const TABLE: &str = include_str!("../../../providers/matrix.json");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Table {
    /// Content that is lent with every question, by name.
    lends: BTreeMap<String, String>,
    pub(super) platforms: Vec<Platform>,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Platform {
    pub(super) name: String,
    /// Why none of its cells can run anywhere that we test.
    #[serde(default)]
    pub(super) not_run: Option<String>,
    /// Programs without which it cannot be made.
    #[serde(default)]
    pub(super) needs: Vec<String>,
    /// A script that makes a lab host one of it.
    #[serde(default)]
    pub(super) setup: String,
}

/// A provider.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Row {
    /// With the manager that it goes by.
    pub(super) provider: String,
    pub(super) kind: String,
    pub(super) platforms: Vec<String>,
    #[serde(default)]
    pub(super) not_run: Option<String>,
    /// Files and folders in which every effect is seen.
    #[serde(default)]
    pub(super) watch: Vec<String>,
    #[serde(default)]
    pub(super) setup: String,
    /// A script that says what is there, a line `attribute value` each, without asking the provider.
    #[serde(default)]
    pub(super) witness: String,
    pub(super) cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    /// A script that is run first.
    #[serde(default)]
    pub(super) begin: String,
    /// Brought about first.
    #[serde(default)]
    pub(super) from: Option<Spec>,
    /// What is asked for.
    #[serde(default)]
    pub(super) to: Spec,
}

impl Table {
    pub(super) fn ours() -> Result<Self, ExamplesError> {
        Ok(codec::from_json(
            "the matrix",
            TABLE.as_bytes(),
            EXAMPLES_BYTES_MAX,
        )?)
    }

    /// What is lent, in the form that fills placeholders in.
    pub(super) fn examples(&self) -> Examples {
        Examples {
            version: crate::provider::examples::EXAMPLES_VERSION,
            lends: self.lends.clone(),
            kinds: BTreeMap::new(),
        }
    }
}
