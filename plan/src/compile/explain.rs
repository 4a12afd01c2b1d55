//! Where the values of a config come from.

use serde::Serialize;

use super::Sources;
use super::include::{self, Layer};
use crate::diagnostic::{Diagnostic, Mark, Sink, clean};
use crate::template::Renderer;
use crate::yaml::read::canonical_integer;
use crate::yaml::{Kind, Node};

/// Most characters of a file's name.
const NAME_CHARS_MAX: usize = 160;

/// A value and the places where it is set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// What templates see.
    pub value: serde_json::Value,
    /// Where it is from.
    pub from: Place,
    /// What it stands in place of, the nearest first.
    pub replaces: Vec<Replaced>,
}

/// A value that another stands in place of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// What it would be.
    pub value: serde_json::Value,
    /// Where it is from.
    pub from: Place,
}

/// Where a value is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// `defaults`, `included`, `vars`, `var-file` or `var`; each is replaced by those after it.
    pub layer: &'static str,
    /// The file, as it is named in messages; `--var` for the command line.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// Every value of a config by name, with where it comes from.
///
/// # Errors
/// Problems that keep the values from being told.
pub fn values(sources: &Sources) -> Result<Vec<Explained>, Vec<Diagnostic>> {
    let given = sources.given()?;
    let mut sink = Sink::new(&sources.config_name, &sources.config_text);
    let loaded = include::load(sources, &given, &mut sink);
    let Some(loaded) = loaded.filter(|loaded| loaded.is_whole) else {
        return Err(super::problems_of(sources));
    };
    // For what it says of names and sizes.
    drop(Renderer::new(loaded.vars(), &mut sink));
    if !sink.is_empty() {
        return Err(sink.into_sorted());
    }
    let mut values: std::collections::BTreeMap<&str, Explained> = std::collections::BTreeMap::new();
    for (layer, key, node) in loaded.layers() {
        let (value, from) = (json(node), place(layer, key.mark, &sink));
        match values.get_mut(key.text.as_str()) {
            None => {
                let first = Explained {
                    name: key.text.clone(),
                    value,
                    from,
                    replaces: Vec::new(),
                };
                values.insert(&key.text, first);
            }
            Some(known) => {
                let value = std::mem::replace(&mut known.value, value);
                let from = std::mem::replace(&mut known.from, from);
                known.replaces.insert(0, Replaced { value, from });
            }
        }
    }
    Ok(values.into_values().collect())
}

fn place(layer: Layer, mark: Mark, sink: &Sink<'_>) -> Place {
    Place {
        layer: match layer {
            Layer::Defaults => "defaults",
            Layer::Included => "included",
            Layer::Vars => "vars",
            Layer::File => "var-file",
            Layer::Line => "var",
        },
        file: clean(sink.name_of(mark), NAME_CHARS_MAX),
        line: mark.line,
        column: mark.column,
    }
}

/// A value as templates see it.
fn json(node: &Node) -> serde_json::Value {
    match &node.kind {
        Kind::Null => serde_json::Value::Null,
        Kind::Scalar { text, plain } => match (plain, text.as_str()) {
            (true, "true") => true.into(),
            (true, "false") => false.into(),
            (true, number) => canonical_integer(number).map_or_else(|| number.into(), Into::into),
            (false, text) => text.into(),
        },
        Kind::List(items) => items.iter().map(json).collect(),
        Kind::Map(entries) => {
            let fields = entries.iter().map(|(key, value)| (key.text.clone(), json(value)));
            serde_json::Value::Object(fields.collect())
        }
    }
}
