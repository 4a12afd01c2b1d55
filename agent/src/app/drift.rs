//! The drift watch beside the loop: what is wanted here is fetched, looked at, told of and kept on disk.

mod eyes;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use writ_chassis::backoff::Backoff;
use writ_chassis::ids::{named_rng, seed_from};
use writ_chassis::lifecycle::LifecycleHandle;
use writ_protocol::bundle::Bundle;
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::{Difference, LookCause, OrderOutcome, Record, Unseen};
use writ_protocol::time::Timestamp;

use self::watch::Wanted;
pub(super) use self::watch::{Loaded, Past, Watch};
use super::work::{CHUNK_RETRY, Fetch, on_thread};
use super::{Agent, AppError, Event, RETELL};
use crate::core::{Effect, Ending, Failure};
use crate::drift::{Applied, Ask, Input, Kept, Noticed, Now, Rules, wanted};
use crate::journal::Journal;

/// After a plan that is wanted here could not be had, until it is asked for again.
const MISSING_RETRY: Duration = Duration::from_secs(60);

impl Agent {
    /// Begins to watch for drift, where that is wanted.
    pub(super) fn begin_watch(&mut self, past: Past) {
        let Some(settings) = self.options.drift else {
            return;
        };
        let agent_id = self.me.card.identity.agent_id;
        let nothing = || Kept::nothing(agent_id, past.journal_id);
        let kept = past.file.map_or_else(
            || Ok(nothing()),
            |bytes| Kept::read(&bytes, agent_id, past.journal_id),
        );
        let kept = kept.unwrap_or_else(|error| {
            tracing::warn!(
                error = %crate::intake::chain(&error),
                "what is wanted on this host cannot be read; it is watched again from the next apply on"
            );
            nothing()
        });
        let behind = past.applied.into_iter().filter(|(seq, _)| *seq > kept.upto);
        let behind = behind.map(|(seq, accepted)| {
            Wanted::Applied(Applied {
                seq,
                order_id: accepted.order_id,
                run_id: accepted.run_id,
                bundle: accepted.bundle,
            })
        });
        let unloaded: Vec<Wanted> = kept
            .desired
            .iter()
            .cloned()
            .map(Wanted::Kept)
            .chain(behind)
            .collect();
        let now = self.drift_now();
        self.drift = Some(Box::new(Watch {
            rules: Rules::new(agent_id, settings.interval, now),
            graphs: BTreeMap::new(),
            kept,
            owes: false,
            load_at: (!unloaded.is_empty()).then_some(now.boot),
            unloaded,
            fresh: BTreeSet::new(),
            asks: Vec::new(),
            said: Vec::new(),
            places: self.open_eyes(settings),
        }));
    }

    fn drift_now(&self) -> Now {
        let now = self.now();
        Now {
            wall: self.core.corrected(now.wall),
            boot: now.boot,
        }
    }

    /// Tells the watch whether the host is to be left alone. Before what changes it begins, and after it has ended.
    pub(super) fn hold_watch(&mut self, is_held: bool) {
        let now = self.drift_now();
        if let Some(drift) = &mut self.drift {
            drift.tell(Input::Held(is_held), now);
        }
    }

    /// An order ended: its plan may be what is wanted from now on.
    pub(super) fn watch_ending(&mut self, ending: &Ending, bundle: Option<&Bundle>) {
        let now = self.drift_now();
        let (Some(drift), Some(bundle)) = (&mut self.drift, bundle) else {
            return;
        };
        let order = &ending.order;
        if (order.kind, ending.outcome) != (OrderKind::Apply, OrderOutcome::Succeeded) {
            return;
        }
        let applied = Applied {
            seq: 0,
            order_id: order.order_id,
            run_id: order.run_id,
            bundle: order.bundle,
        };
        if let Some(desired) = wanted(bundle, &applied) {
            drift.fresh.insert(desired.project.clone());
            drift.adopt(desired, bundle.graph(), LookCause::Applied, now);
        }
    }

    pub(super) fn note_loaded(&mut self, loaded: Vec<Loaded>) {
        let now = self.drift_now();
        let Some(drift) = &mut self.drift else { return };
        drift.loaded(loaded, now);
        if !drift.unloaded.is_empty() {
            drift.load_at = Some(now.boot.plus(MISSING_RETRY));
        }
    }

    pub(super) fn note_noticed(&mut self, noticed: Noticed) {
        let now = self.drift_now();
        let Some(drift) = &mut self.drift else { return };
        tracing::debug!(missed = noticed.missed, concerned = ?noticed.concerned, "the kernel told of changes");
        if noticed.missed {
            drift.tell(Input::Missed, now);
        }
        drift.tell(Input::Noticed(noticed.concerned), now);
    }

    /// A hello was answered; perhaps with the time at which somebody asked for a look at everything.
    pub(super) fn note_answered(&mut self, look_since: Option<Timestamp>) {
        let now = self.drift_now();
        let Some(drift) = &mut self.drift else { return };
        drift.answered();
        if let Some(since) = look_since {
            drift.tell(Input::Asked(since), now);
        }
    }

    pub(super) fn note_looked(&mut self, turn: u64, found: Vec<(usize, Option<Difference>)>) {
        let now = self.drift_now();
        self.metrics.drift_looks.inc();
        if let Some(drift) = &mut self.drift {
            drift.tell(Input::Looked { turn, found }, now);
            let (watched, differing) = drift.rules.counts();
            let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.drift_watched.set(number(watched));
            self.metrics.drift_differing.set(number(differing));
        }
    }

    /// Does what the watch asks for.
    pub(super) async fn attend_to_watch(&mut self, is_sending: bool) -> Result<(), AppError> {
        let now = self.drift_now();
        if self.lifecycle.is_stopping() {
            return Ok(());
        }
        let Some(drift) = &mut self.drift else {
            return Ok(());
        };
        if drift.rules.deadline().is_some_and(|at| now.boot >= at) {
            drift.tell(Input::Tick, now);
        }
        let asks = std::mem::take(&mut drift.asks);
        let is_load_due = drift.load_at.is_some_and(|at| now.boot >= at);
        if is_load_due {
            drift.load_at = None;
            self.load_wanted();
        }
        for ask in asks {
            match ask {
                Ask::Look { turn, project, which } => self.look(turn, &project, which),
                Ask::Tell(seen) => {
                    let effects = vec![Effect::Append(Record::DriftSeen(seen)), Effect::Sync];
                    // Boxed: carrying out may come back here.
                    Box::pin(self.carry(effects)).await?;
                }
                Ask::Answer { is_repeated } => {
                    self.greet_soon(if is_repeated { RETELL } else { Duration::ZERO });
                }
            }
        }
        if !is_sending && self.drift.as_ref().is_some_and(|drift| drift.owes) {
            self.keep_desired().await?;
        }
        Ok(())
    }

    fn look(&mut self, turn: u64, project: &str, which: Vec<usize>) {
        let graph = self.drift.as_ref().and_then(|drift| drift.graphs.get(project));
        let Some(graph) = graph.map(Arc::clone) else {
            // Its plan went after the look was asked for. The look must end all the same, for there is one at a time.
            self.note_looked(turn, Vec::new());
            return;
        };
        let (executor, report) = (Arc::clone(&self.executor), self.report.clone());
        let lifecycle: LifecycleHandle = self.lifecycle.clone();
        self.lifecycle.spawn_contained("agent.look", async move {
            let (plan, asked) = (Arc::clone(&graph), which.clone());
            let looked = on_thread(&lifecycle, executor, "executor.survey", move |executor| {
                executor.survey(&plan, &asked)
            })
            .await;
            let found = looked.unwrap_or_else(|failure| {
                which
                    .into_iter()
                    .map(|index| (index, Err(failure.clone())))
                    .collect()
            });
            let found = found.into_iter().filter_map(|(index, found)| {
                let resource = graph.resources.get(index)?.id.clone();
                let (changes, unseen) = match found {
                    Ok(changes) if changes.is_empty() => return Some((index, None)),
                    Ok(changes) => (changes, None),
                    Err(Failure { code, detail }) => (Vec::new(), Some(Unseen { code, detail })),
                };
                let difference = Difference {
                    resource,
                    changes,
                    unseen,
                };
                Some((index, Some(difference)))
            });
            let found = found.collect();
            let _stopping = report.send(Event::Looked { turn, found }).await;
        });
    }

    /// Fetches the plans that are wanted here, one after the other.
    fn load_wanted(&self) {
        let Some(drift) = &self.drift else { return };
        let (wishes, report) = (drift.unloaded.clone(), self.report.clone());
        let (link, cache, lifecycle) = (self.link.clone(), self.bundles.clone(), self.lifecycle.clone());
        let (keyring, at) = (
            self.trust.keyring().clone(),
            self.core.corrected(self.clock.now()),
        );
        let seed = seed_from(self.ids.as_ref());
        self.lifecycle.spawn_contained("agent.load", async move {
            let mut loaded = Vec::new();
            for wish in wishes {
                let name = match &wish {
                    Wanted::Kept(desired) => desired.bundle,
                    Wanted::Applied(applied) => applied.bundle,
                };
                let fetch = Fetch {
                    link: link.clone(),
                    cache: cache.clone(),
                    lifecycle: lifecycle.clone(),
                    keyring: keyring.clone(),
                    at,
                    retry: Backoff::new(CHUNK_RETRY, named_rng(seed, "agent.load")),
                };
                let bundle = tokio::select! {
                    fetched = fetch.run(name) => fetched,
                    () = lifecycle.stopping() => return,
                };
                match bundle {
                    Ok(bundle) => loaded.push(Loaded::new(wish, &bundle)),
                    Err(failure) => tracing::warn!(
                        reason.code = %failure.code,
                        detail = %failure.detail,
                        "a plan that is wanted here cannot be had; its project is not watched until it can"
                    ),
                }
            }
            let _stopping = report.send(Event::Loaded(loaded)).await;
        });
    }

    async fn keep_desired(&mut self) -> Result<(), AppError> {
        let Some(drift) = &mut self.drift else {
            return Ok(());
        };
        drift.owes = false;
        let (mut kept, upto) = (drift.kept.clone(), drift.upto(u64::MAX));
        let keep = move |journal: &mut Journal| -> Result<(), AppError> {
            kept.upto = upto.min(journal.durable().seq);
            match kept.encode() {
                Ok(bytes) => Ok(journal.docket().set_desired(&bytes)?),
                Err(error) => {
                    tracing::error!(%error, "what is wanted on this host cannot be kept");
                    Ok(())
                }
            }
        };
        self.with_journal("journal.desired", keep).await?
    }
}
