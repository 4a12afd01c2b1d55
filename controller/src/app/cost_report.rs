//! Signed reports of what a week cost: made from one snapshot of the ledger, kept for good, handed out with all that it takes to verify them offline,
//! and missed when they should be there and are not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use writ_domain::schedule::times;
use writ_protocol::cost_report::{self as word, CostLine, CostReport, CostSums, FORMAT_VERSION, Week};
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::cost::{self, By, Sum, Which, Window};
use writ_store::cost_report::{self, Kept};
use writ_store::{Tx, audit, schedule};

use super::incident::{self, Finding};
use super::lockdown::{Leave, Passes};
use super::view::{SignedCostReportView, StoredCostReportView};
use super::{App, Caller, Error, OperatorRole, PAGE_MAX, Page, Paged, once};

/// How long after its time a report may be on its way before it is missed.
const GRACE: Duration = Duration::from_secs(3_600);
/// How far back a missed report is looked for: what was missed before was found then.
const LOOK_BACK: Duration = Duration::from_secs(15 * 24 * 3_600);
/// Most schedules of reports that are looked at.
const SCHEDULES_MAX: u32 = 100;
/// Most times of one schedule that are looked at.
const TIMES_MAX: usize = 25_000;

impl App {
    /// Reports the last week that had ended at an instant, in a transaction with a snapshot; gives what it is called.
    pub(super) async fn report_week(
        &self,
        tx: &mut Tx,
        by: &str,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<String, Error> {
        let week = Week::ended_by(at).ok_or_else(|| Error::malformed("no week had ended by then"))?;
        let (kept, report) = self.keep_report(tx, by, &week, now).await?;
        Ok(format!("{} {}", report.name(), kept.digest))
    }

    /// Reports a week that is over. What became known since its last report makes a new one; where nothing did, it is the same.
    ///
    /// # Errors
    /// [`Error`] with W0001 where that is no week, W0004 where it is not over.
    pub async fn make_cost_report(&self, caller: &Caller, week: &str) -> Result<StoredCostReportView, Error> {
        caller.require(OperatorRole::Operator)?;
        let week = week_of(week)?;
        let now = self.now();
        if week.to > now {
            let (name, to) = (&week.name, week.to);
            return Err(Error::conflict(format!("the week {name} is over at {to}")));
        }
        let mut tx = self.store.begin_snapshot("cost_report.make").await?;
        let (kept, _) = self.keep_report(&mut tx, &caller.name, &week, now).await?;
        let view = StoredCostReportView::from(&kept);
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Signed reports, the newest first.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn list_cost_reports(&self, page: &Page) -> Result<Paged<StoredCostReportView>, Error> {
        let before = page.cursor.as_deref().map_or(Ok(u64::MAX), str::parse);
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let mut tx = self.store.begin("cost_report.list").await?;
        let kept = cost_report::page(&mut tx, before, page.limit()).await?;
        let paged = Paged::of(kept, page.limit(), |one: &Kept| one.report_id.to_string());
        Ok(Paged {
            items: paged.items.iter().map(StoredCostReportView::from).collect(),
            next: paged.next,
        })
    }

    /// A week's newest report, or the one of a digest, with the documents of trust that its signature follows from.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_cost_report(
        &self,
        week: &str,
        digest: Option<&Digest>,
    ) -> Result<SignedCostReportView, Error> {
        let week = week_of(week)?;
        let mut tx = self.store.begin("cost_report.get").await?;
        let found = cost_report::read(&mut tx, &week.name, digest).await?;
        let kept = found.ok_or_else(|| Error::not_found("report of the week", &week.name))?;
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|error| Error::internal("a stored report is no text", error))
        };
        Ok(SignedCostReportView {
            report: StoredCostReportView::from(&kept),
            document: text(&kept.document)?,
            rendering: text(&kept.rendering)?,
            envelope: text(&kept.envelope)?,
            root: text(&kept.root)?,
            policy: text(&kept.policy)?,
        })
    }

    async fn keep_report(
        &self,
        tx: &mut Tx,
        by: &str,
        week: &Week,
        now: Timestamp,
    ) -> Result<(Kept, CostReport), Error> {
        let report = self.gather_report(tx, week).await?;
        let signed = self.signer.cost_report(&report)?;
        let kept = Kept {
            report_id: 0,
            week: week.name.clone(),
            digest: Digest::of(&signed.document),
            document: signed.document,
            rendering: signed.rendering,
            envelope: signed.envelope,
            root: self.signer.root().to_vec(),
            policy: self.signer.policy().to_vec(),
            orders: report.total.orders,
            counted_micros: report.total.counted_micros(),
            made_by: by.to_owned(),
            made_at: now,
        };
        if cost_report::store(tx, &kept).await? {
            let body = json!({ "week": kept.week, "digest": kept.digest, "orders": kept.orders, "countedMicros": kept.counted_micros });
            let act = audit::Act { at: now, actor: by };
            audit::write(tx, act, "cost_report.make", &kept.week, body.clone()).await?;
            audit::tell(tx, now, "cost_report.made", vec![("costs".to_owned(), body)]).await?;
            return Ok((kept, report));
        }
        let before = cost_report::read(tx, &kept.week, Some(&kept.digest)).await?;
        Ok((before.unwrap_or(kept), report))
    }

    async fn gather_report(&self, tx: &mut Tx, week: &Week) -> Result<CostReport, Error> {
        let (total, projects) = self.week_by(tx, week, By::Project).await?;
        let (again, kinds) = self.week_by(tx, week, By::Kind).await?;
        let report = CostReport {
            format_version: FORMAT_VERSION,
            tenant: self.settings.tenant.clone(),
            week: week.name.clone(),
            from: week.from,
            to: week.to,
            currency: self.settings.rates.currency.clone(),
            rate_cards: total.rate_cards.clone(),
            total: sums(&total),
            projects,
            kinds,
        };
        if again != total || !report.adds_up() {
            return Err(Error::new(
                Code::Internal,
                "the sums of one snapshot differ from each other",
            ));
        }
        Ok(report)
    }

    async fn week_by(&self, tx: &mut Tx, week: &Week, by: By) -> Result<(Sum, Vec<CostLine>), Error> {
        let window = Window {
            from: week.from,
            to: week.to,
            project: None,
        };
        let (mut lines, mut after) = (Vec::new(), String::new());
        loop {
            let of = (by, self.settings.tenant.as_str());
            let (total, page) = cost::sums(tx, &window, of, Which::After(&after), PAGE_MAX).await?;
            let line = |sum: &Sum| CostLine {
                key: sum.key.clone(),
                sums: sums(sum),
            };
            lines.extend(page.iter().map(line));
            match page.last() {
                Some(last) if page.len() >= usize::try_from(PAGE_MAX).unwrap_or(usize::MAX) => {
                    after.clone_from(&last.key);
                }
                _ => return Ok((total, lines)),
            }
        }
    }

    /// Opens an incident for each week whose report a schedule should have made, paused or not, and that has none.
    pub(super) async fn report_missed(&self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        let mut weeks = BTreeSet::new();
        for row in schedule::reporting(tx, SCHEDULES_MAX).await? {
            let rule = super::schedule::rule_of(&row)?;
            let since = row.created_at.max(now.minus(LOOK_BACK));
            let late = now.minus(GRACE + rule.jitter);
            let came = times(&rule.cron, &rule.zone, since)
                .by(late)
                .take_while(|at| *at <= late);
            let ended = came.take(TIMES_MAX).filter_map(Week::ended_by);
            weeks.extend(ended.map(|week| (week.name, row.name.clone())));
        }
        let mut findings = Vec::new();
        let mut told = BTreeSet::new();
        for (week, name) in weeks {
            if !told.insert(week.clone()) || cost_report::read(tx, &week, None).await?.is_some() {
                continue;
            }
            let summary = format!(
                "COST_REPORT_MISSED: the schedule {name} was to report the week {week}, and there is no report; `writ schedule history {name}` \
                 says why, `writ cost sign {week}` makes it"
            );
            let finding = Finding::cost_report(&week, &summary);
            if !cost_report::is_told(tx, finding.cause()).await? {
                findings.push(finding);
            }
        }
        incident::report(tx, findings, now).await
    }
}

fn week_of(name: &str) -> Result<Week, Error> {
    let shown: String = name.chars().take(16).collect();
    Week::named(name)
        .ok_or_else(|| Error::malformed(format!("{shown:?} is no week of the calendar, such as 2026-W47")))
}

fn sums(sum: &Sum) -> CostSums {
    word::CostSums {
        orders: sum.orders,
        unknown_orders: sum.unknown_orders,
        cost_micros: sum.cost_micros,
        unknown_micros: sum.unknown_micros,
        open_micros: sum.open_micros,
        disputed_micros: sum.disputed_micros,
        overrun_micros: sum.overrun_micros,
    }
}
