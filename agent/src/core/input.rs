//! What the rules are told. Everything here was verified by the shell before.

use writ_protocol::digest::Digest;
use writ_protocol::egress::Egress;
use writ_protocol::exec::{EffectiveLimit, Exit, Isolation, KillConfidence, Limits, Meter, StepMode, Usage};
use writ_protocol::hello::LeaseRenewed;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::{Generation, Manifest};
use writ_protocol::reason::Code;
use writ_protocol::record::Change;
use writ_protocol::time::Timestamp;

use super::effect::Blob;
use super::{HaltWord, LiftWord, Now};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A manifest was admitted that is newer than the highest seen.
    Manifest(Box<Taken>),
    /// A manifest was refused.
    Refused {
        /// SHA-256 of the bytes that came.
        bytes: Digest,
        /// Why.
        code: Code,
        /// Why, in words.
        detail: String,
    },
    /// The ledger answered a hello.
    Hello(Box<HelloWord>),
    /// A halt came.
    Halt(HaltWord),
    /// The lift of a halt came.
    Lift(LiftWord),
    /// How the disk is.
    Disk {
        /// Too little for anything new.
        tight: bool,
    },
    /// The process is to stop.
    Drain,
    /// An order's bundle was fetched, verified and decoded.
    BundleReady {
        /// The order.
        order_id: OrderId,
        /// The project it belongs to.
        project: String,
        /// Its steps in order.
        steps: Vec<StepPlan>,
    },
    /// An order's bundle cannot be had or used.
    BundleFailed {
        /// The order.
        order_id: OrderId,
        /// Why.
        failure: Failure,
    },
    /// A step was looked at.
    Observed {
        /// The order.
        order_id: OrderId,
        /// Which step.
        index: usize,
        /// What was seen.
        result: Result<Seen, Failure>,
    },
    /// What the step under way has used so far.
    Metered {
        /// The order.
        order_id: OrderId,
        /// Which step.
        index: usize,
        /// What was used since it began; what looking used is told apart, with what was seen.
        usage: Usage,
    },
    /// A step was carried out, or failed.
    Applied {
        /// The order.
        order_id: OrderId,
        /// Which step.
        index: usize,
        /// What came of it.
        ran: Box<Ran>,
    },
    /// Time passed.
    Tick,
}

/// A manifest that was admitted.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of its signed payload.
    pub digest: Digest,
    /// Its envelope as it came, to be kept.
    pub envelope: Vec<u8>,
    /// The halts it carries, verified.
    pub halts: Vec<HaltWord>,
    /// The lifts it carries, those that verify.
    pub lifts: Vec<LiftWord>,
}

/// The ledger's answer to a hello, verified and fresh.
#[derive(Clone, Debug)]
pub struct HelloWord {
    /// The newest manifest's place.
    pub at: Generation,
    /// The ledger's clock.
    pub server_time: Timestamp,
    /// Our clocks when we asked.
    pub sent: Now,
    /// The agent must start nothing.
    pub quarantined: bool,
    /// How many halts and lifts there have been.
    pub control_epoch: u64,
    /// Halts in force, verified.
    pub halts: Vec<HaltWord>,
    /// Lifts, those that verify.
    pub lifts: Vec<LiftWord>,
    /// Leases that hold from the moment of asking.
    pub leases: Vec<LeaseRenewed>,
}

/// Why something did not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// In words.
    pub detail: String,
}

/// What the rules need to know of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlan {
    /// The resource's id.
    pub id: String,
    /// Steps before it that must have succeeded, by number.
    pub depends_on: Vec<usize>,
    /// Steps that it triggers when it changed something, by number.
    pub notify: Vec<usize>,
    /// What a crash means for it.
    pub mode: StepMode,
    /// Bounds.
    pub limits: Limits,
    /// It only runs when another step triggers it.
    pub only_when_notified: bool,
}

/// What is there, and how it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Digest of the observation.
    pub digest: Digest,
    /// What differs; nothing to do when empty.
    pub changes: Vec<Change>,
    /// What looking used.
    pub usage: Usage,
}

/// What came of carrying a step out.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// It was ended on our own demand.
    pub was_stopped: bool,
    /// Digest of the observation afterwards.
    pub after: Digest,
    /// How its process tree ended, if there was one.
    pub exit: Option<Exit>,
    /// Limits as the kernel reported them.
    pub limits: Vec<EffectiveLimit>,
    /// Isolation reached, if a process ran.
    pub isolation: Option<Isolation>,
    /// How surely the tree is gone.
    pub kill_confidence: Option<KillConfidence>,
    /// What it used.
    pub usage: Usage,
    /// The kept part of its output.
    pub output: Option<Blob>,
    /// Bytes of output that were dropped.
    pub output_dropped: u64,
    /// Files it produced.
    pub artefacts: Vec<Blob>,
    /// What it did with the network that its plan gave it.
    pub egress: Option<Egress>,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl Ran {
    /// A step that failed before anything of it ran.
    pub fn failed(failure: Failure, ended_at: Timestamp) -> Self {
        Self {
            failure: Some(failure),
            ..Self::nothing(ended_at)
        }
    }

    /// A step that did what it should and used nothing.
    pub const fn nothing(ended_at: Timestamp) -> Self {
        Self {
            failure: None,
            was_stopped: false,
            after: Digest::ZERO,
            exit: None,
            limits: Vec::new(),
            isolation: None,
            kill_confidence: None,
            usage: Usage::none(Meter::Agent),
            output: None,
            output_dropped: 0,
            artefacts: Vec::new(),
            egress: None,
            ended_at,
        }
    }
}
