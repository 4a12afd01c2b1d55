//! Every vector, made from the fixed world: one file for each group of areas, one call for each case.

mod agent;
mod batch;
pub(crate) mod bundle;
mod enrol;
mod envelope;
pub(crate) mod halt;
mod key;
pub(crate) mod manifest;
mod pack;
mod plan;
mod record;
mod statement;
mod trust;

use std::collections::BTreeMap;

use serde_json::Value;
use writ_protocol::reason::Code;

use crate::case::{Case, Check, Context, Expect, Vector};
use crate::world::MakeError;

type Maker = fn() -> Result<Vec<Vector>, MakeError>;

/// Makes all vectors.
///
/// # Errors
/// When a document of the world cannot be written: a mistake in this crate.
pub fn all() -> Result<Vec<Vector>, MakeError> {
    let makers: [Maker; 13] = [
        envelope::make,
        statement::make,
        trust::make,
        manifest::make,
        bundle::make,
        plan::make,
        record::make,
        batch::make,
        agent::make,
        halt::make,
        enrol::make,
        pack::make,
        key::make,
    ];
    let mut all = Vec::new();
    for make in makers {
        all.extend(make()?);
    }
    Ok(all)
}

/// What a case hands to the reader.
#[derive(Clone, Debug)]
struct Given {
    check: Check,
    input: &'static str,
    bytes: Vec<u8>,
    context: Context,
    more: BTreeMap<String, Vec<u8>>,
}

impl Given {
    fn new(check: Check, input: &'static str, bytes: impl Into<Vec<u8>>, context: Context) -> Self {
        let more = BTreeMap::new();
        Self {
            check,
            input,
            bytes: bytes.into(),
            context,
            more,
        }
    }

    fn with(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.more.insert(name.to_owned(), bytes);
        self
    }
}

/// The cases of one area.
struct Area {
    name: &'static str,
    vectors: Vec<Vector>,
}

impl Area {
    fn new(name: &'static str) -> Self {
        let vectors = Vec::new();
        Self { name, vectors }
    }

    fn good(&mut self, name: &str, why: &str, given: Given, value: Value) {
        self.push(name, why, given, Expect::Accept { value });
    }

    fn bad(&mut self, name: &str, why: &str, given: Given, error: &str) {
        let error = error.to_owned();
        self.push(name, why, given, Expect::Reject { error, code: None });
    }

    fn coded(&mut self, name: &str, why: &str, given: Given, (error, code): (&str, Code)) {
        let (error, code) = (error.to_owned(), Some(code));
        self.push(name, why, given, Expect::Reject { error, code });
    }

    fn push(&mut self, name: &str, why: &str, given: Given, expect: Expect) {
        let mut files = given.more;
        files.insert(given.input.to_owned(), given.bytes);
        let case = Case {
            name: name.to_owned(),
            area: self.name.to_owned(),
            why: why.to_owned(),
            check: given.check,
            input: given.input.to_owned(),
            context: given.context,
            expect,
        };
        self.vectors.push(Vector { case, files });
    }
}

/// Replaces the first occurrence of a piece of text that must be there.
fn swap(text: &str, from: &str, to: &str) -> Result<String, MakeError> {
    if !text.contains(from) {
        return Err(format!("{from:?} does not occur in what was to be changed").into());
    }
    Ok(text.replacen(from, to, 1))
}

/// Sets what a JSON pointer names, which must be there or be a new field of an object.
fn put(json: &mut Value, pointer: &str, value: Value) -> Result<(), MakeError> {
    let (parent, last) = pointer.rsplit_once('/').ok_or("a pointer begins with /")?;
    match json.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.insert(last.to_owned(), value);
            Ok(())
        }
        Some(_) | None => Err(format!("there is no object at {parent:?}").into()),
    }
}

/// Flips one bit of a byte.
fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes
}
