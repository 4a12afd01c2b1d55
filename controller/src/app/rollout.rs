//! Rollouts: which orders of a run are given to their agents, and when none is any more.
//!
//! The end of an order leaves a reminder in its own transaction; whoever settles by that reminder gives the next orders to their agents before it
//! takes the reminder off. So a controller that dies in between leaves nothing behind, and hosts that end together do not wait for each other.
//! All decisions about a run are made under its row's lock, so that two controllers never give out more between them than one may.

use serde_json::json;
use writ_domain::agent::AgentState;
use writ_domain::halt::{Subject, covers};
use writ_domain::order::{OrderEvent, OrderState, apply};
use writ_domain::rollout::{Decision, Frozen, Rollout, Standing, standing_of};
use writ_protocol::id::{AgentId, OrderId, RunId};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::order::held::{self, Given};
use writ_store::run::RolloutRow;
use writ_store::{Tx, agent, audit, halt, order, run};

use super::budget::Want;
use super::run::{NewRun, rule};
use super::{App, Error};

/// Why the orders that are held will not be begun.
pub(super) struct Why {
    pub(super) code: Code,
    pub(super) words: String,
}

/// What a look at a rollout did.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// What the operator is to be told.
    pub(super) notices: Vec<String>,
    /// Whether what was held will never be begun.
    pub(super) is_stopped: bool,
}

/// The rollout of a new run: what its config says, as the operator narrowed it. None where neither says anything: then all hosts are ordered at once.
pub(super) fn freeze(
    new: &NewRun,
    grant_micros: u64,
    run_cap: Option<u64>,
) -> Result<Option<RolloutRow>, Error> {
    // A check changes nothing, and asks all hosts at once.
    if new.kind != writ_protocol::manifest::OrderKind::Apply {
        return Ok(None);
    }
    if new.bundle.rollout.is_none() && new.narrowed.is_none() {
        return Ok(None);
    }
    let (config, asked) = (
        new.bundle.rollout.clone().unwrap_or_default(),
        new.narrowed.clone().unwrap_or_default(),
    );
    if let Some(problem) = asked.problem() {
        return Err(Error::malformed(problem));
    }
    let targets = u32::try_from(new.targets.len()).unwrap_or(u32::MAX);
    let frozen =
        Frozen::narrowed(&config, &asked, targets).map_err(|wider| Error::conflict(wider.to_string()))?;
    Ok(Some(RolloutRow {
        frozen,
        grant_micros,
        run_cap,
    }))
}

/// What somebody who applies a plan asks for, as it is read at a door.
///
/// # Errors
/// [`Error`] with W0001.
pub fn asked(concurrency: Option<&str>, error_threshold: Option<&str>) -> Result<Option<Rollout>, Error> {
    let share = |text: &str| {
        text.parse()
            .map_err(|bad: writ_plan::rollout::BadShare| Error::malformed(bad.to_string()))
    };
    let rollout = Rollout {
        concurrency: concurrency.map(share).transpose()?,
        error_threshold: error_threshold.map(share).transpose()?,
        waves: Vec::new(),
    };
    Ok((rollout != Rollout::default()).then_some(rollout))
}

/// Where the orders of a run stand, as its rollout counts them.
pub(super) fn standing(counts: &[order::Count], run: RunId) -> Standing {
    let mine = counts.iter().filter(|count| count.run_id == run);
    standing_of(mine.map(|count| (count.state, count.cancelled || count.halted, count.orders)))
}

impl App {
    /// Gives the next orders of a run to their agents, or ends those that are held where too many failed. The run's row is locked, or the run is
    /// new.
    ///
    /// # Errors
    /// [`Error`] with W0505 where a budget has too little left. The transaction must then be undone.
    pub(super) async fn begin_next(
        &self,
        tx: &mut Tx,
        (one, rollout): (&run::Run, &RolloutRow),
        act: audit::Act<'_>,
    ) -> Result<Next, Error> {
        let counts = order::counts(tx, &[one.run_id]).await?;
        let stands = standing(&counts, one.run_id);
        let hosts = match rollout.frozen.decide(&stands) {
            Decision::Wait => return Ok(Next::default()),
            Decision::Stop => {
                let why = Why {
                    code: Code::RolloutStopped,
                    words: format!(
                        "not begun: {} of {} hosts failed, and {} may",
                        stands.failed, rollout.frozen.targets, rollout.frozen.error_threshold
                    ),
                };
                self.withdraw(tx, one, &why, act.at).await?;
                return Ok(Next {
                    is_stopped: true,
                    ..Next::default()
                });
            }
            Decision::Release(hosts) => hosts,
        };
        let next = held::next(tx, one.run_id, hosts).await?;
        let next = self.may_begin(tx, one, next, act.at).await?;
        if next.is_empty() {
            return Ok(Next::default());
        }
        let given = Given {
            at: act.at,
            expires_at: act.at.plus(self.settings.order_ttl),
            grant_micros: rollout.grant_micros,
            control_epoch: self.meta(tx).await?.control_epoch,
        };
        held::release(tx, &next, &given).await?;
        let agents: Vec<AgentId> = next.iter().map(|order| order.agent_id).collect();
        agent::bump(tx, &agents, act.at).await?;
        let told = next.iter().map(|order| {
            let body = json!({ "orderId": order.order_id, "host": order.agent_name, "state": OrderState::Pending.name(), "code": null });
            (format!("run:{}", one.run_id), body)
        });
        audit::tell(tx, act.at, "order.state", told.collect()).await?;
        tracing::info!(run.id = %one.run_id, hosts = next.len(), held = stands.held.saturating_sub(next.len() as u64), failed = stands.failed, "hosts of a rollout are begun");
        let ids: Vec<OrderId> = next.iter().map(|order| order.order_id).collect();
        let want = Want {
            run_id: one.run_id,
            project: &one.project,
            run_cap: rollout.run_cap,
            grant_micros: rollout.grant_micros,
            orders: &ids,
        };
        Ok(Next {
            notices: self.reserve(tx, &want, act).await?,
            is_stopped: false,
        })
    }

    /// Of the next orders those that may be begun: up to the first whose host a halt covers, and without hosts that may not be ordered any more,
    /// whose orders end here.
    async fn may_begin(
        &self,
        tx: &mut Tx,
        one: &run::Run,
        next: Vec<order::Order>,
        now: Timestamp,
    ) -> Result<Vec<order::Order>, Error> {
        let ids: Vec<AgentId> = next.iter().map(|order| order.agent_id).collect();
        let agents = agent::by_ids(tx, &ids).await?;
        let halts = halt::active(tx).await?;
        let (mut begun, mut gone) = (Vec::new(), Vec::new());
        for order in next {
            let host = agents.iter().find(|host| host.agent_id == order.agent_id);
            let Some(host) = host.filter(|host| host.state == AgentState::Active) else {
                gone.push(order);
                continue;
            };
            let subject = Subject {
                agent_id: host.agent_id,
                labels: &host.labels,
                order: Some((one.run_id, &one.project)),
            };
            if halts.iter().any(|halt| covers(&halt.scope, &subject)) {
                tracing::info!(run.id = %one.run_id, agent.name = %host.name, "a rollout waits for the end of a halt");
                break;
            }
            begun.push(order);
        }
        if !gone.is_empty() {
            let why = Why {
                code: Code::NoTargets,
                words: "not begun: the host was quarantined or removed before its turn".to_owned(),
            };
            end(tx, one.run_id, gone, &why, now).await?;
            // Their places are free.
            run::moved::note(tx, [one.run_id]).await?;
            self.moved.notify_one();
        }
        Ok(begun)
    }

    /// Ends every order of a run that is held.
    async fn withdraw(&self, tx: &mut Tx, one: &run::Run, why: &Why, now: Timestamp) -> Result<(), Error> {
        let orders = held::next(tx, one.run_id, u64::from(u32::MAX)).await?;
        let body = json!({ "id": one.run_id, "code": why.code.to_string(), "detail": why.words, "hosts": orders.len() });
        tracing::warn!(run.id = %one.run_id, code = %why.code, hosts = orders.len(), "a rollout is stopped: {}", why.words);
        end(tx, one.run_id, orders, why, now).await?;
        let act = audit::Act {
            at: now,
            actor: "controller",
        };
        audit::write(tx, act, "run.rollout_stop", &one.run_id.to_string(), body.clone()).await?;
        Ok(audit::tell(
            tx,
            now,
            "run.rollout_stopped",
            vec![(format!("run:{}", one.run_id), body)],
        )
        .await?)
    }

    /// Looks at the rollout of a run, in a transaction of its own. Gives whether it was stopped.
    ///
    /// # Errors
    /// [`Error`]: nothing is changed then, and the reminder stays.
    pub(super) async fn go_on(&self, id: RunId) -> Result<bool, Error> {
        let now = self.now();
        let act = audit::Act {
            at: now,
            actor: "controller",
        };
        let mut tx = self.store.begin("run.release").await?;
        let Some((one, rollout)) = rolling(&mut tx, id).await? else {
            tx.commit().await?;
            return Ok(false);
        };
        let is_stopped = match self.begin_next(&mut tx, (&one, &rollout), act).await {
            Ok(next) => {
                tx.commit().await?;
                next.is_stopped
            }
            Err(error) if error.code() == Code::BudgetExhausted => {
                drop(tx);
                let why = Why {
                    code: Code::BudgetExhausted,
                    words: format!("not begun: {error}"),
                };
                let mut tx = self.store.begin("run.withdraw").await?;
                if let Some((one, _)) = rolling(&mut tx, id).await? {
                    self.withdraw(&mut tx, &one, &why, now).await?;
                }
                tx.commit().await?;
                true
            }
            Err(error) => return Err(error),
        };
        self.nudge.notify_waiters();
        Ok(is_stopped)
    }
}

/// A run that spreads over its hosts and is not over, locked.
async fn rolling(tx: &mut Tx, id: RunId) -> Result<Option<(run::Run, RolloutRow)>, Error> {
    let one = run::lock(tx, &[id]).await?.pop();
    Ok(one.and_then(|one| {
        let rollout = one.rollout.clone()?;
        Some((one, rollout))
    }))
}

/// Ends orders that were never given to their agents.
async fn end(
    tx: &mut Tx,
    run: RunId,
    mut orders: Vec<order::Order>,
    why: &Why,
    now: Timestamp,
) -> Result<(), Error> {
    let mut told = Vec::new();
    for one in &mut orders {
        let lease = std::time::Duration::from_millis(one.lease_ms);
        let Ok(next) = apply(&rule(one), OrderEvent::Withdrawn, lease, now) else {
            continue;
        };
        (one.state, one.deadline_at, one.ended_at) = (next.next.state, next.next.deadline_at, Some(now));
        (one.code, one.detail) = (Some(why.code.to_string()), Some(why.words.clone()));
        let body = json!({ "orderId": one.order_id, "host": one.agent_name, "state": one.state.name(), "code": one.code });
        told.push((format!("run:{run}"), body));
    }
    order::save(tx, &orders, now).await?;
    Ok(audit::tell(tx, now, "order.state", told).await?)
}
