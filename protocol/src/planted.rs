//! Bugs planted on purpose, to measure whether the simulator finds them. They exist only with the feature `planted`, never in a release, and only
//! one at a time, chosen by name for the present thread.

use std::cell::Cell;

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature `planted` is for the simulator, which is built with assertions; nothing that is shipped may hold planted bugs"
);

thread_local! {
    static CHOSEN: Cell<Option<Bug>> = const { Cell::new(None) };
}

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// Every bug.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    /// The intent of a step is not flushed before the step starts.
    IntentUnsynced = "planted-intent-unsynced",
    /// A manifest's place is not flushed before anything else happens.
    GenerationUnsynced = "planted-generation-unsynced",
    /// A flush reports success and flushes nothing.
    FlushSkipped = "planted-flush-skipped",
    /// A `once` step that was under way at a crash starts again.
    OnceRetried = "planted-once-retried",
    /// What was done is forgotten over a restart.
    DoneForgotten = "planted-done-forgotten",
    /// A lost lease stops nothing.
    LeaseIgnored = "planted-lease-ignored",
    /// A spent grant stops nothing.
    GrantIgnored = "planted-grant-ignored",
    /// A halt stops nothing.
    HaltIgnored = "planted-halt-ignored",
    /// A halt that the ledger lists no more counts as lifted.
    HaltDroppedUnlifted = "planted-halt-dropped-unlifted",
    /// A step whose effect is not known counts as done.
    IndeterminateHidden = "planted-indeterminate-hidden",
    /// A damaged middle of a journal is cut like a torn end.
    DamageCut = "planted-damage-cut",
    /// A new journal after damage keeps the name of the old one.
    JournalIdKept = "planted-journal-id-kept",
    /// Segments are removed that the ledger does not have.
    UnackedRemoved = "planted-unacked-removed",
    /// The acceptance of an order that is not done is removed with its old segment.
    OpenForgotten = "planted-open-forgotten",
    /// A ledger that went back is sent nothing again.
    ResendForgotten = "planted-resend-forgotten",
    /// That records are gone is not said to a ledger that asks for them.
    GoneUnsaid = "planted-gone-unsaid",
    /// Whatever manifest came last holds, as the bus orders them.
    OrderOfArrival = "planted-order-of-arrival",
    /// A manifest for another agent is taken.
    StrangerTaken = "planted-stranger-taken",
    /// Frames behind a gap are taken and the watermark moves over it.
    GapTaken = "planted-gap-taken",
    /// An agent's word that comes after the ledger gave up does not count.
    LateWordLost = "planted-late-word-lost",
    /// A passed deadline moves nothing.
    DeadlineIgnored = "planted-deadline-ignored",
    /// Hosts of a rollout that are at work do not count as such.
    FlightForgotten = "planted-flight-forgotten",
    /// Hosts of a rollout that failed do not count as such.
    FailuresForgotten = "planted-failures-forgotten",
    /// A run's reminder is taken off though its next hosts could not be begun.
    ReminderLost = "planted-reminder-lost",
    /// Two processes with one identity are taken for a restart.
    CloneUnseen = "planted-clone-unseen",
    /// A controller that lost its lease goes on writing.
    LeaseUnguarded = "planted-lease-unguarded",
    /// A restored database keeps its epoch.
    EpochForgotten = "planted-epoch-forgotten",
    /// `duplicate: true` is believed to mean stored.
    DuplicateTrusted = "planted-duplicate-trusted",
    /// A watermark is sent before its transaction is committed.
    MarkBeforeCommit = "planted-mark-before-commit",
}

/// Chooses the bug of this thread; none for none.
pub fn choose(bug: Option<Bug>) {
    CHOSEN.with(|chosen| chosen.set(bug));
}

/// Whether this bug is chosen.
pub fn is(bug: Bug) -> bool {
    CHOSEN.with(Cell::get) == Some(bug)
}
