//! Values of a config as templates see them, within a bound on their size.

use std::collections::BTreeMap;

use minijinja::value::Value;

use crate::diagnostic::{Problem, Sink, code};
use crate::yaml::read::{canonical_integer, wrong_kind};
use crate::yaml::{Kind, Node};

/// What each value counts besides its text, bytes: handling it costs more than its letters.
pub(super) const VALUE_BYTES: usize = 16;

/// What values may hold together.
pub(super) struct Room {
    /// Who holds them, for messages: "`vars` hold".
    holder: &'static str,
    max: usize,
    left: usize,
}

impl Room {
    pub(super) const fn new(holder: &'static str, max: usize) -> Self {
        Self {
            holder,
            max,
            left: max,
        }
    }

    /// Bytes that are taken.
    pub(super) const fn used(&self) -> usize {
        self.max.saturating_sub(self.left)
    }

    fn take(&mut self, bytes: usize, node: &Node, sink: &mut Sink<'_>) -> Option<()> {
        if let Some(rest) = self.left.checked_sub(bytes) {
            self.left = rest;
            return Some(());
        }
        let message = format!("{} more than {} bytes", self.holder, self.max);
        sink.push(Problem::new(code::TOO_MANY, node.mark, message).hint("put long texts into files"));
        None
    }
}

/// A value: whole numbers and `true`/`false` without quotes are what they look like, all else is text as written.
pub(super) fn to_value(node: &Node, what: &str, room: &mut Room, sink: &mut Sink<'_>) -> Option<Value> {
    match &node.kind {
        Kind::Null => wrong_kind(node, what, "a value", sink),
        Kind::Scalar { text, plain } => {
            room.take(text.len() + VALUE_BYTES, node, sink)?;
            Some(match (plain, text.as_str()) {
                (true, "true") => Value::from(true),
                (true, "false") => Value::from(false),
                (true, number) => canonical_integer(number).map_or_else(|| Value::from(number), Value::from),
                (false, text) => Value::from(text),
            })
        }
        Kind::List(items) => {
            room.take(VALUE_BYTES, node, sink)?;
            items
                .iter()
                .map(|item| to_value(item, what, room, sink))
                .collect::<Option<Vec<_>>>()
                .map(Value::from)
        }
        Kind::Map(entries) => {
            let mut values: BTreeMap<String, Value> = BTreeMap::new();
            for (key, value) in entries {
                room.take(key.text.len() + VALUE_BYTES, node, sink)?;
                values.insert(key.text.clone(), to_value(value, &key.text, room, sink)?);
            }
            Some(Value::from(values))
        }
    }
}
