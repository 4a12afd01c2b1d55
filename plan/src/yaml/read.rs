//! Nodes to typed values: every unknown field, missing field and wrong kind is reported, not only the first.
//!
//! [`record!`] makes a struct, its reader and its JSON Schema from one list of fields, so that they cannot differ.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Key, Kind, Node};
use crate::diagnostic::{Mark, Problem, Sink, code};

/// A type that can be read from a node. `what` names the field for messages.
pub(crate) trait FromNode: Sized {
    /// Reads the node; `None` after a problem was reported.
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self>;

    /// The value of a field that is not there; `None` when it must be there.
    fn absent() -> Option<Self> {
        None
    }
}

/// Text as written, with its place.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) value: String,
    /// Written without quotes.
    pub(crate) plain: bool,
    pub(crate) mark: Mark,
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) value: bool,
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integer {
    pub(crate) value: i64,
    pub(crate) mark: Mark,
}

/// A mapping with keys that the author chooses.
#[derive(Clone, Debug)]
pub(crate) struct Entries<T>(pub(crate) Vec<(Key, T)>);

/// Any value.
#[derive(Clone, Debug)]
pub(crate) struct Anything(pub(crate) Node);

impl FromNode for Text {
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, plain } => Some(Self {
                value: text.clone(),
                plain: *plain,
                mark: node.mark,
            }),
            Kind::Null | Kind::List(_) | Kind::Map(_) => wrong_kind(node, what, "text", sink),
        }
    }
}

impl FromNode for Flag {
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(Self { value: true }),
            Kind::Scalar { text, plain: true } if text == "false" => Some(Self { value: false }),
            Kind::Scalar { .. } | Kind::Null | Kind::List(_) | Kind::Map(_) => {
                wrong_kind(node, what, "`true` or `false`", sink)
            }
        }
    }
}

impl FromNode for Integer {
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, plain: true } => match canonical_integer(text) {
                Some(value) => Some(Self {
                    value,
                    mark: node.mark,
                }),
                None => wrong_kind(node, what, "a whole number", sink),
            },
            Kind::Scalar { .. } | Kind::Null | Kind::List(_) | Kind::Map(_) => {
                wrong_kind(node, what, "a whole number", sink)
            }
        }
    }
}

impl FromNode for Anything {
    fn from_node(node: &Node, _what: &str, _sink: &mut Sink<'_>) -> Option<Self> {
        Some(Self(node.clone()))
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        // A broken optional value is reported; reading goes on without it, so that later problems show too.
        Some(T::from_node(node, what, sink))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.kind {
            Kind::List(items) => Some(
                items
                    .iter()
                    .filter_map(|item| T::from_node(item, what, sink))
                    .collect(),
            ),
            Kind::Null | Kind::Scalar { .. } | Kind::Map(_) => wrong_kind(node, what, "a list", sink),
        }
    }
}

impl<T: FromNode> FromNode for Entries<T> {
    fn from_node(node: &Node, what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(entries) => {
                let read = |(key, value): &(Key, Node)| {
                    T::from_node(value, &key.text, sink).map(|value| (key.clone(), value))
                };
                Some(Self(entries.iter().filter_map(read).collect()))
            }
            Kind::Null | Kind::Scalar { .. } | Kind::List(_) => wrong_kind(node, what, "a mapping", sink),
        }
    }
}

/// A number in its one decimal form: no plus, no leading zeros, no underscores.
pub(crate) fn canonical_integer(text: &str) -> Option<i64> {
    text.parse::<i64>()
        .ok()
        .filter(|number| number.to_string() == text)
}

/// A field's name in quotes; what is already a phrase stays as it is.
fn named(what: &str) -> String {
    if what.contains([' ', '`']) {
        what.to_owned()
    } else {
        format!("`{what}`")
    }
}

/// Reports that a node is not of the wanted kind.
pub(crate) fn wrong_kind<T>(node: &Node, what: &str, wanted: &str, sink: &mut Sink<'_>) -> Option<T> {
    let message = match &node.kind {
        Kind::Null => format!("{} has no value", named(what)),
        Kind::Scalar { text, .. } => {
            let shown: String = text.chars().take(40).collect();
            format!("{} wants {wanted}, and here is {shown:?}", named(what))
        }
        Kind::List(_) | Kind::Map(_) => {
            format!("{} wants {wanted}, and here is {}", named(what), node.kind_name())
        }
    };
    sink.push(Problem::new(code::WRONG_KIND, node.mark, message).label(format!("{wanted} is wanted here")));
    None
}

/// A record that knows whether all of it was understood.
pub(crate) trait Whole {
    /// False when a problem was reported in it: what seems to be missing may be there, broken or under a wrong name.
    fn whole(&self) -> bool;
}

/// Checks that a node is a mapping and reports each key that is none of `fields`.
pub(crate) fn check_fields(node: &Node, what: &str, fields: &[&str], sink: &mut Sink<'_>) -> Option<()> {
    let Kind::Map(entries) = &node.kind else {
        return wrong_kind(node, what, "a mapping", sink);
    };
    for (key, _) in entries
        .iter()
        .filter(|(key, _)| !fields.contains(&key.text.as_str()))
    {
        if sink.is_full() {
            break;
        }
        let shown: String = key.text.chars().take(80).collect();
        let problem = Problem::new(
            code::UNKNOWN_FIELD,
            key.mark,
            format!("unknown field `{shown}` in {what}"),
        )
        .label(format!("{what} has: {}", fields.join(", ")))
        .meant(&key.text, fields.iter().copied());
        sink.push(problem);
    }
    Some(())
}

/// Reads one field of a mapping.
pub(crate) fn field<T: FromNode>(node: &Node, name: &str, what: &str, sink: &mut Sink<'_>) -> Option<T> {
    if let Some((_, value)) = node.get(name) {
        return T::from_node(value, name, sink);
    }
    let absent = T::absent();
    if absent.is_none() {
        sink.push(Problem::new(
            code::MISSING_FIELD,
            node.mark,
            format!("{what} needs the field `{name}`"),
        ));
    }
    absent
}

/// A struct with a fixed set of fields, its reader and its schema.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident is $what:literal { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            #[schemars(skip)]
            whole: bool,
            $($(#[$field_meta])* pub(crate) $field: $kind,)*
        }

        impl $name {
            /// The names of the fields.
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl $crate::yaml::read::Whole for $name {
            fn whole(&self) -> bool {
                self.whole
            }
        }

        impl $crate::yaml::read::FromNode for $name {
            fn from_node(node: &$crate::yaml::Node, _what: &str, sink: &mut $crate::diagnostic::Sink<'_>) -> Option<Self> {
                let before = sink.count();
                $crate::yaml::read::check_fields(node, $what, Self::FIELDS, sink)?;
                $(let $field = $crate::yaml::read::field::<$kind>(node, stringify!($field), $what, sink);)*
                Some(Self { whole: sink.count() == before, $($field: $field?,)* })
            }
        }
    };
}
pub(crate) use record;

impl JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A plain `8080` or `true` is text where text is wanted.
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl JsonSchema for Flag {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Flag".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

impl JsonSchema for Integer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Integer".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer" })
    }
}

impl JsonSchema for Anything {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean", "array", "object"] })
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("EntriesOf{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}
