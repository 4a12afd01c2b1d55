//! The plan role's word about a reviewed plan: approvals and orders name the plan's digest, and this says which bundle it is a plan of.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::id::RunId;
use crate::key::SigningKey;
use crate::manifest::BundleRef;
use crate::statement::{self, Predicate, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::Role;

/// What the plan key says about a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanStatement {
    /// The tenant.
    pub tenant: String,
    /// The project.
    pub project: String,
    /// SHA-256 of the plan's canonical bytes.
    pub plan_digest: Digest,
    /// The bundle that it applies.
    pub bundle: BundleRef,
    /// The check run that observed the hosts.
    pub run_id: RunId,
    /// When it was signed.
    pub issued_at: Timestamp,
}

impl Predicate for PlanStatement {
    const TYPE: &'static str = "https://writ.dev/plan/v1";
    const ROLE: Role = Role::Plan;
    const BYTES_MAX: usize = 16 << 10;
}

/// Signs the word about a plan. Its subjects are the plan and the bundle.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign(plan: PlanStatement, key: &SigningKey) -> Result<Envelope, StatementError> {
    let subject = vec![
        Subject::new("plan", &plan.plan_digest),
        Subject::new("bundle", &plan.bundle.digest),
    ];
    statement::sign(subject, plan, &[key])
}
