//! What environments let happen without a person: set by admins, and taken up by the clock.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use uuid::Uuid;
use writ_chassis::telemetry::ErrorChain;
use writ_domain::drift::finding::State as Standing;
use writ_domain::remediation::{AGAIN_SPAN, Held, Mode, Past, Policy, may_begin};
use writ_protocol::id::DriftId;
use writ_protocol::reason::Code;
use writ_store::remediation::{self as rows, policy};
use writ_store::{audit, drift};

use super::advance::{Remediated, by_policy};
use super::begin::Wanted;
use super::{FINDINGS_MAX, NewRemediationPolicy, Pair, check};
use crate::app::view::RemediationPolicyView;
use crate::app::{App, Caller, Error, OperatorRole, lockdown, once};

/// Most policies.
const POLICIES_MAX: u32 = 1_000;
/// Longest name of an environment, bytes.
const ENVIRONMENT_BYTES_MAX: usize = 64;
/// Environments in which nothing is put right without a person, whatever a policy says: plans have no approvals that could say otherwise.
const PRODUCTION: [&str; 2] = ["prod", "production"];

/// What became of findings of which a remediation might begin.
enum Taken {
    Begun,
    /// None of these may.
    Left,
    /// Nothing more may in their environment for now.
    Full,
}

impl App {
    /// What environments let happen without a person. One that is not named lets nothing happen.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remediation_policies(&self) -> Result<Vec<RemediationPolicyView>, Error> {
        let mut tx = self.store.begin("remediation.policies").await?;
        let all = policy::list(&mut tx, POLICIES_MAX).await?;
        Ok(all.iter().map(RemediationPolicyView::from).collect())
    }

    /// Sets what an environment lets happen without a person.
    ///
    /// # Errors
    /// [`Error`] with W0001 where a bound is none, W0004 where it is production and would put right by itself.
    pub async fn set_remediation_policy(
        &self,
        caller: &Caller,
        environment: &str,
        new: NewRemediationPolicy,
    ) -> Result<RemediationPolicyView, Error> {
        caller.require(OperatorRole::Admin)?;
        check(&new.reason)?;
        let is_name = (1..=ENVIRONMENT_BYTES_MAX).contains(&environment.len())
            && environment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !is_name {
            return Err(Error::malformed(format!(
                "an environment is named by 1 to {ENVIRONMENT_BYTES_MAX} letters, digits, dots, underscores and hyphens"
            )));
        }
        if [new.hosts_at_once, new.per_hour, new.failures_max]
            .iter()
            .any(|n| !(1..=10_000).contains(n))
        {
            return Err(Error::malformed("each bound of a policy is 1 to 10000"));
        }
        if new.mode == Mode::Autocorrect && PRODUCTION.contains(&environment.to_ascii_lowercase().as_str()) {
            return Err(Error::conflict(format!(
                "{environment} is production: there remediations are proposed, and a person says yes; use the mode propose"
            )));
        }
        let now = self.now();
        let kept = policy::Kept {
            environment: environment.to_owned(),
            policy: Policy {
                mode: new.mode,
                hosts_at_once: new.hosts_at_once,
                per_hour: new.per_hour,
                failures_max: new.failures_max,
                is_stopped: false,
            },
            set_by: caller.name.clone(),
            set_at: now,
            reason: new.reason,
            stopped_at: None,
        };
        let mut tx = self.store.begin("remediation.policy").await?;
        let leave = lockdown::ask(&mut tx, &writ_domain::halt::Change::Tenant).await?;
        policy::set(&mut tx, &kept).await?;
        let view = RemediationPolicyView::from(&kept);
        let body = json!({ "environment": kept.environment, "mode": new.mode.name(), "hostsAtOnce": new.hosts_at_once,
            "perHour": new.per_hour, "failuresMax": new.failures_max, "reason": kept.reason });
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        audit::write(&mut tx, act, "remediation.policy", environment, body).await?;
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Begins what policies let begin, of findings behind one; behind which the next pass goes on.
    pub(super) async fn begin_by_policy(&self, after: Uuid, done: &mut Remediated) -> Result<Uuid, Error> {
        let most = self.settings.remediations_per_pass;
        let mut tx = self.store.begin("remediation.waiting").await?;
        let found = rows::waiting(&mut tx, DriftId::from_uuid(after), most).await?;
        drop(tx);
        let is_page = u32::try_from(found.len()).is_ok_and(|count| count == most);
        let last = found.last().filter(|_| is_page);
        let next = last.map_or(Uuid::nil(), |(one, _)| one.drift_id.as_uuid());
        let mut by_pair: BTreeMap<(String, Pair), Vec<DriftId>> = BTreeMap::new();
        for (one, environment) in found {
            let pair = (one.agent_id, one.project.clone());
            by_pair.entry((environment, pair)).or_default().push(one.drift_id);
        }
        let mut full = BTreeSet::new();
        for ((environment, _), ids) in by_pair {
            if full.contains(&environment) {
                continue;
            }
            match self.begin_one(&environment, &ids).await {
                Ok(Taken::Begun) => done.begun += 1,
                Ok(Taken::Left) => {}
                Ok(Taken::Full) => {
                    full.insert(environment);
                }
                Err(error) if error.is_retryable() => return Err(error),
                // A lockdown, a budget, or the host has moved on: a later pass asks again.
                Err(error) if matches!(error.code(), Code::LockedDown | Code::Conflict) => {
                    tracing::debug!(environment, error = %ErrorChain(&error), "a remediation cannot begin now");
                }
                Err(error) => {
                    tracing::warn!(environment, error = %ErrorChain(&error), "a remediation cannot begin");
                }
            }
        }
        Ok(next)
    }

    async fn begin_one(&self, environment: &str, ids: &[DriftId]) -> Result<Taken, Error> {
        let now = self.now();
        let mut tx = self.store.begin("remediation.begin").await?;
        let Some(kept) = policy::lock(&mut tx, environment).await? else {
            return Ok(Taken::Full);
        };
        let load = policy::load(&mut tx, &kept, None, now).await?;
        let times = rows::times(&mut tx, ids, now.minus(AGAIN_SPAN)).await?;
        let times: BTreeMap<DriftId, u64> = times.into_iter().collect();
        let mut findings = Vec::new();
        for id in ids.iter().take(FINDINGS_MAX) {
            let Some(one) = drift::lock(&mut tx, *id).await? else {
                continue;
            };
            let past = Past {
                class: one.class,
                is_flapping: one.standing.is_flapping(now),
                times: times.get(id).map_or(0, |n| u32::try_from(*n).unwrap_or(u32::MAX)),
            };
            match may_begin(&kept.policy, load, past) {
                Ok(()) if one.standing.state == Standing::Open => findings.push(one),
                Ok(()) | Err(Held::ComesBack | Held::Unseen) => {}
                Err(_) => return Ok(Taken::Full),
            }
        }
        if findings.is_empty() {
            return Ok(Taken::Left);
        }
        let wanted = Wanted {
            findings,
            is_asked: false,
            reason: format!("the policy of {environment} is {}", kept.policy.mode.name()),
        };
        let caller = by_policy();
        if let Err(error) = self.begin_remediation(&mut tx, &caller, wanted, now).await {
            return Err(self.undo(tx, &caller, error).await);
        }
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(Taken::Begun)
    }
}
