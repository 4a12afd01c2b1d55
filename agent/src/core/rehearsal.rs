//! What was reviewed is what runs: before the first change of an apply every step is looked at as the check looked at it, and the order ends
//! `stale`, with nothing changed, where the host is not as its plan saw it.
//!
//! A host on which nothing differs any more is not stale: nothing would be changed there. After a restart in the middle of an order there is
//! no second rehearsal, because what differs by then is the order's own doing.

use std::collections::BTreeMap;

use writ_protocol::digest::Digest;
use writ_protocol::exec::{Meter, Usage};
use writ_protocol::manifest::OrderKind;
use writ_protocol::plan::rests_on;
use writ_protocol::reason::Code;
use writ_protocol::record::{Change, OrderOutcome, StepOutcome};

use super::running::{Running, Stage, Stop};
use super::steps::{Lease, ended_early, lease_lost, push_result, step_ref};
use super::{AgentCore, Effect, Failure, Held, Now, Seen, StepPlan};

/// Most steps of a stale order whose present differences are kept and recorded.
const DIFFERENCES_MAX: usize = 64;
/// Most steps that the words about a stale order name.
const NAMES_MAX: usize = 5;

/// The look at every step before the first change.
#[derive(Clone, Debug, Default)]
pub(super) struct Rehearsal {
    /// What the plan's changes rest on; absent where there is nothing to compare with.
    wanted: Option<Digest>,
    /// What was seen of the steps so far, in order; absent of those that nobody notified.
    seen: Vec<Option<Sight>>,
    /// How many of them differ.
    differ: usize,
    /// Whether all was seen and is as the plan saw it.
    is_over: bool,
    /// Whether a step has started since: what was seen may be no more.
    is_outdated: bool,
}

/// What was seen of a step.
#[derive(Clone, Debug)]
struct Sight {
    digest: Digest,
    differs: bool,
    changes: Vec<Change>,
    /// What looking used, until a result accounts for it.
    usage: Usage,
    failure: Option<String>,
}

impl Rehearsal {
    /// The rehearsal of an order: none for a check, and none where a step began before a restart.
    pub(super) fn of(held: &Held) -> Self {
        let is_fresh = held.order.kind == OrderKind::Apply && held.resume.is_empty();
        Self {
            wanted: held.order.rests_on.filter(|_| is_fresh),
            ..Self::default()
        }
    }

    /// Whether steps are looked at only to compare.
    pub(super) const fn is_under_way(&self) -> bool {
        self.wanted.is_some() && !self.is_over
    }

    /// A step has started.
    pub(super) const fn outdate(&mut self) {
        self.is_outdated = true;
    }

    /// What was seen of a step that is as it should be, as long as nothing has started since.
    pub(super) fn settled(&mut self, index: usize) -> Option<Seen> {
        let sight = self.seen.get_mut(index)?.as_mut()?;
        if self.is_outdated || sight.differs {
            return None;
        }
        let usage = std::mem::replace(&mut sight.usage, Usage::none(Meter::Agent));
        Some(Seen {
            digest: sight.digest,
            changes: Vec::new(),
            usage,
        })
    }

    /// Adds what the first look at a step used to the second, once.
    pub(super) fn charge(&mut self, index: usize, seen: &mut Seen) {
        if let Some(Some(sight)) = self.seen.get_mut(index) {
            let first = std::mem::replace(&mut sight.usage, Usage::none(Meter::Agent));
            let usage = &mut seen.usage;
            usage.cpu_user_us = usage.cpu_user_us.saturating_add(first.cpu_user_us);
            usage.cpu_system_us = usage.cpu_system_us.saturating_add(first.cpu_system_us);
        }
    }

    /// Whether a step is no longer as it was a moment ago, though nothing of this order has started.
    pub(super) fn has_moved(&self, index: usize, seen: &Seen) -> bool {
        let sight = self.seen.get(index).and_then(Option::as_ref);
        !self.is_outdated && sight.is_some_and(|sight| sight.digest != seen.digest)
    }

    fn differing(&self) -> impl Iterator<Item = (usize, &Sight)> {
        let seen = self.seen.iter().enumerate();
        seen.filter_map(|(index, sight)| sight.as_ref().filter(|s| s.differs).map(|sight| (index, sight)))
    }

    /// Whether what would be changed now is what the plan said, resting on what the plan saw; or nothing would be changed at all.
    fn is_as_planned(&self, steps: &[StepPlan]) -> bool {
        let named = |(index, sight): (usize, &Sight)| Some((steps.get(index)?.id.as_str(), sight.digest));
        let found = rests_on(self.differing().filter_map(named));
        self.wanted == Some(found) || self.differing().next().is_none()
    }

    /// What looking used that no result accounts for yet.
    pub(super) fn unbooked(&self) -> impl Iterator<Item = &Usage> {
        self.seen.iter().flatten().map(|sight| &sight.usage)
    }

    /// The same by step, to be accounted for now.
    pub(super) fn take_unbooked(&mut self) -> BTreeMap<usize, Usage> {
        let sights = self.seen.iter_mut().enumerate();
        sights
            .filter_map(|(index, sight)| {
                let used = &mut sight.as_mut()?.usage;
                Some((index, std::mem::replace(used, Usage::none(Meter::Agent))))
            })
            .collect()
    }

    fn take(&mut self, result: Result<Seen, Failure>, looked: Usage) {
        let kept = self.differ < DIFFERENCES_MAX;
        let differs = !matches!(&result, Ok(seen) if seen.changes.is_empty());
        self.differ = self.differ.saturating_add(usize::from(differs));
        self.seen.push(Some(match result {
            Ok(seen) => Sight {
                digest: seen.digest,
                differs,
                changes: if kept { seen.changes } else { Vec::new() },
                usage: seen.usage,
                failure: None,
            },
            // What cannot be seen is not as the plan saw it.
            Err(failure) => Sight {
                digest: Digest::ZERO,
                differs,
                changes: Vec::new(),
                usage: looked,
                failure: Some(failure.detail),
            },
        }));
    }
}

impl AgentCore {
    /// Looks at the next step, or says what came of it when all were looked at. Gives the order back where it may go on.
    pub(super) fn rehearse(&mut self, mut running: Running, now: Now) -> Option<Running> {
        loop {
            let index = running.rehearsal.seen.len();
            let Some(step) = running.steps.get(index).cloned() else {
                self.compare(&mut running, now);
                return Some(running);
            };
            if step.only_when_notified && running.notified.get(index) != Some(&true) {
                running.rehearsal.seen.push(None);
                continue;
            }
            match self.lease(&running, now) {
                Lease::Held => {
                    if let Some(held) = self.held.get(&running.order_id) {
                        let look = step_ref(held, &running, index, &step, 1);
                        self.out.push(Effect::Observe(look));
                        running.stage = Stage::Observing(index);
                    }
                }
                Lease::Wait => running.stage = Stage::Waiting,
                Lease::Lost => running.stop(lease_lost()),
            }
            self.running = Some(running);
            return None;
        }
    }

    fn compare(&mut self, running: &mut Running, now: Now) {
        if running.rehearsal.is_as_planned(&running.steps) {
            running.rehearsal.is_over = true;
            running.notified.fill(false);
            return;
        }
        let at = self.corrected(now.wall);
        let sights: Vec<(usize, Sight)> = running
            .rehearsal
            .differing()
            .take(DIFFERENCES_MAX)
            .map(|(index, sight)| (index, sight.clone()))
            .collect();
        let detail = words(running);
        running.stop(Stop::soft(OrderOutcome::Failed, Code::Stale, &detail));
        for (index, sight) in sights {
            let Some(step) = running.steps.get(index).cloned() else {
                continue;
            };
            let detail = sight
                .failure
                .unwrap_or_else(|| "this is how it is now; nothing was changed".to_owned());
            let why = (Code::Stale, detail);
            let mut result = ended_early(running.order_id, &step, StepOutcome::Skipped, Some(why), at);
            (result.before, result.after, result.changes) = (sight.digest, sight.digest, sight.changes);
            result.cost_micros = self.price_of(running, &sight.usage);
            result.usage = sight.usage;
            push_result(running, index, result, &mut self.out);
        }
    }

    fn price_of(&self, running: &Running, usage: &Usage) -> u64 {
        let held = self.held.get(&running.order_id);
        held.map_or(0, |held| super::grant::price(held, usage))
    }
}

/// A step was looked at to compare; `looked` is what was seen of what that used, where it failed.
pub(super) fn rehearsed(running: &mut Running, index: usize, result: Result<Seen, Failure>, looked: Usage) {
    if result.is_err() && running.told.is_some() {
        running.told = None;
        running.looked.insert(index, looked);
        return;
    }
    let differs = !matches!(&result, Ok(seen) if seen.changes.is_empty());
    running.rehearsal.take(result, looked);
    let targets = running.steps.get(index).map(|step| step.notify.clone());
    for target in targets.filter(|_| differs).into_iter().flatten() {
        if let Some(slot) = running.notified.get_mut(target) {
            *slot = true;
        }
    }
}

/// What a stale order says: what would have to be changed by now.
fn words(running: &Running) -> String {
    let count = running.rehearsal.differing().count();
    let name = |(index, _): (usize, &Sight)| running.steps.get(index).map(|step| step.id.clone());
    let names: Vec<String> = running
        .rehearsal
        .differing()
        .take(NAMES_MAX)
        .filter_map(name)
        .collect();
    let more = count.saturating_sub(NAMES_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "the host is not as the plan saw it and nothing was changed; now these differ: {}{more}",
        names.join(", ")
    )
}
