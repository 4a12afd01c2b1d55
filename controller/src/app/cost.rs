//! What orders cost, as reports tell it: sums by tenant, project, run, agent, step or provider, and the orders of which nobody knows it.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use writ_domain::budget::Span;
use writ_protocol::id::OrderId;
use writ_protocol::time::Timestamp;
use writ_store::cost::{self, By, UnknownCost, Which, Window};

pub use writ_store::cost::By as CostBy;

use super::view::{CostLine, CostReportView, CostSums, UnknownCostView};
use super::{App, Error, Page, Paged};

/// Longest window of one report: a year, and the day by which some are longer.
pub const WINDOW_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Which costs are asked for.
#[derive(Clone, Debug, Default)]
pub struct CostQuery {
    /// Of orders made at or after; where it is not given, since the month of `to` began.
    pub from: Option<Timestamp>,
    /// Of orders made before; now, where it is not given.
    pub to: Option<Timestamp>,
    /// Only of this project.
    pub project: Option<String>,
}

impl App {
    /// Sums of what orders cost, by key, with the total of all of them in every page.
    ///
    /// # Errors
    /// [`Error`] with W0001: the window is none, or the cursor is not one of this list.
    pub async fn cost_report(&self, by: By, asked: &CostQuery, page: &Page) -> Result<CostReportView, Error> {
        let after = match page.cursor.as_deref() {
            None => String::new(),
            Some(cursor) => key_of(cursor).ok_or_else(Error::foreign_cursor)?,
        };
        self.costs(by, asked, (Which::After(&after), page.limit())).await
    }

    /// The dearest of a window, at most a page.
    ///
    /// # Errors
    /// [`Error`] with W0001: the window is none.
    pub async fn cost_top(
        &self,
        by: By,
        asked: &CostQuery,
        limit: Option<u32>,
    ) -> Result<CostReportView, Error> {
        let page = Page { cursor: None, limit };
        self.costs(by, asked, (Which::Dearest, page.limit())).await
    }

    async fn costs(
        &self,
        by: By,
        asked: &CostQuery,
        (which, limit): (Which<'_>, u32),
    ) -> Result<CostReportView, Error> {
        let window = self.window(asked)?;
        let mut tx = self.store.begin("cost.report").await?;
        let of = (by, self.settings.tenant.as_str());
        let (total, sums) = cost::sums(&mut tx, &window, of, which, limit).await?;
        let lines: Vec<CostLine> = sums.into_iter().map(CostLine::from).collect();
        let paged = Paged::of(lines, limit, |line| BASE64URL_NOPAD.encode(line.key.as_bytes()));
        Ok(CostReportView {
            by: by.name().to_owned(),
            from: window.from.to_string(),
            to: window.to.to_string(),
            project: asked.project.clone(),
            currency: self.settings.rates.currency.clone(),
            total: CostSums::from(total),
            items: paged.items,
            next: paged.next.filter(|_| matches!(which, Which::After(_))),
        })
    }

    /// Orders of which nobody knows all that they cost, by when they were made.
    ///
    /// # Errors
    /// As [`App::cost_report`].
    pub async fn unknown_costs(
        &self,
        asked: &CostQuery,
        page: &Page,
    ) -> Result<Paged<UnknownCostView>, Error> {
        let window = self.window(asked)?;
        let after = match page.cursor.as_deref() {
            None => (window.from, OrderId::from_uuid(uuid::Uuid::nil())),
            Some(cursor) => place_of(cursor).ok_or_else(Error::foreign_cursor)?,
        };
        let mut tx = self.store.begin("cost.unknown").await?;
        let found = cost::unknown(&mut tx, &window, after, page.limit()).await?;
        let paged = Paged::of(found, page.limit(), |one: &UnknownCost| {
            format!("{}.{}", one.issued_at.as_micros(), one.order_id)
        });
        Ok(Paged {
            items: paged.items.into_iter().map(UnknownCostView::from).collect(),
            next: paged.next,
        })
    }

    pub(super) fn window<'a>(&self, asked: &'a CostQuery) -> Result<Window<'a>, Error> {
        let to = asked.to.unwrap_or_else(|| self.now());
        let from = asked.from.unwrap_or_else(|| Span::Month.began(to));
        if from > to {
            return Err(Error::malformed(format!(
                "the window begins at {from} and ends before, at {to}"
            )));
        }
        if to.since(from) > WINDOW_MAX {
            return Err(Error::malformed(format!(
                "the window from {from} to {to} is longer than {} days; ask for its parts",
                WINDOW_MAX.as_secs() / 86_400
            )));
        }
        let project = asked.project.as_deref();
        Ok(Window { from, to, project })
    }
}

fn key_of(cursor: &str) -> Option<String> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

fn place_of(cursor: &str) -> Option<(Timestamp, OrderId)> {
    let (micros, order) = cursor.split_once('.')?;
    Some((Timestamp::from_micros(micros.parse().ok()?), order.parse().ok()?))
}
