//! Looks at files that follow each other, on one thread and under one handle: what makes a host of ten thousand files quick to look at.

use writ_protocol::exec::{Meter, Usage};
use writ_protocol::graph::{Resource, Spec};
use writ_providers::Context;

use super::{CHANGES_MAX, HostExecutor, Job, Look, for_record, held};
use crate::core::{Failure, Seen};
use crate::executor::{LOOKS_LAST, LOOKS_MAX};

impl HostExecutor {
    /// Looks at files that follow each other, the first being the step itself; up to the first that differs, where a change follows. No process is
    /// started for a file, so one handle serves all, and one thread.
    fn see_files(
        &self,
        job: &Job,
        context: &Context<'_>,
        is_change_next: bool,
    ) -> Vec<Result<Seen, Failure>> {
        let (order_id, until) = (job.step.order.order_id, self.clock.boot().plus(LOOKS_LAST));
        let resources = job.bundle.iter().flat_map(|bundle| &bundle.graph().resources);
        let files = resources
            .enumerate()
            .skip(job.step.index)
            .take_while(|(_, one)| matches!(one.spec, Spec::File(_)));
        let mut seen = Vec::new();
        for (index, resource) in files.take(LOOKS_MAX) {
            let look = self.see(resource, context, order_id);
            let is_settled = matches!(&look, Ok((changes, ..)) if changes.is_empty());
            let told = look.map(|(changes, digest, usage)| {
                let told = changes.iter().take(CHANGES_MAX).map(for_record).collect();
                if is_change_next {
                    self.present().seen = Some((order_id, index, changes));
                }
                Seen {
                    digest,
                    changes: told,
                    usage,
                }
            });
            seen.push(told);
            let is_last = is_change_next && !is_settled;
            if is_last || self.clock.boot() >= until || context.control.asked().is_some() {
                break;
            }
        }
        seen
    }

    /// Looks at the step and at files after it; nothing where it is no file.
    pub(super) fn files_from(&self, job: &Job, kind: Look) -> Vec<Result<Seen, Failure>> {
        let resource = job
            .bundle
            .as_ref()
            .and_then(|bundle| bundle.graph().resources.get(job.step.index));
        if !resource.is_some_and(|one| matches!(one.spec, Spec::File(_))) {
            return Vec::new();
        }
        let mut used = Usage::none(Meter::Agent);
        let look = |_: &Resource, context: &Context<'_>| match kind {
            Look::Held => held(|| self.see_files(job, context, false)),
            Look::Amid => Ok(self.see_files(job, context, true)),
        };
        let seen = self.with(job, &mut used, look);
        seen.unwrap_or_else(|failure| vec![Err(failure)])
    }
}
