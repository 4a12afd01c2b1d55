//! When to look at what, and what of it is news. Pure: `apply(input, now)` answers with what to do.
//!
//! One look runs at a time, and none while an order changes the host: what is under way is no drift. What a look found is thrown away where an order
//! began meanwhile, and looked at again afterwards. Everything is looked at every interval, at a moment of it that the agent's id decides, so that a
//! fleet does not look in step; what the kernel tells of is looked at at once, as long as that is not too often.

mod asked;
mod room;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use writ_chassis::clock::BootInstant;
use writ_protocol::digest::Digest;
use writ_protocol::id::AgentId;
use writ_protocol::record::drift::digest;
use writ_protocol::record::{Difference, DriftSeen, Look, LookCause};
use writ_protocol::time::Timestamp;

use self::asked::Asked;
use self::room::fit;
use super::desired::Desired;

/// After an order's end until what it left is looked at: its report goes first.
const APPLIED_DELAY: Duration = Duration::from_millis(100);
/// Looks of one project that events may cause…
const EVENT_LOOKS_MAX: usize = 64;
/// …within this time. What changes all the time is looked at this seldom.
const EVENT_LOOKS_SPAN: Duration = Duration::from_secs(32);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock as the ledger would read it.
    pub wall: Timestamp,
    /// The boot clock.
    pub boot: BootInstant,
}

/// Which resources of a plan are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Their numbers in the graph.
    pub watched: BTreeSet<usize>,
    /// How many are not.
    pub unwatched: u32,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A plan is wanted here from now on, in the place of the one of its project.
    Adopted {
        /// The plan.
        desired: Desired,
        /// What of it is looked at.
        shape: Shape,
        /// Applied now, or known from before a start.
        cause: LookCause,
    },
    /// A project's plan is no longer wanted here.
    Dropped(String),
    /// The kernel told of changes at these resources.
    Noticed(BTreeMap<String, BTreeSet<usize>>),
    /// The kernel had more to tell than it could keep.
    Missed,
    /// Whether the host is to be left alone now: an order changes it, or the agent is to start nothing.
    Held(bool),
    /// A look is over.
    Looked {
        /// Which.
        turn: u64,
        /// What was found of each resource: nothing where it is as it should be.
        found: Vec<(usize, Option<Difference>)>,
    },
    /// The ledger says that somebody asked at this time of its clock for a look at everything, and knows of none since.
    Asked(Timestamp),
    /// Time passed.
    Tick,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Look at resources of a project's plan, and say what was found.
    Look {
        /// The look's number.
        turn: u64,
        /// The project.
        project: String,
        /// Numbers in the graph.
        which: Vec<usize>,
    },
    /// Write a record.
    Tell(Box<DriftSeen>),
    /// Say hello: somebody waits for a look that hellos tell of now.
    Answer {
        /// The ledger has heard of it before, and does not have it: what it rests on may be under way, so a moment later.
        is_repeated: bool,
    },
}

/// A look that is to be.
#[derive(Clone, Debug)]
struct Due {
    /// Absent: at everything.
    which: Option<BTreeSet<usize>>,
    cause: LookCause,
    noticed_at: Timestamp,
    not_before: BootInstant,
    /// Somebody waits for it.
    is_asked: bool,
}

/// A project whose plan is wanted here.
#[derive(Clone, Debug)]
struct Project {
    desired: Desired,
    shape: Shape,
    due: Option<Due>,
    /// What differs, by number in the graph.
    differing: BTreeMap<usize, Difference>,
    /// The answer that was recorded last.
    told: Option<Digest>,
    /// When all of it was looked at last.
    looked_at: Option<Timestamp>,
    /// The same, as a hello told it.
    hello_told: Option<Timestamp>,
    /// When events caused the last looks.
    event_looks: VecDeque<BootInstant>,
}

/// The look under way.
#[derive(Clone, Debug)]
struct Looking {
    turn: u64,
    project: String,
    due: Due,
    began: Timestamp,
    /// What it finds counts.
    is_valid: bool,
}

/// The state of the watch.
#[derive(Clone, Debug)]
pub struct Rules {
    interval: Duration,
    phase: u64,
    projects: BTreeMap<String, Project>,
    looking: Option<Looking>,
    is_held: bool,
    turn: u64,
    /// When everything is due again.
    next_at: BootInstant,
    /// What was asked for last.
    asked: Option<Asked>,
}

impl Rules {
    /// A watch that wants nothing yet.
    pub fn new(agent_id: AgentId, interval: Duration, now: Now) -> Self {
        let (high, low) = agent_id.as_uuid().as_u64_pair();
        let mut rules = Self {
            interval,
            // The id's last bits are random; the first tell when it was made, and agents that joined together have the same.
            phase: high.rotate_left(32) ^ low,
            projects: BTreeMap::new(),
            looking: None,
            is_held: false,
            turn: 0,
            next_at: now.boot,
            asked: None,
        };
        rules.next_at = rules.following(now);
        rules
    }

    /// Takes one input and says what to do. Inputs that are late or repeated change nothing.
    pub fn apply(&mut self, input: Input, now: Now) -> Vec<Ask> {
        let mut asks = Vec::new();
        match input {
            Input::Adopted {
                desired,
                shape,
                cause,
            } => self.adopt(desired, shape, cause, now),
            Input::Dropped(project) => {
                self.invalidate(&project);
                self.projects.remove(&project);
            }
            Input::Noticed(places) => {
                for (project, which) in places {
                    self.notice(&project, &which, now);
                }
            }
            Input::Missed => self.all_due(LookCause::Event, now),
            Input::Held(is_held) => self.hold(is_held),
            Input::Looked { turn, found } => asks.extend(self.looked(turn, found)),
            Input::Asked(since) => asks.extend(self.ask(since, now)),
            Input::Tick => {}
        }
        if now.boot >= self.next_at {
            self.all_due(LookCause::Interval, now);
            self.next_at = self.following(now);
        }
        asks.extend(self.begin(now));
        asks
    }

    /// The next moment at which [`Input::Tick`] can change something.
    pub fn deadline(&self) -> Option<BootInstant> {
        if self.projects.is_empty() {
            return None;
        }
        let can_begin = !self.is_held && self.looking.is_none();
        let due = self
            .projects
            .values()
            .filter_map(|p| p.due.as_ref())
            .map(|due| due.not_before);
        let due = due.filter(|_| can_begin).min();
        Some(due.map_or(self.next_at, |at| at.min(self.next_at)))
    }

    /// Looks at everything that no hello told of yet.
    pub fn looks(&self) -> Vec<Look> {
        let fresh = self.projects.values().filter(|p| p.looked_at > p.hello_told);
        fresh
            .filter_map(|project| {
                Some(Look {
                    project: project.desired.project.clone(),
                    order_id: project.desired.order_id,
                    looked_at: project.looked_at?,
                    differing: project.told?,
                })
            })
            .collect()
    }

    /// A hello that told of these looks was answered.
    pub fn hello_told(&mut self, looks: &[Look]) {
        for look in looks {
            if let Some(project) = self.projects.get_mut(&look.project)
                && project.desired.order_id == look.order_id
            {
                project.hello_told = project.hello_told.max(Some(look.looked_at));
            }
        }
    }

    /// How many resources are watched, and how many of them differ.
    pub fn counts(&self) -> (usize, usize) {
        let sum = |of: fn(&Project) -> usize| self.projects.values().map(of).sum();
        (sum(|p| p.shape.watched.len()), sum(|p| p.differing.len()))
    }

    /// The next moment of the interval that is this agent's.
    fn following(&self, now: Now) -> BootInstant {
        let interval = u64::try_from(self.interval.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let wall = now.wall.as_micros().unsigned_abs();
        let into = wall.wrapping_sub(self.phase % interval) % interval;
        now.boot
            .plus(Duration::from_micros(interval.saturating_sub(into)))
    }

    fn adopt(&mut self, desired: Desired, shape: Shape, cause: LookCause, now: Now) {
        self.invalidate(&desired.project);
        let delay = match cause {
            LookCause::Applied => APPLIED_DELAY,
            _ => Duration::ZERO,
        };
        let project = Project {
            due: Some(Due {
                which: None,
                cause,
                noticed_at: now.wall.plus(delay),
                not_before: now.boot.plus(delay),
                is_asked: false,
            }),
            shape,
            differing: BTreeMap::new(),
            told: None,
            looked_at: None,
            hello_told: None,
            event_looks: VecDeque::new(),
            desired,
        };
        self.projects.insert(project.desired.project.clone(), project);
    }

    /// What the look under way finds of a project counts no more.
    fn invalidate(&mut self, project: &str) {
        if let Some(looking) = self.looking.as_mut().filter(|l| l.project == project) {
            looking.is_valid = false;
        }
    }

    fn notice(&mut self, project: &str, which: &BTreeSet<usize>, now: Now) {
        let Some(project) = self.projects.get_mut(project) else {
            return;
        };
        let which: BTreeSet<usize> = which.intersection(&project.shape.watched).copied().collect();
        if which.is_empty() {
            return;
        }
        let not_before = project.room_for_event(now.boot);
        project.add(Due {
            which: Some(which),
            cause: LookCause::Event,
            noticed_at: now.wall,
            not_before,
            is_asked: false,
        });
    }

    fn all_due(&mut self, cause: LookCause, now: Now) {
        for project in self.projects.values_mut() {
            project.add(Due {
                which: None,
                cause,
                noticed_at: now.wall,
                not_before: now.boot,
                is_asked: cause == LookCause::Asked,
            });
        }
    }

    fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
        if !is_held {
            return;
        }
        if let Some(looking) = self.looking.as_mut().filter(|l| l.is_valid) {
            looking.is_valid = false;
            if let Some(project) = self.projects.get_mut(&looking.project) {
                project.add(looking.due.clone());
            }
        }
    }

    fn begin(&mut self, now: Now) -> Option<Ask> {
        if self.is_held || self.looking.is_some() {
            return None;
        }
        let began = self.began(now);
        let ready = self
            .projects
            .values_mut()
            .filter(|p| p.due.as_ref().is_some_and(|due| due.not_before <= now.boot));
        let project = ready.min_by_key(|p| p.due.as_ref().map(|due| due.not_before))?;
        let due = project.due.take()?;
        if due.cause == LookCause::Event {
            project.event_looks.push_back(now.boot);
            if project.event_looks.len() > EVENT_LOOKS_MAX {
                project.event_looks.pop_front();
            }
        }
        let which = due.which.as_ref().unwrap_or(&project.shape.watched);
        self.turn += 1;
        let ask = Ask::Look {
            turn: self.turn,
            project: project.desired.project.clone(),
            which: which.iter().copied().collect(),
        };
        self.looking = Some(Looking {
            turn: self.turn,
            project: project.desired.project.clone(),
            due,
            began,
            is_valid: true,
        });
        Some(ask)
    }

    fn looked(&mut self, turn: u64, found: Vec<(usize, Option<Difference>)>) -> Vec<Ask> {
        let Some(looking) = self.looking.take_if(|looking| looking.turn == turn) else {
            return Vec::new();
        };
        let told = looking.is_valid.then(|| self.take_in(&looking, found)).flatten();
        let is_answered = looking.due.is_asked && !self.is_answer_owed();
        let answer = is_answered.then_some(Ask::Answer { is_repeated: false });
        told.into_iter().chain(answer).collect()
    }

    fn take_in(&mut self, looking: &Looking, found: Vec<(usize, Option<Difference>)>) -> Option<Ask> {
        let project = self.projects.get_mut(&looking.project)?;
        for (index, difference) in found {
            match difference {
                Some(difference) => drop(project.differing.insert(index, difference)),
                None => drop(project.differing.remove(&index)),
            }
        }
        if looking.due.which.is_none() {
            project.looked_at = Some(looking.began);
        }
        project.tell(looking)
    }
}

impl Project {
    /// When a look that an event causes may begin.
    fn room_for_event(&self, now: BootInstant) -> BootInstant {
        let oldest = (self.event_looks.len() >= EVENT_LOOKS_MAX).then(|| self.event_looks.front());
        let free = oldest.flatten().map(|at| at.plus(EVENT_LOOKS_SPAN));
        free.map_or(now, |at| at.max(now))
    }

    /// Adds to what is due: one look serves both, as early as either may begin, and tells of the older cause of the more telling kind.
    fn add(&mut self, more: Due) {
        let Some(due) = &mut self.due else {
            self.due = Some(more);
            return;
        };
        due.which = match (due.which.take(), more.which) {
            (Some(mut one), Some(other)) => {
                one.extend(other);
                Some(one)
            }
            _ => None,
        };
        let causes = [due.cause, more.cause];
        let is_first = matches!(due.cause, LookCause::Applied | LookCause::Started);
        let telling = [LookCause::Asked, LookCause::Event];
        if let Some(cause) = telling
            .into_iter()
            .find(|cause| causes.contains(cause) && !is_first)
        {
            due.cause = cause;
        }
        due.is_asked |= more.is_asked;
        due.noticed_at = due.noticed_at.min(more.noticed_at);
        due.not_before = due.not_before.min(more.not_before);
    }

    /// The record of the answer, where it is another than the last.
    fn tell(&mut self, looking: &Looking) -> Option<Ask> {
        let (differing, left_out) = fit(self.differing.values());
        let answer = digest(&differing, left_out);
        if self.told == Some(answer) {
            return None;
        }
        self.told = Some(answer);
        Some(Ask::Tell(Box::new(DriftSeen {
            project: self.desired.project.clone(),
            order_id: self.desired.order_id,
            run_id: self.desired.run_id,
            bundle: self.desired.bundle.digest,
            cause: looking.due.cause,
            looked_at: looking.began,
            noticed_at: looking.due.noticed_at.min(looking.began),
            watched: u32::try_from(self.shape.watched.len()).unwrap_or(u32::MAX),
            unwatched: self.shape.unwatched,
            differing,
            left_out,
        })))
    }
}

#[cfg(test)]
mod tests;
