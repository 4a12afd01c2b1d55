//! The plan role's word about a reviewed plan: approvals and orders name the plan's digest, and this says which bundle it is a plan of.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
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

/// What begins the bytes of [`rests_on`], so that no other digest is one of these.
const RESTS_ON: &[u8] = b"writ rests-on v1\n";

/// What a host's changes rest on: a digest over the resources that would change, each with the digest of what was seen of it, in the graph's
/// order. What is as it should be is not part of it: a log that grows makes no plan stale.
pub fn rests_on<'a>(seen: impl IntoIterator<Item = (&'a str, Digest)>) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(RESTS_ON);
    for (resource, observed) in seen {
        hasher.update(&u64::try_from(resource.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(resource.as_bytes());
        hasher.update(observed.as_bytes());
    }
    hasher.finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_resource_observation_or_order_is_another_digest() {
        let (x, y) = (Digest::of(b"x"), Digest::of(b"y"));
        let all = [
            rests_on([]),
            rests_on([("file:/a", x)]),
            rests_on([("file:/a", y)]),
            rests_on([("file:/b", x)]),
            rests_on([("file:/a", x), ("file:/b", y)]),
            rests_on([("file:/b", y), ("file:/a", x)]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(rests_on([("file:/a", x)]), all[1]);
    }
}
