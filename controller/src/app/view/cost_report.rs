//! Signed reports of costs as they are shown.

use serde::Serialize;
use utoipa::ToSchema;
use writ_store::cost_report::Kept;

/// A report that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredCostReportView {
    /// The week of the calendar, UTC, such as `2026-W47`.
    pub week: String,
    /// SHA-256 of its document: of two reports of a week, what tells them apart.
    pub digest: String,
    /// Orders in it.
    pub orders: u64,
    /// What they count as, micro-units.
    pub counted_micros: u64,
    /// Who had it made.
    pub made_by: String,
    /// When, RFC 3339; not a part of what is signed.
    pub made_at: String,
}

impl From<&Kept> for StoredCostReportView {
    fn from(kept: &Kept) -> Self {
        Self {
            week: kept.week.clone(),
            digest: kept.digest.to_string(),
            orders: kept.orders,
            counted_micros: kept.counted_micros,
            made_by: kept.made_by.clone(),
            made_at: kept.made_at.to_string(),
        }
    }
}

/// A report with its parts, byte for byte, and what its signature follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedCostReportView {
    /// Which.
    #[serde(flatten)]
    pub report: StoredCostReportView,
    /// The document, JSON.
    pub document: String,
    /// Its rendering, Markdown.
    pub rendering: String,
    /// The DSSE envelope with the controller's signed word on both.
    pub envelope: String,
    /// The root's envelope.
    pub root: String,
    /// The trust policy's envelope.
    pub policy: String,
}
