//! Budgets as they are shown.

use serde::Serialize;
use utoipa::ToSchema;
use writ_domain::budget::{Account, Span};
use writ_protocol::time::Timestamp;
use writ_store::budget::{AccountRow, Budget};

/// A budget, and what is taken of it in the window that is open.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetView {
    /// `tenant`, `project:NAME` or `run:ID`.
    pub id: String,
    /// `tenant`, `project` or `run`.
    pub level: String,
    /// The tenant's, project's or run's name.
    pub name: String,
    /// `observe`, `warn` or `enforce`.
    pub mode: String,
    /// Over which window the cap holds: `none`, `day` or `month`, UTC.
    pub window: String,
    /// When the window that is open began, RFC 3339; null where the cap holds for good.
    pub window_began: Option<String>,
    /// The cap, micro-units.
    pub cap_micros: u64,
    /// Promised to orders that have not ended.
    pub reserved_micros: u64,
    /// Spent within what was promised.
    pub spent_micros: u64,
    /// Promised to orders of which no word came: it may have been spent.
    pub disputed_micros: u64,
    /// Spent beyond what was promised, before agents could stop.
    pub overrun_micros: u64,
    /// What may still be promised.
    pub left_micros: u64,
    /// In which currency.
    pub currency: String,
    /// How many runs it refused in this window.
    pub refused: u64,
    /// The highest threshold that was told of in this window, hundredths of the cap; 0 before the first.
    pub noticed: u8,
    /// Who set it.
    pub set_by: String,
    /// When, RFC 3339.
    pub set_at: String,
}

impl BudgetView {
    pub(in crate::app) fn new(id: &str, set: &Budget, began_at: Timestamp, row: Option<&AccountRow>) -> Self {
        let new = Account::new(set.mode, set.cap_micros);
        let account = row.map_or(new, |row| row.account);
        let is_for_good = set.span == Span::Always;
        Self {
            id: id.to_owned(),
            level: set.level.name().to_owned(),
            name: set.name.clone(),
            mode: set.mode.name().to_owned(),
            window: set.span.name().to_owned(),
            window_began: (!is_for_good).then(|| began_at.to_string()),
            cap_micros: account.cap_micros,
            reserved_micros: account.reserved_micros,
            spent_micros: account.spent_micros,
            disputed_micros: account.disputed_micros,
            overrun_micros: account.overrun_micros,
            left_micros: account.left_micros(),
            currency: set.currency.clone(),
            refused: row.map_or(0, |row| row.refused),
            noticed: account.noticed,
            set_by: set.set_by.clone(),
            set_at: set.set_at.to_string(),
        }
    }
}
