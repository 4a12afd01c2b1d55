//! Reports of what a week cost: a document that anybody can add up, its rendering for people, and the controller's signed word on both.
//!
//! A report is what the ledger said at one moment. The same ledger makes the same bytes: nothing in it, or in what is signed, says when or by whom it was
//! made. Orders whose cost became known later make another report of the same week, beside the first.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::key::SigningKey;
use crate::statement::{self, Predicate, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustPolicy};

/// Longest document or rendering, bytes.
pub const REPORT_BYTES_MAX: usize = 8 << 20;
/// Version of the document's form.
pub const FORMAT_VERSION: u32 = 1;

/// A week of the calendar (ISO 8601), UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Week {
    /// Its name, such as `2026-W47`.
    pub name: String,
    /// Its Monday.
    pub from: Timestamp,
    /// The Monday after.
    pub to: Timestamp,
}

impl Week {
    /// The last week that had ended at an instant; none beyond the calendar.
    pub fn ended_by(at: Timestamp) -> Option<Self> {
        // 1 January 1970 was a Thursday.
        let day = at.as_secs().div_euclid(DAY_SECONDS);
        let monday = day - (day + 3).rem_euclid(7);
        Self::of_monday(monday - 7)
    }

    /// The week of a name.
    pub fn named(name: &str) -> Option<Self> {
        let (year, week) = name.split_once("-W")?;
        let date = jiff::civil::ISOWeekDate::new(
            year.parse().ok()?,
            week.parse().ok()?,
            jiff::civil::Weekday::Monday,
        );
        let midnight = date.ok()?.date().to_datetime(jiff::civil::Time::midnight());
        let midnight = jiff::tz::Offset::UTC.to_timestamp(midnight).ok()?;
        let week = Self::of_monday(midnight.as_second().div_euclid(DAY_SECONDS))?;
        (week.name == name).then_some(week)
    }

    fn of_monday(day: i64) -> Option<Self> {
        let instant = |day: i64| Timestamp::from_millis(day.saturating_mul(DAY_SECONDS * 1_000));
        let monday = jiff::Timestamp::from_second(day.checked_mul(DAY_SECONDS)?).ok()?;
        let date = jiff::tz::Offset::UTC.to_datetime(monday).date().iso_week_date();
        Some(Self {
            name: format!("{:04}-W{:02}", date.year(), date.week()),
            from: instant(day),
            to: instant(day + 7),
        })
    }
}

const DAY_SECONDS: i64 = 86_400;

/// Sums over orders, micro-units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostSums {
    /// How many orders.
    pub orders: u64,
    /// Of how many of them nobody knows all that they cost.
    pub unknown_orders: u64,
    /// What they cost, as far as it is known.
    pub cost_micros: u64,
    /// What is counted beyond that, because it may have been spent.
    pub unknown_micros: u64,
    /// Promised to orders that had not ended.
    pub open_micros: u64,
    /// The part of `unknown_micros` of which agents may still speak.
    pub disputed_micros: u64,
    /// The part of `cost_micros` that no grant covered.
    pub overrun_micros: u64,
}

impl CostSums {
    /// What budgets count as gone.
    pub const fn counted_micros(&self) -> u64 {
        self.cost_micros.saturating_add(self.unknown_micros)
    }

    const fn fields(&self) -> [u64; 7] {
        [
            self.orders,
            self.unknown_orders,
            self.cost_micros,
            self.unknown_micros,
            self.open_micros,
            self.disputed_micros,
            self.overrun_micros,
        ]
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostLine {
    /// A project's name, or a kind of run.
    pub key: String,
    /// Its sums.
    pub sums: CostSums,
}

/// What the orders of a week cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostReport {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The tenant.
    pub tenant: String,
    /// The week of the calendar (ISO 8601), such as `2026-W47`.
    pub week: String,
    /// Orders made at or after count: its Monday, UTC.
    pub from: Timestamp,
    /// Orders made before count: the Monday after.
    pub to: Timestamp,
    /// In which currency.
    pub currency: String,
    /// Versions of the rate cards that priced it.
    pub rate_cards: Vec<u32>,
    /// Everything together.
    pub total: CostSums,
    /// By project, in the order of names.
    pub projects: Vec<CostLine>,
    /// By kind of run, in the order of names.
    pub kinds: Vec<CostLine>,
}

/// The controller's word on a report: the subjects are the document and its rendering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostReportWord {
    /// The tenant.
    pub tenant: String,
    /// The week.
    pub week: String,
    /// In which currency.
    pub currency: String,
    /// Everything together.
    pub total: CostSums,
}

impl Predicate for CostReportWord {
    const TYPE: &'static str = "https://writ.dev/cost-report/v1";
    const ROLE: Role = Role::Evidence;
}

/// A report as it is kept and handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReport {
    /// The document: JSON.
    pub document: Vec<u8>,
    /// Its rendering: Markdown.
    pub rendering: Vec<u8>,
    /// The envelope with the controller's word.
    pub envelope: Vec<u8>,
}

/// Why a report is not believed, or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The statement cannot be made.
    #[error("the report cannot be signed")]
    Statement(#[from] StatementError),
    /// The statement is not by who may sign it.
    #[error("the report's signature is refused")]
    Trust(#[from] crate::trust::TrustError),
    /// The document cannot be read or written.
    #[error("the report's document is not readable")]
    Codec(#[from] codec::CodecError),
    /// The envelope cannot be written.
    #[error("the report's envelope cannot be written")]
    Envelope(#[from] crate::envelope::EnvelopeError),
    /// Something in it is not what was signed, or does not add up.
    #[error("the report does not hold: {0}")]
    Wrong(&'static str),
}

impl CostReport {
    /// Name of the document and of its rendering, without their endings: `COST_REPORT_2026W47`.
    pub fn name(&self) -> String {
        format!("COST_REPORT_{}", self.week.replace('-', ""))
    }

    /// Whether the lines add up to the total, both by project and by kind of run.
    pub fn adds_up(&self) -> bool {
        let sums_to_total = |lines: &[CostLine]| {
            let mut all = [Some(0_u64); 7];
            for line in lines {
                for (sum, value) in all.iter_mut().zip(line.sums.fields()) {
                    *sum = sum.and_then(|sum| sum.checked_add(value));
                }
            }
            all == self.total.fields().map(Some)
        };
        sums_to_total(&self.projects) && sums_to_total(&self.kinds)
    }

    /// The document, rendered and signed.
    ///
    /// # Errors
    /// [`ReportError::Wrong`] when it does not add up.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedReport, ReportError> {
        if !self.adds_up() {
            return Err(ReportError::Wrong("its lines are not its total"));
        }
        let document = codec::to_json("cost report", self)?;
        let rendering = self.rendering().into_bytes();
        if document.len().max(rendering.len()) > REPORT_BYTES_MAX {
            return Err(ReportError::Wrong("it is larger than a report may be"));
        }
        let name = self.name();
        let subject = vec![
            Subject::new(format!("{name}.json"), &Digest::of(&document)),
            Subject::new(format!("{name}.md"), &Digest::of(&rendering)),
        ];
        let envelope = statement::sign(subject, self.word(), &[key])?.to_json()?;
        Ok(SignedReport {
            document,
            rendering,
            envelope,
        })
    }

    fn word(&self) -> CostReportWord {
        CostReportWord {
            tenant: self.tenant.clone(),
            week: self.week.clone(),
            currency: self.currency.clone(),
            total: self.total.clone(),
        }
    }

    /// The report for people. It follows from the document alone.
    pub fn rendering(&self) -> String {
        let cards: Vec<String> = self
            .rate_cards
            .iter()
            .map(|version| format!("v{version}"))
            .collect();
        let mut lines = vec![
            format!("# {}", self.name()),
            String::new(),
            format!(
                "Tenant {}, orders made from {} to before {}, in {}, rate cards: {}.",
                cell(&self.tenant),
                self.from,
                self.to,
                cell(&self.currency),
                if cards.is_empty() {
                    "none".to_owned()
                } else {
                    cards.join(", ")
                },
            ),
            String::new(),
        ];
        for (title, of) in [("project", &self.projects), ("kind of run", &self.kinds)] {
            lines.push(format!("| {title} {HEAD}"));
            lines.push(RULE.to_owned());
            lines.extend(of.iter().map(|line| row(&cell(&line.key), &line.sums)));
            lines.push(row("**total**", &self.total));
            lines.push(String::new());
        }
        let unknown = self.total.unknown_orders;
        lines.push(format!(
            "Orders of which nobody knows all that they cost: {unknown}.\n"
        ));
        lines.join("\n")
    }
}

/// The rest of a table's head, and the line below it.
const HEAD: &str = "| orders | cost | unknown | counted | open | disputed | overrun |";
const RULE: &str = "|---|--:|--:|--:|--:|--:|--:|--:|";

fn row(key: &str, sums: &CostSums) -> String {
    let money = [
        sums.cost_micros,
        sums.unknown_micros,
        sums.counted_micros(),
        sums.open_micros,
        sums.disputed_micros,
        sums.overrun_micros,
    ]
    .map(|micros| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    format!("| {key} | {} | {} |", sums.orders, money.join(" | "))
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    let plain = |c: char| {
        if c == '|' || c == '`' || c.is_control() {
            '_'
        } else {
            c
        }
    };
    text.chars().map(plain).collect()
}

/// Reads a report that the tenant's controller signed: its parts are those that were signed, and it adds up.
///
/// # Errors
/// [`ReportError`].
pub fn open(report: &SignedReport, keyring: &Keyring, at: Timestamp) -> Result<CostReport, ReportError> {
    let word = keyring.open::<CostReportWord>(&report.envelope, at)?;
    let read: CostReport = codec::from_json("cost report", &report.document, REPORT_BYTES_MAX)?;
    let name = read.name();
    let parts = [("json", &report.document), ("md", &report.rendering)];
    let wanted: Vec<Subject> = parts
        .iter()
        .map(|(ending, bytes)| Subject::new(format!("{name}.{ending}"), &Digest::of(bytes)))
        .collect();
    if word.subject != wanted {
        return Err(ReportError::Wrong("its bytes are not those that were signed"));
    }
    if word.predicate != read.word() || read.tenant != keyring.tenant() {
        return Err(ReportError::Wrong(
            "its document is not what the signed word says",
        ));
    }
    if !read.adds_up() {
        return Err(ReportError::Wrong("its lines are not its total"));
    }
    if read.rendering().into_bytes() != report.rendering {
        return Err(ReportError::Wrong("its rendering is not that of its document"));
    }
    Ok(read)
}

/// Verifies a report with nothing but its parts and a pinned root: no network, no clock.
///
/// It was signed after its week was over, and under a policy that was in force: the later of both is the moment at which keys must hold their role.
///
/// # Errors
/// [`ReportError`].
pub fn verify(
    report: &SignedReport,
    (root, policy): (&[u8], &[u8]),
    pinned: &Digest,
) -> Result<CostReport, ReportError> {
    let claimed: CostReport = codec::from_json("cost report", &report.document, REPORT_BYTES_MAX)?;
    let issued = statement::peek::<TrustPolicy>(&Envelope::parse(policy)?)?;
    let at = claimed.to.max(issued.predicate.issued_at);
    let keyring = Keyring::from_pinned(root, pinned, policy, at)?;
    open(report, &keyring, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CostReport {
        let sums = |n: u64| CostSums {
            orders: n,
            unknown_orders: n / 2,
            cost_micros: n * 1_500_001,
            unknown_micros: n,
            open_micros: 2 * n,
            disputed_micros: n / 2,
            overrun_micros: 7,
        };
        let line = |key: &str, n| CostLine {
            key: key.to_owned(),
            sums: sums(n),
        };
        let mut total = sums(6);
        total.overrun_micros = 14;
        let week = Week::named("2026-W47").expect("a week");
        CostReport {
            format_version: FORMAT_VERSION,
            tenant: "acme".to_owned(),
            week: week.name,
            from: week.from,
            to: week.to,
            currency: "USD".to_owned(),
            rate_cards: vec![1, 2],
            total,
            projects: vec![line("db", 2), line("web", 4)],
            kinds: vec![line("apply", 4), line("check", 2)],
        }
    }

    #[test]
    fn weeks_are_those_of_the_calendar() {
        for (at, name, from) in [
            ("2026-11-22T03:00:00Z", "2026-W46", "2026-11-09T00:00:00Z"),
            ("2026-11-23T00:00:00Z", "2026-W47", "2026-11-16T00:00:00Z"),
            ("2026-11-22T23:59:59Z", "2026-W46", "2026-11-09T00:00:00Z"),
            ("2021-01-05T00:00:00Z", "2020-W53", "2020-12-28T00:00:00Z"),
            ("2026-01-06T00:00:00Z", "2026-W01", "2025-12-29T00:00:00Z"),
        ] {
            let week = Week::ended_by(Timestamp::parse(at).expect("an instant")).expect("a week");
            assert_eq!(
                (week.name.as_str(), week.from.to_string().as_str()),
                (name, from),
                "{at}"
            );
            assert_eq!(Week::named(name), Some(week));
        }
        for wrong in [
            "2026-W54",
            "2026-W1",
            "2026W47",
            "2025-W53",
            "",
            "2026-W-1",
            "+2026-W01",
        ] {
            assert_eq!(Week::named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_same_sums_make_the_same_bytes_and_what_does_not_add_up_is_not_signed() {
        let key = SigningKey::from_seed(&[5; 32]);
        let (one, two) = (
            report().sign(&key).expect("signs"),
            report().sign(&key).expect("signs"),
        );
        assert_eq!(one, two);
        let text = String::from_utf8(one.rendering).expect("text");
        assert!(text.starts_with("# COST_REPORT_2026W47\n"), "{text}");
        assert!(
            text.contains("| web | 4 | 6.000004 | 0.000004 | 6.000008 | 0.000008 | 0.000002 | 0.000007 |\n"),
            "{text}"
        );
        for spoil in [
            |r: &mut CostReport| r.total.cost_micros += 1,
            |r: &mut CostReport| r.projects[0].sums.orders += 1,
            |r: &mut CostReport| r.kinds.clear(),
            |r: &mut CostReport| r.projects[1].sums.cost_micros = u64::MAX,
        ] {
            let mut spoiled = report();
            spoil(&mut spoiled);
            assert!(matches!(spoiled.sign(&key), Err(ReportError::Wrong(_))));
        }
    }
}
