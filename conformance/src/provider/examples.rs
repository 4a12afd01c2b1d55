//! Examples: what a provider can be asked for, written by its author as `conformance.json` beside it. The suite knows no kinds of its own.
//!
//! In every text `{{dir}}` is the folder in which it may work, `{{name}}` the name that a hostile example tries, and `{{sha256:NAME}}` the digest of
//! lent content.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use writ_protocol::codec::{self, CodecError};
use writ_protocol::digest::Digest;
use writ_protocol::provider::KINDS_MAX;

/// Version of the form.
pub const EXAMPLES_VERSION: u16 = 1;
/// Largest file of examples, bytes.
pub const EXAMPLES_BYTES_MAX: usize = 1 << 20;

/// What is wanted of a thing.
pub type Spec = Map<String, Value>;

/// The examples of one provider.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Examples {
    /// [`EXAMPLES_VERSION`].
    pub version: u16,
    /// Content that is lent with every question, by name.
    #[serde(default, deserialize_with = "codec::unique_map")]
    pub lends: BTreeMap<String, String>,
    /// The examples of each kind.
    #[serde(deserialize_with = "codec::unique_map")]
    pub kinds: BTreeMap<String, Kind>,
}

/// The examples of one kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kind {
    /// Whether it changes a system and needs one of its own.
    #[serde(default)]
    pub lab: bool,
    /// Files and folders in which every effect is seen.
    pub watch: Vec<String>,
    /// A script of `sh` that makes what the examples need, once.
    #[serde(default)]
    pub setup: Option<String>,
    /// A script of `sh` that takes everything back, for a kind without `absent`.
    #[serde(default)]
    pub reset: Option<String>,
    /// The thing is not there.
    #[serde(default)]
    pub absent: Option<Spec>,
    /// The thing is there.
    pub present: Spec,
    /// The same thing, there and otherwise.
    #[serde(default)]
    pub other: Option<Spec>,
    /// The thing with a name that is tried.
    #[serde(default)]
    pub hostile: Option<Spec>,
    /// Specs that must be refused before anything is touched.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// A spec whose apply takes a second and more.
    #[serde(default)]
    pub slow: Option<Spec>,
}

/// A spec that must be refused.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refused {
    /// Why.
    pub why: String,
    /// The spec.
    pub spec: Spec,
}

/// Why examples are of no use.
#[derive(Debug, thiserror::Error)]
pub enum ExamplesError {
    /// They are not readable.
    #[error("the examples are not readable: {0}")]
    Codec(#[from] CodecError),
    /// They break a rule.
    #[error("the examples break a rule: {0}")]
    Rule(String),
}

impl Examples {
    /// Reads examples.
    ///
    /// # Errors
    /// [`ExamplesError`].
    pub fn read(text: &[u8]) -> Result<Self, ExamplesError> {
        let examples: Self = codec::from_json("examples", text, EXAMPLES_BYTES_MAX)?;
        let rule = |text: String| Err(ExamplesError::Rule(text));
        if examples.version != EXAMPLES_VERSION {
            return rule(format!("version {} is not {EXAMPLES_VERSION}", examples.version));
        }
        if examples.kinds.is_empty() || examples.kinds.len() > KINDS_MAX {
            return rule(format!("1 to {KINDS_MAX} kinds are possible"));
        }
        for (name, kind) in &examples.kinds {
            if kind.watch.is_empty() {
                return rule(format!(
                    "{name}: watch names no file in which its effects are seen"
                ));
            }
            if kind.absent.is_none() && kind.reset.is_none() {
                return rule(format!(
                    "{name}: neither absent nor reset, so that nothing takes it away again"
                ));
            }
        }
        Ok(examples)
    }

    /// Lent content by digest.
    pub(super) fn lent(&self) -> impl Iterator<Item = (Digest, &[u8])> {
        let bytes = self.lends.values().map(String::as_bytes);
        bytes.map(|bytes| (Digest::of(bytes), bytes))
    }

    /// A spec with its placeholders filled in.
    pub(super) fn filled(&self, spec: &Spec, dir: &str, name: &str) -> Spec {
        let mut words = vec![("{{dir}}".to_owned(), dir.to_owned())];
        for (name, text) in &self.lends {
            words.push((
                format!("{{{{sha256:{name}}}}}"),
                Digest::of(text.as_bytes()).to_hex(),
            ));
        }
        // Last, so that a hostile name is never looked into.
        words.push(("{{name}}".to_owned(), name.to_owned()));
        let filled = spec.iter().map(|(key, value)| (key.clone(), fill(value, &words)));
        filled.collect()
    }
}

fn fill(value: &Value, words: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => {
            let filled = words
                .iter()
                .fold(text.clone(), |text, (from, to)| text.replace(from, to));
            Value::String(filled)
        }
        Value::Array(values) => Value::Array(values.iter().map(|value| fill(value, words)).collect()),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), fill(value, words)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Examples, ExamplesError> {
        Examples::read(value.to_string().as_bytes())
    }

    fn good() -> Value {
        json!({"version": 1, "lends": {"a": "x"}, "kinds": {"note": {
            "watch": ["{{dir}}"], "absent": {"path": "{{dir}}/a"},
            "present": {"path": "{{dir}}/a", "deep": [{"of": "{{sha256:a}}"}, 3], "name": "<{{name}}>"}}}})
    }

    #[test]
    fn placeholders_are_filled_everywhere_and_names_are_not_looked_into() {
        let examples = read(&good()).expect("reads");
        let spec = examples.filled(&examples.kinds["note"].present, "/d", "{{dir}}");
        assert_eq!(spec["path"], "/d/a");
        assert_eq!(spec["deep"][0]["of"], Digest::of(b"x").to_hex());
        assert_eq!(spec["deep"][1], 3);
        assert_eq!(spec["name"], "<{{dir}}>");
    }

    #[test]
    fn examples_that_would_show_nothing_are_refused() {
        let spoilt = |path: &str, value: Value| {
            let mut examples = good();
            *examples.pointer_mut(path).expect("is there") = value;
            read(&examples).expect_err("refused").to_string()
        };
        assert!(spoilt("/version", json!(2)).contains("version 2"));
        assert!(spoilt("/kinds", json!({})).contains("kinds"));
        assert!(spoilt("/kinds/note/watch", json!([])).contains("watch"));
        assert!(spoilt("/kinds/note/absent", Value::Null).contains("neither"));
        assert!(spoilt("/lends", json!({"a": 1})).contains("not readable"));
    }
}
