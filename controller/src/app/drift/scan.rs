//! Looks that somebody asks for. That it was asked is in the ledger first; agents learn of it from the answers to their hellos, and are given a hint to
//! say one now. How far it has come is worked out from when hosts were last looked at.

use serde_json::json;
use writ_domain::agent::AgentState;
use writ_domain::halt::ENVIRONMENT_LABEL;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::drift::asked::{self, Chosen, Missing};
use writ_store::{Tx, audit};

use crate::app::lockdown::{Leave, Passes};
use crate::app::view::{ScanMissing, ScanView};
use crate::app::{App, Caller, Error, OperatorRole, once};

/// Most hosts that are named of those that have not looked.
const MISSING_MAX: u32 = 100;
/// Longest name that says what is looked at, bytes.
const NAME_BYTES_MAX: usize = 256;

/// What is to be looked at: everything that is watched, as far as nothing here says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanOf {
    /// On the host of the agent of this name.
    pub agent: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// On hosts of this environment.
    pub environment: Option<String>,
}

/// A look that was asked for.
#[derive(Clone, Debug)]
pub struct Scan {
    /// How far it has come.
    pub view: ScanView,
    /// Whom to give a hint, now that it is committed.
    pub agents: Vec<UserKey>,
}

impl ScanOf {
    fn chosen(&self) -> Result<Chosen, Error> {
        let all = [&self.agent, &self.project, &self.environment];
        let is_name =
            |name: &&String| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('\0');
        if !all.into_iter().flatten().all(|name| is_name(&name)) {
            return Err(Error::malformed(format!(
                "agent, project and environment are names of at most {NAME_BYTES_MAX} bytes, or left out"
            )));
        }
        Ok(Chosen {
            agent: self.agent.clone(),
            project: self.project.clone(),
            environment: self.environment.clone().map(|value| (ENVIRONMENT_LABEL, value)),
        })
    }
}

impl App {
    /// Asks for a look at everything that is wanted on some hosts, now. Looking changes nothing there, so it goes on in a lockdown.
    ///
    /// # Errors
    /// [`Error`] with W0006 for a viewer, W0001 for what is no name, W0003 where nothing is watched there.
    pub async fn scan_drift(&self, caller: &Caller, of: &ScanOf) -> Result<Scan, Error> {
        caller.require(OperatorRole::Operator)?;
        let chosen = of.chosen()?;
        let now = self.now();
        let mut tx = self.store.begin("drift.scan").await?;
        let hosts = asked::ask(&mut tx, &chosen, now).await?;
        if hosts.is_empty() {
            return Err(Error::new(
                Code::NotFound,
                "nothing is watched there; writ drift hosts (GET /api/v1/drift/hosts) lists what is",
            ));
        }
        let agents = asked::who(&mut tx, &hosts).await?;
        let view = self.scanned(&mut tx, &chosen, now).await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        let detail = json!({ "agent": of.agent, "project": of.project, "environment": of.environment, "hosts": hosts.len() });
        audit::write(&mut tx, act, "drift.scan", &now.to_string(), detail).await?;
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(Scan { view, agents })
    }

    /// How far a look that was asked for at an instant has come.
    ///
    /// # Errors
    /// [`Error`] with W0001 for what is no name.
    pub async fn drift_scan(&self, of: &ScanOf, since: Timestamp) -> Result<ScanView, Error> {
        let chosen = of.chosen()?;
        let mut tx = self.store.begin("drift.scanned").await?;
        self.scanned(&mut tx, &chosen, since).await
    }

    async fn scanned(&self, tx: &mut Tx, chosen: &Chosen, since: Timestamp) -> Result<ScanView, Error> {
        let heard_since = self.now().minus(self.settings.hello_interval * 2);
        let count = asked::count(tx, chosen, since, heard_since).await?;
        let missing = asked::missing(tx, chosen, since, MISSING_MAX).await?;
        Ok(ScanView {
            asked_at: since.to_string(),
            watches: count.watches,
            looked: count.looked,
            coming: count.coming,
            missing: missing.into_iter().map(|one| named(one, heard_since)).collect(),
        })
    }
}

fn named(one: Missing, heard_since: Timestamp) -> ScanMissing {
    let why = match (one.state, one.heard) {
        (AgentState::Quarantined | AgentState::Removed, _) => "quarantined",
        (AgentState::Active, Some((at, false, _))) if at >= heard_since => match one.heard {
            Some((_, _, true)) => "coming",
            _ => "unable",
        },
        (AgentState::Active, _) => "offline",
    };
    ScanMissing {
        agent: one.agent_name,
        project: one.project,
        why: why.to_owned(),
        looked_at: one.looked_at.to_string(),
        last_seen: one.heard.map(|(at, ..)| at.to_string()),
    }
}
