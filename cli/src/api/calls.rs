//! One function for each thing that the CLI asks of the API.

use serde_json::{Value, json};
use writ_plan::compile::Sources;
use writ_plan::rollout::Share;
use writ_protocol::digest::Digest;
use writ_protocol::halt::{Lift, sign_lift};
use writ_protocol::id::{HaltId, IncidentId};
use writ_protocol::key::SigningKey;

use crate::clock;
use crate::exit::Exit;
use crate::fault::Fault;

use super::{
    Agent, Artefact, Budget, Client, Halt, HaltStatus, Incident, IncidentDetail, IncidentEntry, LiftTerms,
    NewJoinToken, Page, PlanAnswer, Run, Step,
};

/// Most pages of a list that are followed.
const PAGES_MAX: usize = 1_000;
/// Longest artefact or output that is fetched, bytes.
const BLOB_BYTES_MAX: u64 = writ_protocol::limits::ARTEFACT_BYTES_MAX;

impl Client {
    /// Items of a list, at most `limit`.
    ///
    /// # Errors
    /// A fault.
    pub fn list<T: serde::de::DeserializeOwned>(&self, path: &str, limit: usize) -> anyhow::Result<Vec<T>> {
        self.list_after(path, None, limit)
    }

    /// Items of a list after a cursor, at most `limit`.
    fn list_after<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        mut cursor: Option<String>,
        limit: usize,
    ) -> anyhow::Result<Vec<T>> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let after = cursor.map(|at| format!("{joint}cursor={at}")).unwrap_or_default();
            let page: Page<T> = self.get(&format!("{path}{after}"))?;
            all.extend(page.items);
            cursor = page.next.filter(|_| all.len() < limit);
            if cursor.is_none() {
                break;
            }
        }
        all.truncate(limit);
        Ok(all)
    }

    /// Every agent.
    ///
    /// # Errors
    /// A fault.
    pub fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        self.list("/api/v1/agents", usize::MAX)
    }

    /// One agent, by name or id.
    ///
    /// # Errors
    /// A fault.
    pub fn agent(&self, agent: &str) -> anyhow::Result<Agent> {
        self.get(&format!("/api/v1/agents/{agent}"))
    }

    /// `quarantine`, `release` or `remove` of an agent.
    ///
    /// # Errors
    /// A fault.
    pub fn change_agent(&self, agent: &str, verb: &str, reason: &str) -> anyhow::Result<Agent> {
        self.post(
            &format!("/api/v1/agents/{agent}/{verb}"),
            &json!({ "reason": reason }),
        )
    }

    /// Makes a join token; gives its text.
    ///
    /// # Errors
    /// A fault; also when the answer is the repeated one of a request that had its effect, which does not hold the text again.
    pub fn create_join_token(&self, token: &NewJoinToken) -> anyhow::Result<String> {
        let made: Value = self.post("/api/v1/join-tokens", token)?;
        let text = made.get("token").and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| {
            let id = made.get("id").and_then(Value::as_str).unwrap_or("without an id");
            let what = format!(
                "the join token {id} was made, but its text is shown only once and was lost on the way"
            );
            Fault::new(Exit::Failed, what)
                .help("nobody can use it, and it ends by itself; ask again for a new one: writ agent enroll")
                .into()
        })
    }

    /// Orders a check of the hosts against a config.
    ///
    /// # Errors
    /// A fault.
    pub fn submit_check(&self, sources: &Sources) -> anyhow::Result<Run> {
        let files: serde_json::Map<String, Value> = sources
            .files
            .iter()
            .map(|(name, bytes)| (name.clone(), base64(bytes).into()))
            .collect();
        let body = json!({ "kind": "check", "config": { "name": sources.config_name, "text": sources.config_text, "files": files } });
        self.post("/api/v1/runs", &body)
    }

    /// Orders that a plan be carried out.
    ///
    /// # Errors
    /// A fault.
    pub fn submit_apply(&self, plan: &Digest) -> anyhow::Result<Run> {
        self.post("/api/v1/runs", &json!({ "kind": "apply", "planDigest": plan }))
    }

    /// Orders that a plan be carried out, spread over its hosts no faster than this (`concurrency`, `error_threshold`); what is `None` is as the config says.
    /// Hosts that the config selects only by now are left out, or a reason to refuse.
    ///
    /// # Errors
    /// A fault.
    pub fn submit_rollout(
        &self,
        plan: &Digest,
        (concurrency, error_threshold): (Option<Share>, Option<Share>),
        leave_out_new_hosts: bool,
    ) -> anyhow::Result<Run> {
        let mut body =
            json!({ "kind": "apply", "planDigest": plan, "leaveOutNewHosts": leave_out_new_hosts });
        let said = [("concurrency", concurrency), ("errorThreshold", error_threshold)];
        if let Some(fields) = body.as_object_mut() {
            fields.extend(
                said.into_iter()
                    .filter_map(|(name, share)| Some((name.to_owned(), json!(share?)))),
            );
        }
        self.post("/api/v1/runs", &body)
    }

    /// A run with its orders.
    ///
    /// # Errors
    /// A fault.
    pub fn run(&self, run: &str) -> anyhow::Result<Run> {
        self.get(&format!("/api/v1/runs/{run}"))
    }

    /// A run with all of its orders, where it came with the first page of them.
    ///
    /// # Errors
    /// A fault.
    pub fn all_orders(&self, mut run: Run) -> anyhow::Result<Run> {
        for _ in 0..PAGES_MAX {
            let Some(next) = run.orders_next.take() else { break };
            let page: Run = self.get(&format!("/api/v1/runs/{}?cursor={next}", run.id))?;
            run.orders.extend(page.orders);
            run.orders_next = page.orders_next;
        }
        Ok(run)
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    /// A fault.
    pub fn runs(&self, limit: usize) -> anyhow::Result<Vec<Run>> {
        self.list("/api/v1/runs", limit)
    }

    /// What a check run found.
    ///
    /// # Errors
    /// A fault.
    pub fn plan_of(&self, run: &str) -> anyhow::Result<PlanAnswer> {
        self.get(&format!("/api/v1/runs/{run}/plan"))
    }

    /// A plan by its digest.
    ///
    /// # Errors
    /// A fault.
    pub fn plan(&self, digest: &Digest) -> anyhow::Result<PlanAnswer> {
        self.get(&format!("/api/v1/plans/{digest}"))
    }

    /// Steps of a run.
    ///
    /// # Errors
    /// A fault.
    pub fn steps(&self, run: &str) -> anyhow::Result<Vec<Step>> {
        self.list(&format!("/api/v1/runs/{run}/steps"), usize::MAX)
    }

    /// Files that a run produced.
    ///
    /// # Errors
    /// A fault.
    pub fn artefacts(&self, run: &str) -> anyhow::Result<Vec<Artefact>> {
        self.list(&format!("/api/v1/runs/{run}/artefacts"), usize::MAX)
    }

    /// Bytes of an artefact or an output, checked against their digest.
    ///
    /// # Errors
    /// A fault.
    pub fn blob(&self, run: &str, digest: &Digest) -> anyhow::Result<Vec<u8>> {
        let bytes = self.get_bytes(&format!("/api/v1/runs/{run}/blobs/{digest}"), BLOB_BYTES_MAX)?;
        anyhow::ensure!(
            Digest::of(&bytes) == *digest,
            "the controller gave other bytes than {digest}"
        );
        Ok(bytes)
    }

    /// Cancels a run.
    ///
    /// # Errors
    /// A fault.
    pub fn cancel_run(&self, run: &str, reason: &str) -> anyhow::Result<Run> {
        self.post(
            &format!("/api/v1/runs/{run}/cancel"),
            &json!({ "reason": reason }),
        )
    }

    /// Goes on with a run that stopped at its budget, under this one from now on, micro-units.
    ///
    /// # Errors
    /// A fault.
    pub fn resume_run(&self, run: &str, budget_micros: Option<u64>) -> anyhow::Result<Run> {
        self.post(
            &format!("/api/v1/runs/{run}/resume"),
            &json!({ "budgetMicros": budget_micros }),
        )
    }

    /// A run's evidence pack.
    ///
    /// # Errors
    /// A fault.
    pub fn evidence(&self, run: &str) -> anyhow::Result<Vec<u8>> {
        let max = writ_protocol::evidence::archive::PACK_BYTES_MAX as u64;
        self.get_bytes(&format!("/api/v1/runs/{run}/evidence"), max)
    }

    /// Every budget of the tenant and its projects.
    ///
    /// # Errors
    /// A fault.
    pub fn budgets(&self) -> anyhow::Result<Vec<Budget>> {
        self.list("/api/v1/budgets", usize::MAX)
    }

    /// One budget: `tenant`, `project:NAME` or `run:ID`.
    ///
    /// # Errors
    /// A fault.
    pub fn budget(&self, budget: &str) -> anyhow::Result<Budget> {
        self.get(&format!("/api/v1/budgets/{budget}"))
    }

    /// Sets a budget.
    ///
    /// # Errors
    /// A fault.
    pub fn set_budget(&self, budget: &str, body: &Value) -> anyhow::Result<Budget> {
        self.post(&format!("/api/v1/budgets/{budget}"), body)
    }

    /// Every incident, the newest first.
    ///
    /// # Errors
    /// A fault.
    pub fn incidents(&self) -> anyhow::Result<Vec<Incident>> {
        self.list("/api/v1/incidents", usize::MAX)
    }

    /// One incident with its first entries.
    ///
    /// # Errors
    /// A fault.
    pub fn incident(&self, id: IncidentId) -> anyhow::Result<IncidentDetail> {
        self.get(&format!("/api/v1/incidents/{id}"))
    }

    /// `ack` or `close` of an incident.
    ///
    /// # Errors
    /// A fault.
    pub fn change_incident(&self, id: IncidentId, verb: &str, reason: &str) -> anyhow::Result<Incident> {
        self.post(
            &format!("/api/v1/incidents/{id}/{verb}"),
            &json!({ "reason": reason }),
        )
    }

    /// The log of all incidents after the entry of a number, the oldest first; all of it after 0.
    ///
    /// # Errors
    /// A fault.
    pub fn incident_log(&self, after: u64) -> anyhow::Result<Vec<IncidentEntry>> {
        self.list_after(
            "/api/v1/incident-log?limit=500",
            Some(after.to_string()),
            usize::MAX,
        )
    }

    /// Halts.
    ///
    /// # Errors
    /// A fault.
    pub fn halts(&self) -> anyhow::Result<Vec<Halt>> {
        self.list("/api/v1/halts", usize::MAX)
    }

    /// Sets a halt.
    ///
    /// # Errors
    /// A fault.
    pub fn set_halt(&self, scope: &Value, action: &str, reason: &str) -> anyhow::Result<Halt> {
        self.post(
            "/api/v1/halts",
            &json!({ "scope": scope, "action": action, "reason": reason }),
        )
    }

    /// How far a halt has come.
    ///
    /// # Errors
    /// A fault.
    pub fn halt_status(&self, halt: &str) -> anyhow::Result<HaltStatus> {
        self.get(&format!("/api/v1/halts/{halt}/status"))
    }

    /// What a lift of a halt has to say.
    ///
    /// # Errors
    /// A fault.
    pub fn lift_terms(&self, halt: &str) -> anyhow::Result<LiftTerms> {
        self.get(&format!("/api/v1/halts/{halt}/lift-terms"))
    }

    /// Lifts a halt with the operator's word, signed here.
    ///
    /// # Errors
    /// A fault.
    pub fn lift_halt(&self, halt_id: HaltId, reason: &str, key: &SigningKey) -> anyhow::Result<Halt> {
        let id = halt_id.to_string();
        let terms = self.lift_terms(&id)?;
        let lift = Lift {
            tenant: terms.tenant,
            halt_id,
            control_epoch: terms.control_epoch,
            reason: reason.to_owned(),
            issued_at: clock::now(),
        };
        let envelope = sign_lift(lift, &[key])?.to_json()?;
        self.release_halt(&id, &String::from_utf8(envelope)?)
    }

    /// Lifts a halt with the operator's signed word.
    ///
    /// # Errors
    /// A fault.
    pub fn release_halt(&self, halt: &str, envelope: &str) -> anyhow::Result<Halt> {
        self.post(
            &format!("/api/v1/halts/{halt}/release"),
            &json!({ "envelope": envelope }),
        )
    }
}

fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}
