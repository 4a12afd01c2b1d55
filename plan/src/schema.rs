//! The schema of a config, from the types that read it: editors complete and check with it. In JSON, and in CUE (`cue`).

mod cue;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::config::Config;

pub use cue::CUE_PACKAGE;

/// The schema, draft 2020-12. `docs/schema/config.schema.json` holds the same, kept by a test.
pub fn json_schema() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Config>();
    let mut value = schema.to_value();
    without_null(&mut value);
    if let Some(root) = value.as_object_mut() {
        root.insert("title".into(), "Writ config".into());
    }
    value
}

/// The same as definitions of CUE, in a package of their own. `docs/schema/config.cue` holds it, kept by a test.
pub fn cue_definitions() -> String {
    cue::definitions(&json_schema())
}

/// A field that is not there is left out; `null` is a mistake, and the schema says so.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(fields) => {
            if let Some(Value::Array(kinds)) = fields.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    fields.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(kinds)) = fields.get_mut("enum") {
                kinds.retain(|kind| !kind.is_null());
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    fields.remove("anyOf");
                    fields.extend(only);
                }
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
