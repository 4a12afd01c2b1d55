//! What alerts of other programs set off. They choose among rules of the controller's file; what those start passes every gate that a person's request
//! passes, under the trigger's own name. An alert starts something once, however often and from however many sides it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use writ_domain::trigger::{Start, Trigger};
use writ_protocol::digest::Digest;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::{audit, trigger};

use super::view::{TriggerStartView, TriggerView};
use super::{App, Asked, Caller, Error, Newcomers, OperatorRole, RequestKey, ScanOf};

/// In what starts are counted.
const HOUR: Duration = Duration::from_secs(3_600);
/// What begins the bytes of an alert's key, so that no other digest is one of these.
const KEY: &[u8] = b"writ trigger v1\n";

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its sender knows it by.
    pub fingerprint: String,
    /// When it began, as its sender says.
    pub starts_at: String,
}

/// What a call told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// What its sender knows the group by.
    pub group: String,
    /// Alerts that fire.
    pub firing: Vec<Firing>,
    /// How many are over; they start nothing.
    pub resolved: u64,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub struct Triggered {
    /// For its caller.
    pub view: TriggerView,
    /// Agents to give a hint.
    pub agents: Vec<UserKey>,
}

impl App {
    /// The trigger of a name, for who has its token.
    ///
    /// # Errors
    /// [`Error`] with W0005 where there is none, or the token is another's: nobody learns which.
    pub fn trigger_of(&self, name: &str, token: &str) -> Result<&Trigger, Error> {
        let found = self.settings.triggers.get(name);
        // Digests are compared, so how far a guess is right takes no measurable time.
        found
            .filter(|trigger| trigger.token == Digest::of(token.as_bytes()))
            .ok_or_else(|| {
                Error::new(
                    Code::Unauthenticated,
                    "there is no such trigger, or the token is not its own",
                )
            })
    }

    /// Starts what the rules of a trigger say to alerts that fire and were not seen before.
    ///
    /// # Errors
    /// [`Error`] that may pass: what was not started yet is started when the call comes again.
    pub async fn set_off(&self, name: &str, of: &Trigger, alarm: &Alarm) -> Result<Triggered, Error> {
        let mut done = Triggered {
            view: TriggerView {
                resolved: alarm.resolved,
                ..TriggerView::default()
            },
            agents: Vec::new(),
        };
        let mut wanted: BTreeMap<(&str, Start), Vec<Digest>> = BTreeMap::new();
        for one in &alarm.firing {
            let Some((rule, start)) = of.choose(&one.labels) else {
                done.view.unmatched += 1;
                continue;
            };
            let parts = [name, &rule.name, &alarm.group, &one.fingerprint, &one.starts_at];
            wanted.entry((&rule.name, start)).or_default().push(key(&parts));
        }
        for ((rule, start), mut keys) in wanted {
            keys.sort_unstable();
            keys.dedup();
            let mut tx = self.store.begin("trigger.known").await?;
            let known = trigger::known(&mut tx, &keys).await?;
            let starts = trigger::starts(&mut tx, name, self.now().minus(HOUR)).await?;
            drop(tx);
            done.view.known += known.len() as u64;
            keys.retain(|key| !known.contains(key));
            let Some(first) = keys.first().copied() else {
                continue;
            };
            let started = if starts >= u64::from(of.most_per_hour) {
                let most = of.most_per_hour;
                let detail = format!("{name} has started {most} within the hour, and starts no more");
                Err(Error::new(Code::RateLimited, detail))
            } else {
                self.start(name, rule, (&start, first), &mut done.agents).await
            };
            self.settle_trigger((name, rule), &keys, started, &mut done.view)
                .await?;
        }
        Ok(done)
    }

    async fn start(
        &self,
        name: &str,
        rule: &str,
        (start, first): (&Start, Digest),
        agents: &mut Vec<UserKey>,
    ) -> Result<String, Error> {
        // The first alert's key names the request: of two controllers that are told at once one starts it, and so does one that was killed behind it.
        let caller = Caller {
            request: Some(RequestKey::new(&first.to_hex(), first)?),
            ..Caller::new(format!("trigger:{name}"), OperatorRole::Operator)
        };
        if self.answered(&caller).await?.is_some() {
            return Ok("what another call started".to_owned());
        }
        match start {
            Start::Scan(scan) => {
                let of = ScanOf {
                    agent: scan.agent.clone(),
                    project: scan.project.clone(),
                    environment: scan.environment.clone(),
                };
                let scan = self.scan_drift(&caller, &of).await?;
                agents.extend(scan.agents);
                Ok(format!("scan of {} watched projects on hosts", scan.view.watches))
            }
            Start::Apply(plan) => {
                let asked = Asked {
                    reason: Some(format!("trigger {name}, rule {rule}")),
                    newcomers: Newcomers::LeaveOut,
                    ..Asked::default()
                };
                let run = self.submit_rollout(&caller, plan, asked).await?;
                Ok(run.id)
            }
            Start::Nameless { label } => Err(Error::malformed(format!(
                "the rule {rule} looks at the host that the label {label:?} names, and the alert names none"
            ))),
        }
    }

    /// Writes down what became of it: what was started is known from now on, what was refused may come again.
    async fn settle_trigger(
        &self,
        (name, rule): (&str, &str),
        keys: &[Digest],
        started: Result<String, Error>,
        view: &mut TriggerView,
    ) -> Result<(), Error> {
        let now = self.now();
        let actor = format!("trigger:{name}");
        let act = audit::Act {
            at: now,
            actor: &actor,
        };
        let mut tx = self.store.begin("trigger.settle").await?;
        match started {
            Ok(what) => {
                trigger::add(&mut tx, keys, (name, rule), now).await?;
                let detail = json!({ "rule": rule, "started": what, "alerts": keys.len() });
                audit::write(&mut tx, act, "trigger.started", name, detail).await?;
                view.started.push(TriggerStartView::of(rule, what));
            }
            Err(error) if matches!(error.code(), Code::Unavailable | Code::Internal) => return Err(error),
            Err(error) => {
                let why = error.to_string();
                let detail = json!({ "rule": rule, "refused": why, "alerts": keys.len() });
                audit::write(&mut tx, act, "trigger.refused", name, detail).await?;
                view.refused.push(TriggerStartView::of(rule, why));
            }
        }
        Ok(tx.commit().await?)
    }

    /// Forgets alerts from before an instant; how many.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) async fn forget_triggers(tx: &mut writ_store::Tx, before: Timestamp) -> Result<u64, Error> {
        Ok(trigger::prune(tx, before).await?)
    }
}

/// What an alert is found again by: every part with its length before it.
fn key(parts: &[&str]) -> Digest {
    let mut bytes = KEY.to_vec();
    for part in parts {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    Digest::of(&bytes)
}
