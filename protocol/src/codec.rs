//! The one decoder for each format: bounded before it allocates, strict about depth, repeats and trailing bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::DEPTH_MAX;

/// Why bytes were not decoded or a value not encoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The input is longer than its kind allows; nothing was parsed.
    #[error("{what} has {len} bytes, at most {max} are accepted")]
    TooLong {
        /// The kind of input.
        what: &'static str,
        /// Its length, bytes.
        len: usize,
        /// The bound, bytes.
        max: usize,
    },
    /// The input nests deeper than [`DEPTH_MAX`].
    #[error("{what} nests deeper than {DEPTH_MAX} levels")]
    TooDeep {
        /// The kind of input.
        what: &'static str,
    },
    /// The input is not well formed, or has unknown, repeated or missing fields.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// The kind of input.
        what: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// Bytes follow the value.
    #[error("{what} has {count} bytes after its end")]
    Trailing {
        /// The kind of input.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

/// Decodes JSON of at most `max` bytes and [`DEPTH_MAX`] levels.
///
/// # Errors
/// [`CodecError`], naming the kind of input `what`.
pub fn from_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, CodecError> {
    check_length(what, bytes, max)?;
    check_json_depth(what, bytes)?;
    serde_json::from_slice(bytes).map_err(|e| malformed(what, &e))
}

/// Encodes a value as compact JSON; field order is the type's, so equal values give equal bytes.
///
/// # Errors
/// When the value cannot be JSON (a map with keys that are not text).
pub fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CodecError> {
    serde_json::to_vec(value).map_err(|e| malformed(what, &e))
}

/// Decodes MessagePack of at most `max` bytes and [`DEPTH_MAX`] levels; every byte must belong to the value.
///
/// # Errors
/// [`CodecError`], naming the kind of input `what`.
pub fn from_msgpack<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, CodecError> {
    check_length(what, bytes, max)?;
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(bytes));
    deserializer.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut deserializer).map_err(|e| match e {
        rmp_serde::decode::Error::DepthLimitExceeded => CodecError::TooDeep { what },
        other => malformed(what, &other),
    })?;
    let taken = usize::try_from(deserializer.position()).unwrap_or(usize::MAX);
    match bytes.len().saturating_sub(taken) {
        0 => Ok(value),
        count => Err(CodecError::Trailing { what, count }),
    }
}

/// Encodes a value as MessagePack, structs as maps with names so that later versions may add fields.
///
/// # Errors
/// When the value cannot be MessagePack.
pub fn to_msgpack<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec_named(value).map_err(|e| malformed(what, &e))
}

fn check_length(what: &'static str, bytes: &[u8], max: usize) -> Result<(), CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLong {
            what,
            len: bytes.len(),
            max,
        });
    }
    Ok(())
}

fn malformed(what: &'static str, error: &dyn fmt::Display) -> CodecError {
    let mut detail = error.to_string();
    if detail.len() > 512 {
        let cut = (0..=512).rev().find(|i| detail.is_char_boundary(*i)).unwrap_or(0);
        detail.truncate(cut);
    }
    CodecError::Malformed { what, detail }
}

/// Counts open brackets outside strings, so that a hostile text is refused before a recursive parser sees it.
fn check_json_depth(what: &'static str, bytes: &[u8]) -> Result<(), CodecError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(CodecError::TooDeep { what });
        }
    }
    Ok(())
}

/// Reads a map and refuses a key that stands twice; `serde_json` alone would keep the last one silently.
///
/// For `#[serde(deserialize_with = "codec::unique_map")]`.
///
/// # Errors
/// When a key repeats, or the map is malformed.
pub fn unique_map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);
    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map without repeated keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry()? {
                if map.insert(key, value).is_some() {
                    return Err(serde::de::Error::custom("a key stands twice"));
                }
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(deserialize_with = "unique_map")]
        labels: BTreeMap<String, u8>,
    }

    fn json(text: &str) -> Result<Sample, CodecError> {
        from_json("sample", text.as_bytes(), 256)
    }

    #[test]
    fn unknown_repeated_and_trailing_input_is_refused() {
        assert!(json(r#"{"name":"a","labels":{"x":1}}"#).is_ok());
        for bad in [
            r#"{"name":"a","labels":{},"more":1}"#,
            r#"{"name":"a","name":"b","labels":{}}"#,
            r#"{"name":"a","labels":{"x":1,"x":2}}"#,
            r#"{"name":"a","labels":{}} "x""#,
        ] {
            assert!(matches!(json(bad), Err(CodecError::Malformed { .. })), "{bad}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded_before_parsing() {
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(matches!(json(&deep), Err(CodecError::TooDeep { .. })));
        assert!(matches!(json(&" ".repeat(300)), Err(CodecError::TooLong { .. })));
        let brackets_in_text = format!(r#"{{"name":"{}","labels":{{}}}}"#, "[".repeat(100));
        assert!(json(&brackets_in_text).is_ok());
    }

    #[test]
    fn messagepack_reads_back_and_refuses_trailing_bytes() {
        let value = Sample {
            name: "a".into(),
            labels: BTreeMap::from([("x".into(), 1)]),
        };
        let mut bytes = to_msgpack("sample", &value).expect("encodes");
        assert_eq!(
            from_msgpack::<Sample>("sample", &bytes, 256).expect("decodes"),
            value
        );
        bytes.push(0xc0);
        assert!(matches!(
            from_msgpack::<Sample>("sample", &bytes, 256),
            Err(CodecError::Trailing { count: 1, .. })
        ));
        let deep = vec![0x91; 100];
        assert!(from_msgpack::<serde_json::Value>("sample", &deep, 256).is_err());
    }
}
