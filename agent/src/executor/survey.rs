//! Looks for the drift watch: resources of a plan that was applied, beside whatever else the agent does, without a program of the plan.

use writ_protocol::graph::{Facts, Graph, Resource};
use writ_protocol::reason::Code;
use writ_protocol::record;
use writ_providers::{Context, StepIds};
use writ_sandbox::Control;

use super::host::{CHANGES_MAX, HostExecutor, failure, for_record, held};
use crate::core::Failure;
use crate::drift::is_watched;

/// What one look found: what differs, in the graph's words.
pub type Found = Result<Vec<record::Change>, Failure>;

impl HostExecutor {
    pub(super) fn look_around(&self, graph: &Graph, which: &[usize]) -> Vec<(usize, Found)> {
        let resources = which.iter().filter_map(|index| {
            let resource = graph.resources.get(*index).filter(|r| is_watched(r))?;
            Some((*index, resource))
        });
        let (read, asked): (Vec<_>, Vec<_>) =
            resources.partition(|(_, resource)| self.host().only_reads(resource));
        let facts = self.known_facts();
        let mut found = if read.is_empty() {
            Vec::new()
        } else {
            held(|| self.glances(&read, &facts)).unwrap_or_else(|failure| {
                read.iter()
                    .map(|(index, _)| (*index, Err(failure.clone())))
                    .collect()
            })
        };
        found.extend(self.glances(&asked, &facts));
        found.sort_unstable_by_key(|(index, _)| *index);
        found
    }

    fn glances(&self, which: &[(usize, &Resource)], facts: &Facts) -> Vec<(usize, Found)> {
        let found = which.iter().map(|(index, resource)| {
            let applies = resource.when.as_ref().map_or(Ok(true), |when| {
                when.holds(facts).map_err(|fact| Failure {
                    code: Code::StepFailed,
                    detail: format!("the host does not tell `{}`, which decides `{when}`", fact.name()),
                })
            });
            match applies {
                Ok(true) => (*index, self.glance(resource)),
                Ok(false) => (*index, Ok(Vec::new())),
                Err(failure) => (*index, Err(failure)),
            }
        });
        found.collect()
    }

    fn glance(&self, resource: &Resource) -> Found {
        let control = Control::new().map_err(|error| failure(error.code(), &error))?;
        let ids = StepIds {
            run_id: String::new(),
            order_id: String::new(),
            idempotency_key: String::new(),
        };
        let context = Context {
            sandbox: self.sandbox(),
            control: &control,
            blob: &|_| None,
            programs: None,
            ids: &ids,
            network: None,
            door: None,
            notified: false,
        };
        let host = self.host();
        let seen = host
            .observe(resource, &context)
            .map_err(|error| failure(error.code(), &error))?;
        let changes = host
            .diff(resource, &seen.observation)
            .map_err(|error| failure(error.code(), &error))?;
        Ok(changes.iter().take(CHANGES_MAX).map(for_record).collect())
    }
}
