//! What is wanted here, and where the watch of it stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;
use writ_chassis::clock::BootInstant;
use writ_protocol::bundle::Bundle;
use writ_protocol::graph::Graph;
use writ_protocol::id::JournalId;
use writ_protocol::record::{Look, LookCause, OrderAccepted};

use crate::drift::{Applied, Ask, Desired, Input, Kept, Now, Places, Rules, Shape, is_watched, wanted};

/// The watch of one agent.
#[derive(Debug)]
pub(in crate::app) struct Watch {
    pub(super) rules: Rules,
    pub(super) graphs: BTreeMap<String, Arc<Graph>>,
    pub(super) kept: Kept,
    /// The file is older than `kept`.
    pub(super) owes: bool,
    /// Plans that are to be fetched: from the file, or as the journal's frames behind it say.
    pub(super) unloaded: Vec<Wanted>,
    /// When those that could not be had are asked for again; none while they are being asked for.
    pub(super) load_at: Option<BootInstant>,
    /// Projects of which a plan was applied in this life: what the past says of them counts no more.
    pub(super) fresh: BTreeSet<String>,
    pub(super) asks: Vec<Ask>,
    /// What the last hello told, until it is answered.
    pub(super) said: Vec<Look>,
    /// Where the kernel is to tell of changes; absent where it is not asked to.
    pub(super) places: Option<watch::Sender<Arc<Places>>>,
}

/// A plan that is wanted here and not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) enum Wanted {
    /// As the file says.
    Kept(Desired),
    /// As the journal says.
    Applied(Applied),
}

/// A plan that was wanted before this start.
#[derive(Clone, Debug)]
pub(in crate::app) struct Loaded {
    pub(super) wish: Wanted,
    /// Nothing where the host is not to be held to it.
    pub(super) plan: Option<(Desired, Graph)>,
}

impl Loaded {
    pub(super) fn new(wish: Wanted, bundle: &Bundle) -> Self {
        let desired = match &wish {
            Wanted::Kept(desired) => Some(desired.clone()),
            Wanted::Applied(applied) => wanted(bundle, applied),
        };
        let plan = desired.map(|desired| (desired, bundle.graph().clone()));
        Self { wish, plan }
    }
}

/// What is known of the past at a start.
#[derive(Debug)]
pub(in crate::app) struct Past {
    pub(in crate::app) file: Option<Vec<u8>>,
    pub(in crate::app) applied: VecDeque<(u64, OrderAccepted)>,
    pub(in crate::app) journal_id: JournalId,
}

impl Watch {
    /// What the hello that goes out now tells of looks.
    pub(in crate::app) fn looks(&mut self) -> Vec<Look> {
        self.said = self.rules.looks();
        self.said.clone()
    }

    /// The hello was answered.
    pub(in crate::app) fn answered(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.rules.hello_told(&said);
    }

    pub(in crate::app) fn deadline(&self) -> Option<BootInstant> {
        self.rules.deadline().into_iter().chain(self.load_at).min()
    }

    pub(super) fn tell(&mut self, input: Input, now: Now) {
        self.asks.extend(self.rules.apply(input, now));
    }

    /// Holds the host to a plan from now on.
    pub(super) fn adopt(&mut self, desired: Desired, graph: &Graph, cause: LookCause, now: Now) {
        let watched = graph.resources.iter().enumerate();
        let watched: BTreeSet<usize> = watched
            .filter(|(_, resource)| is_watched(resource))
            .map(|(index, _)| index)
            .collect();
        let rest = graph.resources.len().saturating_sub(watched.len());
        let shape = Shape {
            watched,
            unwatched: u32::try_from(rest).unwrap_or(u32::MAX),
        };
        if !self.kept.desired.contains(&desired) {
            self.owes = true;
            if let Some(project) = self.kept.put(desired.clone()) {
                tracing::warn!(%project, "more projects than are watched on one host; this one is no longer");
                self.graphs.remove(&project);
                self.tell(Input::Dropped(project), now);
            }
        }
        tracing::info!(project = %desired.project, order.id = %desired.order_id, watched = shape.watched.len(), "held to a plan");
        self.graphs
            .insert(desired.project.clone(), Arc::new(graph.clone()));
        self.tell(
            Input::Adopted {
                desired,
                shape,
                cause,
            },
            now,
        );
        self.point();
    }

    /// Has the kernel tell of changes at what is wanted now.
    fn point(&self) {
        let Some(sender) = &self.places else { return };
        let mut places = Places::default();
        for (project, graph) in &self.graphs {
            places.add(project, graph);
        }
        if places.omitted() > 0 {
            tracing::warn!(
                omitted = places.omitted(),
                "more paths than the kernel is asked about; what is there is looked at by interval only"
            );
        }
        sender.send_replace(Arc::new(places));
    }

    /// Plans came that were wanted before this start, the oldest first: the last of each project holds.
    pub(super) fn loaded(&mut self, loaded: Vec<Loaded>, now: Now) {
        let mut last = BTreeMap::new();
        for Loaded { wish, plan } in loaded {
            self.unloaded.retain(|other| *other != wish);
            let is_wanted = match &wish {
                Wanted::Kept(desired) => self.kept.desired.contains(desired),
                Wanted::Applied(_) => true,
            };
            if let Some((desired, graph)) = plan.filter(|_| is_wanted) {
                last.insert(desired.project.clone(), (desired, graph));
            }
        }
        self.owes = true;
        for (project, (desired, graph)) in last {
            if !self.fresh.contains(&project) {
                self.adopt(desired, &graph, LookCause::Started, now);
            }
        }
    }

    /// How far the file may say that it goes: ends of orders whose plans are not loaded are not part of it.
    pub(super) fn upto(&self, durable: u64) -> u64 {
        let unloaded = self.unloaded.iter().filter_map(|wish| match wish {
            Wanted::Applied(applied) => Some(applied.seq.saturating_sub(1)),
            Wanted::Kept(_) => None,
        });
        unloaded.min().unwrap_or(durable).min(durable)
    }
}
