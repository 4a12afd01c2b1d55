//! What a provider is to implement, and what it is handed with each question.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use writ_protocol::digest::Digest;
use writ_protocol::provider::{Capability, Change, Kind, Problem, Reason, Subject};

use crate::cancel::Cancel;

/// Keeps things of some kinds in a state.
///
/// Three promises, each held by a case of the conformance suite: observing and diffing change nothing; an apply of what a diff says makes the
/// next diff empty; and a provider that is killed at any moment can be started anew and come to the same end.
pub trait Provider {
    /// Who this is and what it can do. Asked once.
    fn describe(&self) -> Description;

    /// What is there, without contents and secrets; equal states give equal values. Changes nothing.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be seen, or the question makes no sense.
    fn observe(&mut self, work: &Work<'_>) -> Result<Value, Problem>;

    /// What differs from what is wanted; nothing where all is as it should be. Changes nothing.
    ///
    /// # Errors
    /// [`Problem`], also where an apply would refuse.
    fn diff(&mut self, work: &Work<'_>, observation: &Value) -> Result<Vec<Change>, Problem>;

    /// Makes the changes that a diff said; nothing where there are none.
    ///
    /// # Errors
    /// [`Problem`].
    fn apply(&mut self, work: &Work<'_>, changes: &[Change]) -> Result<(), Problem>;
}

/// Who a provider is.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its name: a lowercase letter, then lowercase letters, digits and dashes.
    pub name: String,
    /// Its own release, such as `0.1.0`.
    pub release: String,
    /// What it can do beyond answering.
    pub capabilities: BTreeSet<Capability>,
    /// The kinds of thing that it keeps in a state.
    pub kinds: Vec<Kind>,
}

impl Description {
    /// A kind from its schema as JSON text.
    ///
    /// # Errors
    /// The parser's words, when it is not a JSON object.
    pub fn kind(name: &str, schema: &str) -> Result<Kind, String> {
        let schema: Map<String, Value> = serde_json::from_str(schema).map_err(|error| error.to_string())?;
        Ok(Kind {
            name: name.to_owned(),
            schema,
        })
    }
}

/// A question at work.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// What it is about.
    pub subject: &'a Subject,
    /// Content that the host lent for it; each was compared with its digest.
    pub lent: &'a BTreeMap<Digest, Vec<u8>>,
    /// Whether the host wants it to end.
    pub cancel: &'a Cancel,
    pub(crate) say: &'a RefCell<dyn FnMut(&str) + 'a>,
}

impl fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("subject", self.subject)
            .finish_non_exhaustive()
    }
}

impl Work<'_> {
    /// The spec as a type of yours, which should refuse unknown fields.
    ///
    /// # Errors
    /// [`Reason::Invalid`] with what is wrong.
    pub fn spec<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let spec = Value::Object(self.subject.spec.clone());
        serde_json::from_value(spec).map_err(|error| {
            let detail = format!("{}: {error}", self.subject.id);
            Problem::new(Reason::Invalid, &detail)
        })
    }

    /// Tells the host how it gets on; only with [`Capability::Progress`].
    pub fn say(&self, text: &str) {
        if let Ok(mut say) = self.say.try_borrow_mut() {
            say(text);
        }
    }
}
