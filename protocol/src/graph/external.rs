//! What a resource says that a provider of one's own keeps in a state: which program, which of its kinds, and what is wanted in the kind's own words.
//!
//! Those words are data that Writ does not understand, so they are bounded here, and have one form: maps are sorted, and there are no fractions.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::codec;
use crate::digest::Digest;
use crate::limits::NAME_BYTES_MAX;
use crate::provider::check_name;

/// Largest program of a provider, bytes: it travels in the bundle.
pub const PROGRAM_BYTES_MAX: usize = 8 << 20;
/// Largest spec of one resource, bytes of MessagePack.
pub const WANTED_BYTES_MAX: usize = 64 << 10;
/// Most values of one spec, with those that hold others.
pub const WANTED_NODES_MAX: usize = 4_096;
/// How deep the values of a spec may nest, the spec itself counted.
pub const WANTED_DEPTH_MAX: usize = 8;

/// A thing that a provider of the config keeps in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalSpec {
    /// What the config calls the provider.
    pub provider: String,
    /// Digest of the provider's program: a blob of the bundle.
    pub program: Digest,
    /// Its length, bytes.
    pub length: u64,
    /// Which of the provider's kinds it is.
    pub kind: String,
    /// What the config calls the thing.
    pub name: String,
    /// What is wanted, as the kind's schema has it.
    #[serde(deserialize_with = "codec::unique_map")]
    pub spec: BTreeMap<String, Wanted>,
}

/// A value of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Null,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Values in their order.
    List(Vec<Self>),
    /// Values by name.
    Map(BTreeMap<String, Self>),
}

impl ExternalSpec {
    /// Whether the names are names and the spec is within its bounds.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn validate(&self) -> Result<(), String> {
        check_name("the provider's name", &self.provider)?;
        check_name("the kind", &self.kind)?;
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.chars().any(char::is_control)
        {
            return Err("the name is empty, too long or has control characters".to_owned());
        }
        if self.length == 0 || self.length > PROGRAM_BYTES_MAX as u64 {
            return Err(format!(
                "the provider's program has {} bytes; 1 to {PROGRAM_BYTES_MAX} are possible",
                self.length
            ));
        }
        check_wanted(&self.spec)
    }

    /// What is wanted, as the provider is told.
    pub fn words(&self) -> Map<String, Value> {
        words(&self.spec)
    }
}

/// Whether a spec is within its bounds: [`WANTED_BYTES_MAX`], [`WANTED_NODES_MAX`], [`WANTED_DEPTH_MAX`].
///
/// # Errors
/// The bound that it breaks, in words.
pub fn check_wanted(spec: &BTreeMap<String, Wanted>) -> Result<(), String> {
    let mut nodes = 1;
    for value in spec.values() {
        value.count(2, &mut nodes)?;
    }
    let bytes = codec::to_msgpack("spec", spec).map_err(|error| error.to_string())?;
    if bytes.len() > WANTED_BYTES_MAX {
        return Err(format!(
            "the spec has {} bytes, at most {WANTED_BYTES_MAX} are accepted",
            bytes.len()
        ));
    }
    Ok(())
}

fn words(map: &BTreeMap<String, Wanted>) -> Map<String, Value> {
    let entries = map.iter().map(|(name, value)| (name.clone(), value.word()));
    entries.collect()
}

impl Wanted {
    fn count(&self, depth: usize, nodes: &mut usize) -> Result<(), String> {
        *nodes += 1;
        if depth > WANTED_DEPTH_MAX {
            return Err(format!("the spec nests deeper than {WANTED_DEPTH_MAX} levels"));
        }
        if *nodes > WANTED_NODES_MAX {
            return Err(format!("the spec has more than {WANTED_NODES_MAX} values"));
        }
        match self {
            Self::Null | Self::Flag(_) | Self::Integer(_) | Self::Text(_) => Ok(()),
            Self::List(values) => values.iter().try_for_each(|value| value.count(depth + 1, nodes)),
            Self::Map(values) => values
                .values()
                .try_for_each(|value| value.count(depth + 1, nodes)),
        }
    }

    fn word(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(values) => values.iter().map(Self::word).collect(),
            Self::Map(values) => Value::Object(words(values)),
        }
    }
}

impl Serialize for Wanted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => values.serialize(serializer),
            Self::Map(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Wanted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nothing, a flag, a whole number, text, a list or a map")
            }

            fn visit_unit<E>(self) -> Result<Wanted, E> {
                Ok(Wanted::Null)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Wanted, E> {
                Ok(Wanted::Flag(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Wanted, E> {
                Ok(Wanted::Integer(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Wanted, E> {
                let number = i64::try_from(number);
                number
                    .map(Wanted::Integer)
                    .map_err(|_| E::custom("a number is too large"))
            }

            fn visit_str<E>(self, text: &str) -> Result<Wanted, E> {
                Ok(Wanted::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Wanted, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = access.next_element()? {
                    if values.len() >= WANTED_NODES_MAX {
                        return Err(A::Error::custom("a list is too long"));
                    }
                    values.push(value);
                }
                Ok(Wanted::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Wanted, A::Error> {
                let mut values = BTreeMap::new();
                while let Some((name, value)) = access.next_entry()? {
                    if values.insert(name, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(Wanted::Map(values))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(spec: Vec<(&str, Wanted)>) -> ExternalSpec {
        ExternalSpec {
            provider: "acme-notes".into(),
            program: Digest::of(b"#!"),
            length: 2,
            kind: "note".into(),
            name: "hello".into(),
            spec: spec
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }

    fn nested(depth: usize) -> Wanted {
        (1..depth).fold(Wanted::Null, |inner, _| Wanted::List(vec![inner]))
    }

    #[test]
    fn a_spec_reads_back_and_has_one_form_whatever_the_order_of_its_keys() {
        let both = [("b", Wanted::Integer(-300)), ("a", Wanted::Text("x".into()))];
        let map = |order: [usize; 2]| {
            let entries = order.map(|at| (both[at].0.to_owned(), both[at].1.clone()));
            Wanted::Map(entries.into())
        };
        let one = external(vec![
            ("m", map([0, 1])),
            (
                "l",
                Wanted::List(vec![
                    Wanted::Flag(true),
                    Wanted::Null,
                    Wanted::Integer(i64::MAX),
                    Wanted::Integer(300),
                ]),
            ),
        ]);
        let other = external(vec![
            (
                "l",
                Wanted::List(vec![
                    Wanted::Flag(true),
                    Wanted::Null,
                    Wanted::Integer(i64::MAX),
                    Wanted::Integer(300),
                ]),
            ),
            ("m", map([1, 0])),
        ]);
        let bytes = codec::to_msgpack("spec", &one).expect("encodes");
        assert_eq!(codec::to_msgpack("spec", &other).expect("encodes"), bytes);
        let read: ExternalSpec = codec::from_msgpack("spec", &bytes, 4_096).expect("decodes");
        assert_eq!(read, one);
        one.validate().expect("is well");
        assert_eq!(one.words()["m"]["b"], -300);
    }

    #[test]
    fn bounds_and_names_are_held() {
        for (bad, why) in [
            (external(vec![("a", nested(WANTED_DEPTH_MAX))]), "nests deeper"),
            (
                external(vec![("a", Wanted::List(vec![Wanted::Null; WANTED_NODES_MAX]))]),
                "more than",
            ),
            (
                external(vec![("a", Wanted::Text("x".repeat(WANTED_BYTES_MAX)))]),
                "bytes",
            ),
            (
                ExternalSpec {
                    kind: "../note".into(),
                    ..external(vec![])
                },
                "the kind",
            ),
            (
                ExternalSpec {
                    length: 0,
                    ..external(vec![])
                },
                "program",
            ),
        ] {
            let told = bad.validate().expect_err(why);
            assert!(told.contains(why), "{told}");
        }
        external(vec![("a", nested(WANTED_DEPTH_MAX - 1))])
            .validate()
            .expect("as deep as it may be");
    }

    #[test]
    fn fractions_and_repeated_keys_are_no_spec() {
        for bad in [
            r#"{"a":0.5}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":18446744073709551615}"#,
        ] {
            assert!(serde_json::from_str::<Wanted>(bad).is_err(), "{bad}");
        }
    }
}
