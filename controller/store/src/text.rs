//! What agents and operators write, as PostgreSQL can hold it: everything but the character zero, which its text and `jsonb` refuse. The bytes
//! that were signed are stored as they came; this is for what is read from them. A record must never be lost, or its journal stopped, by it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;

use crate::error::Error;

/// Stands for the character zero.
const REPLACEMENT: &str = "\u{fffd}";

/// Text without the character zero, as the ledger keeps it.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', REPLACEMENT))
    } else {
        Cow::Borrowed(text)
    }
}

/// A document without the character zero in any of its texts.
pub(crate) fn json(value: impl Serialize) -> Result<Json<Value>, Error> {
    let mut value = serde_json::to_value(value).map_err(|_| Error::Inconsistent {
        what: "document to be stored",
    })?;
    clean(&mut value);
    Ok(Json(value))
}

/// Documents are no deeper than `writ_protocol::limits::DEPTH_MAX`, or our own.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', REPLACEMENT),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => {
            if fields.keys().any(|key| key.contains('\0')) {
                let all = std::mem::take(fields);
                fields.extend(
                    all.into_iter()
                        .map(|(key, value)| (key.replace('\0', REPLACEMENT), value)),
                );
            }
            fields.values_mut().for_each(clean);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zeros_are_replaced_wherever_they_stand_and_nothing_else_is() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert!(matches!(text("plain \u{1} ü"), Cow::Borrowed("plain \u{1} ü")));
        let value = json!({ "a\0": ["x\0", { "n": 1, "s": "\0" }], "b": null });
        let wanted = json!({ "a\u{fffd}": ["x\u{fffd}", { "n": 1, "s": "\u{fffd}" }], "b": null });
        assert_eq!(super::json(value).ok().map(|j| j.0), Some(wanted));
    }
}
