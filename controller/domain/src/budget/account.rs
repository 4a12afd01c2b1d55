//! One budget over one window: what is reserved, spent and disputed of its cap.

use super::Mode;
use super::grant::{Grant, Share};

/// Most that a cap or a grant may be, micro-units: the ledger's sums are signed 64-bit numbers, and four of these still fit.
pub const MICROS_MAX: u64 = (i64::MAX / 4).unsigned_abs();
/// At how many hundredths of the cap people are told.
pub const THRESHOLDS: [u8; 3] = [75, 90, 100];

/// An account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What becomes of an order that does not fit.
    pub mode: Mode,
    /// The cap, micro-units.
    pub cap_micros: u64,
    /// Promised to orders that have not ended.
    pub reserved_micros: u64,
    /// Spent within grants.
    pub spent_micros: u64,
    /// Promised to orders of which no word came: it may have been spent.
    pub disputed_micros: u64,
    /// Spent beyond grants before their agents could stop.
    pub overrun_micros: u64,
    /// The highest threshold that people were told of; 0 before the first.
    pub noticed: u8,
}

/// Why an amount cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is too little left.
    #[error("{left_micros} micro-units are left")]
    Short {
        /// What is left.
        left_micros: u64,
    },
    /// The sum is beyond what the ledger can count.
    #[error("the sum is beyond what can be counted")]
    Uncountable,
}

/// A reservation that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The account afterwards.
    pub next: Account,
    /// Whether it went past the cap: allowed, and to be told under `warn`.
    pub is_over: bool,
}

/// The account does not hold what its grants say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account does not hold what its grants say")]
pub struct OutOfStep;

/// More is held already than the new cap allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{held_micros} micro-units are spent, reserved or disputed already")]
pub struct BelowHeld {
    /// The least cap that can be set.
    pub held_micros: u64,
}

impl Account {
    /// An account of which nothing is taken.
    pub const fn new(mode: Mode, cap_micros: u64) -> Self {
        Self {
            mode,
            cap_micros,
            reserved_micros: 0,
            spent_micros: 0,
            disputed_micros: 0,
            overrun_micros: 0,
            noticed: 0,
        }
    }

    /// What grants hold of it: reserved, spent and disputed. Under `enforce` never more than the cap.
    pub const fn held_micros(&self) -> u64 {
        self.reserved_micros
            .saturating_add(self.spent_micros)
            .saturating_add(self.disputed_micros)
    }

    /// What is not to be had any more: what grants hold, and what was spent beyond them.
    pub const fn taken_micros(&self) -> u64 {
        self.held_micros().saturating_add(self.overrun_micros)
    }

    /// What may still be reserved within the cap.
    pub const fn left_micros(&self) -> u64 {
        self.cap_micros.saturating_sub(self.taken_micros())
    }

    /// Reserves an amount.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is reserved then.
    pub fn reserve(&self, amount_micros: u64) -> Result<Reserved, Refusal> {
        let reserved = self.reserved_micros.checked_add(amount_micros);
        let next = Self {
            reserved_micros: reserved.ok_or(Refusal::Uncountable)?,
            ..*self
        };
        let is_over = next.taken_micros() > self.cap_micros;
        if is_over && self.mode == Mode::Enforce {
            return Err(Refusal::Short {
                left_micros: self.left_micros(),
            });
        }
        if next.held_micros() > MICROS_MAX {
            return Err(Refusal::Uncountable);
        }
        Ok(Reserved { next, is_over })
    }

    /// Follows a grant from one state to another; also gives the threshold that was reached by it.
    ///
    /// # Errors
    /// [`OutOfStep`]; the account stays as it is then, and with it what is reserved.
    pub fn follow(&self, before: &Grant, after: &Grant) -> Result<(Self, Option<u8>), OutOfStep> {
        let (old, new): (Share, Share) = (before.share(), after.share());
        let moved = |has: u64, old: u64, new: u64| has.checked_sub(old)?.checked_add(new);
        let all = || {
            Some(Self {
                reserved_micros: moved(self.reserved_micros, old.reserved_micros, new.reserved_micros)?,
                spent_micros: moved(self.spent_micros, old.spent_micros, new.spent_micros)?,
                disputed_micros: moved(self.disputed_micros, old.disputed_micros, new.disputed_micros)?,
                overrun_micros: self
                    .overrun_micros
                    .saturating_sub(old.overrun_micros)
                    .saturating_add(new.overrun_micros)
                    .min(MICROS_MAX),
                ..*self
            })
        };
        all().map(Self::noticing).ok_or(OutOfStep)
    }

    /// Sets mode and cap. Thresholds that the new cap has not reached are told again when it does.
    ///
    /// # Errors
    /// [`BelowHeld`] where a cap is to be enforced below what grants hold.
    pub fn adjust(&self, mode: Mode, cap_micros: u64) -> Result<Self, BelowHeld> {
        let next = Self {
            mode,
            cap_micros,
            ..*self
        };
        if mode == Mode::Enforce && next.held_micros() > cap_micros {
            return Err(BelowHeld {
                held_micros: next.held_micros(),
            });
        }
        Ok(Self {
            noticed: next.noticed.min(next.reached()),
            ..next
        })
    }

    /// What does not come back by itself: spent within grants and beyond, and disputed. Thresholds are of this: a run reserves its whole budget and
    /// gives most of it back, which is nothing to tell people of.
    pub const fn gone_micros(&self) -> u64 {
        self.taken_micros().saturating_sub(self.reserved_micros)
    }

    /// The highest threshold that what is gone has reached; 0 below the first.
    pub fn reached(&self) -> u8 {
        let gone = u128::from(self.gone_micros()) * 100;
        let has = |at: &u8| gone > 0 && gone >= u128::from(self.cap_micros) * u128::from(*at);
        THRESHOLDS.into_iter().rfind(has).unwrap_or(0)
    }

    fn noticing(self) -> (Self, Option<u8>) {
        let reached = self.reached();
        if reached <= self.noticed {
            return (self, None);
        }
        let next = Self {
            noticed: reached,
            ..self
        };
        (next, Some(reached))
    }
}

/// Reserves an amount of every account, or of none.
///
/// # Errors
/// The place of the first account that refuses, and why.
pub fn reserve_all(accounts: &[Account], amount_micros: u64) -> Result<Vec<Reserved>, (usize, Refusal)> {
    accounts
        .iter()
        .enumerate()
        .map(|(place, account)| account.reserve(amount_micros).map_err(|why| (place, why)))
        .collect()
}
