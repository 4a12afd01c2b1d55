//! The interface's document as a test holds answers against it: every path, method, status, media type and field that comes must stand there.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::http::Answer;

/// Doors for machines, which are not in the document.
const BESIDE: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/api/v1/openapi.json"];
/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 32;

/// The document, and which of it was seen.
#[derive(Debug)]
pub(crate) struct Contract {
    document: Value,
    seen: Mutex<BTreeSet<(String, bool)>>,
}

impl Contract {
    pub(crate) fn new(text: &str) -> anyhow::Result<Self> {
        Ok(Self {
            document: serde_json::from_str(text)?,
            seen: Mutex::default(),
        })
    }

    /// Every operation of the document, as `get /path`.
    pub(crate) fn operations(&self) -> Vec<String> {
        let paths = self.document.get("paths").and_then(Value::as_object);
        let all = paths.into_iter().flatten().flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, _)| format!("{method} {path}"))
        });
        all.collect()
    }

    /// Operations that were never answered well, and those that never refused.
    pub(crate) fn unseen(&self) -> (Vec<String>, Vec<String>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lacks = |fine: bool| {
            let missing = |name: &String| !seen.contains(&(name.clone(), fine));
            self.operations().into_iter().filter(missing).collect()
        };
        (lacks(true), lacks(false))
    }

    /// Notes that an operation answered.
    pub(crate) fn saw(&self, method: &str, path: &str, status: u16) {
        if let Some(template) = self.template(method, path) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert((format!("{method} {template}"), status < 400));
        }
    }

    /// The path of the document that a path is one of; whole names count before parameters.
    fn template(&self, method: &str, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split('/').collect();
        let paths = self.document.get("paths")?.as_object()?;
        let fits = |template: &&String| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == parts.len()
                && wanted
                    .iter()
                    .zip(&parts)
                    .all(|(w, p)| w == p || w.starts_with('{') && !p.is_empty())
        };
        let mut found: Vec<&String> = paths.keys().filter(fits).collect();
        found.sort_by_key(|template| template.matches('{').count());
        let found = found.into_iter().find(|template| {
            self.document
                .pointer(&format!(
                    "/paths/{}/{method}",
                    template.replace('~', "~0").replace('/', "~1")
                ))
                .is_some()
        });
        found.cloned()
    }

    /// Holds an answer against the document.
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) -> anyhow::Result<()> {
        let (method, path) = (
            method.to_ascii_lowercase(),
            path.split('?').next().unwrap_or(path),
        );
        if BESIDE.contains(&path) {
            return Ok(());
        }
        let Some(template) = self.template(&method, path) else {
            let status = answer.status;
            ensure!(
                matches!(status, 404 | 405 | 400 | 401 | 503),
                "undocumented, and answers {status}"
            );
            return Ok(());
        };
        self.saw(&method, path, answer.status);
        let place = format!("/paths/{}/{method}/responses", template.replace('/', "~1"));
        let responses = self
            .document
            .pointer(&place)
            .context("no responses are documented")?;
        let documented = responses
            .get(answer.status.to_string())
            .or_else(|| responses.get("default").filter(|_| answer.status >= 400))
            .with_context(|| format!("status {} is not documented", answer.status))?;
        let Some(content) = documented.get("content").and_then(Value::as_object) else {
            ensure!(answer.body.is_empty(), "an answer without content has some");
            return Ok(());
        };
        let kind = answer
            .header("content-type")
            .split(';')
            .next()
            .unwrap_or_default();
        let media = content
            .get(kind)
            .with_context(|| format!("{kind:?} is not documented"))?;
        if kind.ends_with("json") {
            let value: Value = serde_json::from_slice(&answer.body)?;
            let schema = media.get("schema").context("no schema")?;
            self.fits(schema, &value, "", 0)?;
        }
        Ok(())
    }

    /// Whether a value is as a schema says; fields that the schema does not name are not.
    fn fits(&self, schema: &Value, value: &Value, at: &str, depth: usize) -> anyhow::Result<()> {
        ensure!(depth < DEPTH_MAX, "{at}: nested too deeply");
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return self.fits(self.named(name)?, value, at, depth + 1);
        }
        for any in ["oneOf", "anyOf"] {
            if let Some(all) = schema.get(any).and_then(Value::as_array) {
                let fitting = all
                    .iter()
                    .filter(|one| self.fits(one, value, at, depth + 1).is_ok());
                ensure!(fitting.count() > 0, "{at}: {value} is none of {any}");
                return Ok(());
            }
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            // A field that one part names is not named by the others.
            let together = self.together(parts, at)?;
            return self.fits(&together, value, at, depth + 1);
        }
        Self::is_of_type(schema, value, at)?;
        self.inside(schema, value, at, depth)
    }

    fn named(&self, name: &str) -> anyhow::Result<&Value> {
        let found = self.document.pointer(name.trim_start_matches('#'));
        found.with_context(|| format!("{name} is missing"))
    }

    /// One object that has the fields of all parts.
    fn together(&self, parts: &[Value], at: &str) -> anyhow::Result<Value> {
        let (mut properties, mut required) = (serde_json::Map::new(), Vec::new());
        for part in parts {
            let part = match part.get("$ref").and_then(Value::as_str) {
                Some(name) => self.named(name)?,
                None => part,
            };
            let named = part.get("properties").and_then(Value::as_object);
            let named = named.with_context(|| format!("{at}: a part of allOf is no object with fields"))?;
            properties.extend(named.clone());
            let needed = part.get("required").and_then(Value::as_array);
            required.extend(needed.into_iter().flatten().cloned());
        }
        Ok(json!({ "type": "object", "properties": properties, "required": required }))
    }

    fn is_of_type(schema: &Value, value: &Value, at: &str) -> anyhow::Result<()> {
        let kinds: Vec<&str> = match schema.get("type") {
            None => return Ok(()),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(one) => one.as_str().into_iter().collect(),
        };
        let is = |kind: &&str| match *kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => false,
        };
        ensure!(kinds.iter().any(is), "{at}: {value} is no {kinds:?}");
        if let Some(least) = schema.get("minimum").and_then(Value::as_f64) {
            ensure!(
                value.as_f64().is_none_or(|n| n >= least),
                "{at}: {value} is below {least}"
            );
        }
        if let Some(known) = schema.get("enum").and_then(Value::as_array) {
            ensure!(known.contains(value), "{at}: {value} is none of {known:?}");
        }
        Ok(())
    }

    fn inside(&self, schema: &Value, value: &Value, at: &str, depth: usize) -> anyhow::Result<()> {
        let items = schema.get("items");
        for (n, item) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(items) = items {
                self.fits(items, item, &format!("{at}/{n}"), depth + 1)?;
            }
        }
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        for name in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = name.as_str().unwrap_or_default();
            ensure!(object.contains_key(name), "{at}: {name} is missing");
        }
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (name, one) in object {
            let at = format!("{at}/{name}");
            match (known.and_then(|known| known.get(name)), others) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => {
                    self.fits(schema, one, &at, depth + 1)?;
                }
                (None, None) if known.is_some() => bail!("{at}: is not documented"),
                (None, _) => {}
            }
        }
        Ok(())
    }
}
