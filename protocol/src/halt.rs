//! Halts: a signed stop with a scope, counted by the control epoch. One signature sets it, two principals lift it.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::{Envelope, Verified};
use crate::id::{AgentId, HaltId, RunId};
use crate::key::SigningKey;
use crate::statement::{self, Predicate, Statement, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustError};

/// What a halt covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Scope {
    /// Everything of the tenant.
    All,
    /// Orders of one project.
    Project(String),
    /// Agents labelled with one environment (`env`).
    Environment(String),
    /// One run.
    Run(RunId),
    /// One agent.
    Agent(AgentId),
}

/// How hard it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltAction {
    /// The running step ends by itself, no further one starts.
    Soft,
    /// Running steps are killed now.
    Hard,
    /// As hard, and nothing may write until it is lifted.
    Lockdown,
}

/// A stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Halt {
    /// The tenant.
    pub tenant: String,
    /// Its name.
    pub halt_id: HaltId,
    /// What it covers.
    pub scope: Scope,
    /// How hard.
    pub action: HaltAction,
    /// The control epoch that it begins.
    pub control_epoch: u64,
    /// Why, for people.
    pub reason: String,
    /// Who.
    pub set_by: String,
    /// When.
    pub issued_at: Timestamp,
}

impl Predicate for Halt {
    const TYPE: &'static str = "https://writ.dev/halt/v1";
    const ROLE: Role = Role::Control;
    const BYTES_MAX: usize = 16 << 10;
}

/// The end of a halt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lift {
    /// The tenant.
    pub tenant: String,
    /// Which halt.
    pub halt_id: HaltId,
    /// The control epoch that the lift begins.
    pub control_epoch: u64,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub issued_at: Timestamp,
}

impl Predicate for Lift {
    const TYPE: &'static str = "https://writ.dev/lift/v1";
    const ROLE: Role = Role::ControlLift;
    const BYTES_MAX: usize = 16 << 10;
}

/// Signs a halt.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign(halt: Halt, key: &SigningKey) -> Result<Envelope, StatementError> {
    let subject = vec![subject(halt.halt_id)];
    statement::sign(subject, halt, &[key])
}

/// Signs a lift with the keys that are at hand; more can be added to the envelope.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign_lift(lift: Lift, keys: &[&SigningKey]) -> Result<Envelope, StatementError> {
    let subject = vec![subject(lift.halt_id)];
    statement::sign(subject, lift, keys)
}

/// Verifies a halt and that it is the keyring's tenant's.
///
/// # Errors
/// [`TrustError`].
pub fn open(bytes: &[u8], keyring: &Keyring, at: Timestamp) -> Result<Verified<Statement<Halt>>, TrustError> {
    let halt = keyring.open::<Halt>(bytes, at)?;
    check_tenant(&halt.predicate.tenant, keyring)?;
    Ok(halt)
}

/// Verifies a lift by the threshold of [`Role::ControlLift`] and that it is the keyring's tenant's.
///
/// # Errors
/// [`TrustError`].
pub fn open_lift(
    bytes: &[u8],
    keyring: &Keyring,
    at: Timestamp,
) -> Result<Verified<Statement<Lift>>, TrustError> {
    let lift = keyring.open::<Lift>(bytes, at)?;
    check_tenant(&lift.predicate.tenant, keyring)?;
    Ok(lift)
}

/// Which halts a reader holds after a manifest or hello answer that carries these, each the base64 of an envelope's JSON: a halt ends by a lift that
/// verifies, and by nothing else. What does not verify changes nothing.
pub fn holds_after(
    held: &BTreeSet<HaltId>,
    halts: &[String],
    lifts: &[String],
    (keyring, at): (&Keyring, Timestamp),
) -> BTreeSet<HaltId> {
    let bytes = |text: &String| BASE64.decode(text.as_bytes()).ok();
    let lifted: BTreeSet<HaltId> = lifts
        .iter()
        .filter_map(|text| open_lift(&bytes(text)?, keyring, at).ok())
        .map(|lift| lift.predicate.halt_id)
        .collect();
    let set = halts
        .iter()
        .filter_map(|text| open(&bytes(text)?, keyring, at).ok())
        .map(|halt| halt.predicate.halt_id);
    set.chain(held.iter().copied().filter(|id| !lifted.contains(id)))
        .collect()
}

fn check_tenant(found: &str, keyring: &Keyring) -> Result<(), TrustError> {
    if found == keyring.tenant() {
        return Ok(());
    }
    Err(TrustError::WrongTenant {
        found: found.chars().take(128).collect(),
        wanted: keyring.tenant().to_owned(),
    })
}

fn subject(halt_id: HaltId) -> Subject {
    Subject::new(
        format!("halt/{halt_id}"),
        &Digest::of(halt_id.to_string().as_bytes()),
    )
}
