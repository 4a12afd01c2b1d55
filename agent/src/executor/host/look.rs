//! Looking at a step. What a check does, and an apply before its first change, the kernel holds to reading wherever no program is to be asked: that
//! nothing changes then is a fact.

use writ_protocol::digest::Digest;
use writ_protocol::exec::{Meter, Usage};
use writ_protocol::graph::Resource;
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;
use writ_providers::{Change, Context};
use writ_sandbox::only_reading;

use super::{CHANGES_MAX, HostExecutor, Job, failure, for_record};
use crate::core::{Failure, Seen};

/// What a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// To know: of a check, or before the first change of an apply. Nothing may change, and the kernel holds the thread that looks to that.
    Held,
    /// To go on: between changes that are being made.
    Amid,
}

/// Looks on a thread that can only read.
pub(in crate::executor) fn held<T: Send>(look: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    only_reading(look).map_err(|error| failure(error.code(), &error))
}

impl HostExecutor {
    /// Looks at a step.
    pub(super) fn observe_by(&self, job: &Job, look: Look) -> Result<Seen, Failure> {
        let mut used = Usage::none(Meter::Agent);
        let order_id = job.step.order.order_id;
        let (changes, digest, mut usage) = self.with(job, &mut used, |resource, context| match look {
            Look::Held => self.see_only(resource, context, order_id),
            Look::Amid => self.see(resource, context, order_id),
        })?;
        usage.at_least(&used);
        let told = changes.iter().take(CHANGES_MAX).map(for_record).collect();
        self.present().seen = Some((job.step.order.order_id, job.step.index, changes));
        Ok(Seen {
            digest,
            changes: told,
            usage,
        })
    }

    /// Whether a resource applies on this host.
    fn applies(&self, resource: &Resource, order_id: OrderId) -> Result<bool, Failure> {
        let Some(when) = &resource.when else {
            return Ok(true);
        };
        let mut present = self.present();
        if present.facts.as_ref().is_none_or(|(of, _)| *of != order_id) {
            present.facts = Some((order_id, (self.facts)()));
        }
        let facts = present.facts.as_ref().map(|(_, facts)| facts);
        let decided = facts.map_or(Ok(false), |facts| when.holds(facts));
        decided.map_err(|fact| Failure {
            code: Code::StepFailed,
            detail: format!("the host does not tell `{}`, which decides `{when}`", fact.name()),
        })
    }

    pub(super) fn look(
        &self,
        resource: &Resource,
        context: &Context<'_>,
    ) -> Result<(Vec<Change>, Digest, Usage), Failure> {
        let seen = self
            .host
            .observe(resource, context)
            .map_err(|error| failure(error.code(), &error))?;
        let mut changes = self
            .host
            .diff(resource, &seen.observation)
            .map_err(|error| failure(error.code(), &error))?;
        self.host.explain(resource, &mut changes, context);
        let digest = seen
            .observation
            .digest()
            .map_err(|error| failure(Code::Internal, &error))?;
        Ok((changes, digest, seen.usage))
    }

    /// Looks, where the resource applies on this host.
    pub(super) fn see(
        &self,
        resource: &Resource,
        context: &Context<'_>,
        order_id: OrderId,
    ) -> Result<(Vec<Change>, Digest, Usage), Failure> {
        if self.applies(resource, order_id)? {
            self.look(resource, context)
        } else {
            Ok((Vec::new(), Resource::not_applying(), Usage::none(Meter::Agent)))
        }
    }

    /// Looks, and can do nothing else where looking only reads files.
    fn see_only(
        &self,
        resource: &Resource,
        context: &Context<'_>,
        order_id: OrderId,
    ) -> Result<(Vec<Change>, Digest, Usage), Failure> {
        let see = || self.see(resource, context, order_id);
        if self.host.only_reads(resource) {
            held(see)?
        } else {
            see()
        }
    }
}
