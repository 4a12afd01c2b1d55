//! While a lockdown holds, nothing in its scope is changed. A change's answer cannot be written without a [`Leave`], and who has one either asked
//! here, in the transaction of the change, or said why a lockdown lets it through: no door can be forgotten.

use std::collections::BTreeMap;

use writ_domain::halt::{Change, locks};
use writ_protocol::halt::Scope;
use writ_protocol::id::{AgentId, RunId};
use writ_protocol::reason::Code;
use writ_store::{Tx, agent, halt};

use super::Error;

/// Says that a change may be made.
#[derive(Debug)]
#[must_use = "a change is answered for with it"]
pub(super) struct Leave(());

/// What a lockdown lets through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Passes {
    /// It stops something, or takes power from somebody: that is what a lockdown is for.
    Stop,
    /// It lifts a halt, with the signatures that this needs.
    Lift,
    /// It writes down what happened, and changes nothing that is managed.
    Record,
    /// It was asked for on the controller's own host, by who could write to the ledger directly: the door that is left when every token is lost.
    OwnHost,
}

impl Leave {
    /// Of what a lockdown lets through.
    pub(super) const fn of(_: Passes) -> Self {
        Self(())
    }
}

/// Holds a change against the lockdowns in force.
///
/// # Errors
/// [`Error`] with W0319 where one forbids it.
pub(super) async fn ask(tx: &mut Tx, change: &Change<'_>) -> Result<Leave, Error> {
    let in_force = halt::lockdowns(tx).await?;
    judge(&in_force, change)
}

/// Holds the orders of a run against the lockdowns in force.
///
/// # Errors
/// [`Error`] with W0319 where one forbids them.
pub(super) async fn ask_to_order(
    tx: &mut Tx,
    project: &str,
    continues: Option<RunId>,
    targets: &[AgentId],
) -> Result<Leave, Error> {
    let in_force = halt::lockdowns(tx).await?;
    // Labels matter to one scope only, and a lockdown is rare.
    let by_label = in_force
        .iter()
        .any(|row| matches!(row.scope, Scope::Environment(_)));
    let targets: Vec<(AgentId, BTreeMap<String, String>)> = if by_label {
        let agents = agent::by_ids(tx, targets).await?;
        agents.into_iter().map(|a| (a.agent_id, a.labels)).collect()
    } else {
        targets.iter().map(|id| (*id, BTreeMap::new())).collect()
    };
    let change = Change::Run {
        project,
        continues,
        targets: &targets,
    };
    judge(&in_force, &change)
}

fn judge(in_force: &[halt::Halt], change: &Change<'_>) -> Result<Leave, Error> {
    match in_force.iter().find(|row| locks(&row.scope, change)) {
        None => Ok(Leave(())),
        Some(row) => Err(Error::new(
            Code::LockedDown,
            format!(
                "{} set the lockdown {} at {}: {}; until it is lifted nothing that it covers is changed",
                row.set_by, row.halt_id, row.set_at, row.reason
            ),
        )),
    }
}
