//! The schema again, as definitions of CUE: `cue` and its editors check a config with them before Writ sees it.
//!
//! They are made from the JSON Schema, which is made from the types that read a config, so the three cannot say different things. Only what CUE has
//! had since its version 0.4 is used: a field that must be there is one without a `?`, which `cue export` holds.
//! The language: the CUE Language Specification, sections "Definitions and hidden fields", "Closed structs" and "Disjunction".

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The package that the definitions are of, and which a config in the same folder names.
pub const CUE_PACKAGE: &str = "writ";

/// Longest line of a comment, characters.
const COMMENT_CHARS: usize = 110;

/// What a schema says of one value, as a constraint of CUE; `depth` tabs stand before the lines of a struct.
fn constraint(schema: &Value, depth: usize) -> String {
    let Some(rules) = schema.as_object() else {
        return "_".to_owned();
    };
    if let Some(name) = rules.get("$ref").and_then(Value::as_str) {
        return definition(name.rsplit('/').next().unwrap_or(name));
    }
    if let Some(value) = rules.get("const") {
        return literal(value);
    }
    if let Some(values) = rules.get("enum").and_then(Value::as_array) {
        return any_of(&values.iter().map(literal).collect::<Vec<_>>());
    }
    if let Some(choices) = rules.get("anyOf").and_then(Value::as_array) {
        return any_of(
            &choices
                .iter()
                .map(|choice| constraint(choice, depth))
                .collect::<Vec<_>>(),
        );
    }
    let kinds: Vec<&str> = match rules.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return "_".to_owned(),
    };
    any_of(
        &kinds
            .iter()
            .map(|kind| of_kind(kind, rules, depth))
            .collect::<Vec<_>>(),
    )
}

fn of_kind(kind: &str, rules: &Map<String, Value>, depth: usize) -> String {
    match kind {
        "string" => rules.get("pattern").map_or_else(
            || "string".to_owned(),
            |pattern| format!("=~{}", literal(pattern)),
        ),
        "integer" => "int".to_owned(),
        "number" => "number".to_owned(),
        "boolean" => "bool".to_owned(),
        "array" => match rules.get("items") {
            Some(items) => {
                let item = constraint(items, depth);
                // The dots bind closer than the bar.
                let choice = item.contains(" | ");
                if choice {
                    format!("[...({item})]")
                } else {
                    format!("[...{item}]")
                }
            }
            None => "[...]".to_owned(),
        },
        "object" => object(rules, depth),
        _ => "_".to_owned(),
    }
}

fn object(rules: &Map<String, Value>, depth: usize) -> String {
    let Some(fields) = rules.get("properties").and_then(Value::as_object) else {
        return match rules.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("{{[string]: {}}}", constraint(values, depth)),
            _ => "{...}".to_owned(),
        };
    };
    let required: Vec<&str> = rules
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let is_required = |name: &String| required.contains(&name.as_str());
    let (first, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| is_required(name));
    let tabs = "\t".repeat(depth + 1);
    let mut text = "{\n".to_owned();
    for (name, schema) in first.into_iter().chain(rest) {
        text.push_str(&comment(schema, &tabs));
        let mark = if is_required(name) { "" } else { "?" };
        let wanted = constraint(schema, depth + 1);
        // Writing to a String does not fail.
        let _ = writeln!(text, "{tabs}{}{mark}: {wanted}", label(name));
    }
    text.push_str(&"\t".repeat(depth));
    text.push('}');
    text
}

fn any_of(choices: &[String]) -> String {
    choices.join(" | ")
}

/// JSON's strings and numbers are CUE's.
fn literal(value: &Value) -> String {
    value.to_string()
}

fn definition(name: &str) -> String {
    format!("#{name}")
}

/// A field's name, quoted where it is no identifier.
fn label(name: &str) -> String {
    let is_plain = |part: char| part.is_ascii_alphanumeric() || part == '_';
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if starts && name.chars().all(is_plain) {
        return name.to_owned();
    }
    literal(&Value::from(name))
}

/// What the schema says in words, in lines that people read.
fn comment(schema: &Value, tabs: &str) -> String {
    let words = schema.get("description").and_then(Value::as_str);
    let mut text = String::new();
    let mut line = String::new();
    for word in words.unwrap_or_default().split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= COMMENT_CHARS {
            let _ = writeln!(text, "{tabs}//{line}");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(text, "{tabs}//{line}");
    }
    text
}

/// The definitions of a schema: `#Config`, which is its root, and those that it refers to.
pub(super) fn definitions(schema: &Value) -> String {
    let mut text = format!(
        "// Definitions of a Writ config, made by `writ schema --format cue`. A config beside this file is `#Config & {{...}}`, of the same package.\n\
         package {CUE_PACKAGE}\n"
    );
    let others = schema.get("$defs").and_then(Value::as_object);
    let root = ("Config".to_owned(), schema);
    let others = others
        .into_iter()
        .flatten()
        .map(|(name, one)| (name.clone(), one));
    for (name, one) in std::iter::once(root).chain(others) {
        text.push('\n');
        text.push_str(&comment(one, ""));
        let _ = writeln!(text, "{}: {}", definition(&name), constraint(one, 0));
    }
    text
}
