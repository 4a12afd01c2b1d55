//! Reports of costs against the ledger and the budgets: whatever becomes of orders, in whichever order, all of them come to the same sums.

use std::time::Duration;

use writ_controller::app::view::{CostLine, CostReportView, CostSums};
use writ_controller::app::{CostBy, CostQuery, Page, WINDOW_MAX};
use writ_domain::budget::Mode;
use writ_protocol::envelope::Verified;
use writ_protocol::id::RunId;
use writ_protocol::manifest::{Manifest, Order};
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepOutcome};
use writ_protocol::statement::Statement;

use super::budgets::{TENANT, set};
use super::costs::{KNOWN, Records, STEP, UNKNOWN, begun, ended, over};
use super::desk::{CONFIG, Desk, START, code, operator, sources};
use super::host::Host;
use super::journal::{accepted, step};

const PROJECTS: [&str; 2] = ["db", "web"];
const DAY: Duration = Duration::from_secs(86_400);

/// Numbers that look thrown and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// More ways to an end: beyond the grant, resumed, in doubt, cheap.
const OTHERS: [Records; 4] = [
    |o| {
        let changed = ended(o, STEP, StepOutcome::Changed, 1);
        vec![begun(o), changed, over(o, OrderOutcome::Stopped, 700_007)]
    },
    |o| {
        let mut result = step(o, StepOutcome::Changed, "done");
        result.attempt = 2;
        vec![
            Record::StepResult(Box::new(result)),
            over(o, OrderOutcome::Succeeded, 41),
        ]
    },
    |o| vec![over(o, OrderOutcome::Indeterminate, 3)],
    |o| {
        vec![
            ended(o, STEP, StepOutcome::Unchanged, 0),
            over(o, OrderOutcome::Succeeded, 40),
        ]
    },
];

/// An order that its host has not ended yet, as far as the test knows.
struct Open {
    host: usize,
    order: Order,
    manifest: Verified<Statement<Manifest>>,
}

/// A desk with hosts and budgets of every level, and what goes on there.
struct Mixture {
    desk: Desk,
    hosts: Vec<Host>,
    open: Vec<Open>,
    runs: Vec<RunId>,
    dice: Dice,
}

impl Mixture {
    async fn new(seed: u64) -> Self {
        let desk = Desk::new().await;
        let mut hosts = Vec::new();
        for n in 1..=3 {
            hosts.push(Host::enrol(&desk, n).await);
        }
        set(&desk, TENANT, Mode::Observe, 1).await.unwrap();
        for project in PROJECTS {
            let scope = format!("project:{project}");
            set(&desk, &scope, Mode::Observe, 1).await.unwrap();
        }
        let (open, runs, dice) = (Vec::new(), Vec::new(), Dice(seed));
        Self {
            desk,
            hosts,
            open,
            runs,
            dice,
        }
    }

    async fn orders(&mut self) {
        let project = self.dice.of(&PROJECTS);
        let config = CONFIG.replace("project: web", &format!("project: {project}"));
        let view = self
            .desk
            .app
            .submit_check(&operator(), &sources(&config))
            .await
            .unwrap();
        let run: RunId = view.id.parse().unwrap();
        self.runs.push(run);
        for (host, one) in self.hosts.iter().enumerate() {
            let manifest = one.manifest(&self.desk).await;
            let found = manifest.predicate.orders.iter().find(|o| o.run_id == run);
            let order = found.unwrap().clone();
            self.open.push(Open {
                host,
                order,
                manifest,
            });
        }
    }

    /// One of the hosts says something of an order that it has not ended, whether the ledger still waits for it or not.
    async fn says(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let place = self.dice.below(self.open.len());
        let (takes, ends) = (self.dice.below(4) > 0, self.dice.below(4) > 0);
        let unknown = UNKNOWN.map(|(_, records)| records);
        let known = KNOWN.map(|(.., records)| records);
        let ways = [unknown, known, OTHERS].concat();
        let records = self.dice.of(&ways);
        let one = &self.open[place];
        let journal = &mut self.hosts[one.host].journal;
        let first = journal.last_seq() + 1;
        let said = records(&one.order);
        if takes && !matches!(said[0], Record::OrderRefused(_)) {
            journal.write(&accepted(&one.order, &one.manifest));
        }
        if ends {
            for record in &said {
                journal.write(record);
            }
        }
        if journal.last_seq() >= first {
            let batch = journal.batch(first, journal.last_seq());
            self.desk.takes(&[batch]).await;
        }
        if ends {
            self.open.swap_remove(place);
        }
    }

    /// Something happens.
    async fn goes_on(&mut self) {
        match self.dice.below(12) {
            0..3 => self.orders().await,
            3 => {
                self.desk.pass(4_000);
                self.desk.sweeps().await;
            }
            4 if !self.runs.is_empty() => {
                let run = self.dice.of(&self.runs);
                // One that has ended cannot be cancelled; that is an answer too.
                drop(self.desk.app.cancel_run(&operator(), run, "no need").await);
                self.desk.settles().await;
            }
            _ => self.says().await,
        }
    }

    /// Reserved, spent, overrun, disputed.
    async fn taken(&self, scope: &str) -> [u64; 4] {
        let b = self.desk.app.get_budget(scope).await.unwrap();
        [
            b.reserved_micros,
            b.spent_micros,
            b.overrun_micros,
            b.disputed_micros,
        ]
    }
}

fn all_of(project: Option<&str>) -> CostQuery {
    CostQuery {
        from: Some(START.minus(DAY)),
        to: Some(START.plus(90 * DAY)),
        project: project.map(str::to_owned),
    }
}

fn divided(total: &CostSums) -> [u64; 4] {
    [
        total.open_micros,
        total.spent_micros,
        total.overrun_micros,
        total.disputed_micros,
    ]
}

/// All lines, page by page, and the total, which every page says alike.
async fn walked(desk: &Desk, by: CostBy, asked: &CostQuery) -> (Vec<CostLine>, CostSums) {
    let (mut lines, mut cursor, mut totals) = (Vec::new(), None, Vec::new());
    loop {
        let page = Page {
            cursor,
            limit: Some(2),
        };
        let CostReportView {
            items, total, next, ..
        } = desk.app.cost_report(by, asked, &page).await.unwrap();
        lines.extend(items);
        totals.push(total);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let total = totals.pop().unwrap();
    assert!(totals.iter().all(|other| divided(other) == divided(&total)));
    (lines, total)
}

fn summed(lines: &[CostLine]) -> [u64; 4] {
    let sum = |of: fn(&CostLine) -> u64| lines.iter().map(of).sum();
    [
        sum(|l| l.cost_micros),
        sum(|l| l.unknown_micros),
        sum(|l| l.counted_micros),
        sum(|l| l.open_micros),
    ]
}

/// Everything that must come to the same sums does.
async fn reconciles(m: &Mixture) {
    let desk = &m.desk;
    let mut totals = Vec::new();
    for by in CostBy::ALL {
        let (lines, total) = walked(desk, by, &all_of(None)).await;
        let whole = [
            total.cost_micros,
            total.unknown_micros,
            total.counted_micros,
            total.open_micros,
        ];
        assert_eq!(summed(&lines), whole, "{by:?}: {lines:?}");
        assert!(
            lines.windows(2).all(|two| two[0].key < two[1].key),
            "{by:?}: {lines:?}"
        );
        totals.push((divided(&total), total.orders, total.unknown_orders));
    }
    assert!(totals.iter().all(|other| *other == totals[0]), "{totals:?}");
    assert_eq!(totals[0].0, m.taken(TENANT).await);
    for project in PROJECTS {
        let (_, total) = walked(desk, CostBy::Tenant, &all_of(Some(project))).await;
        assert_eq!(
            divided(&total),
            m.taken(&format!("project:{project}")).await,
            "{project}"
        );
    }
    let (lines, _) = walked(desk, CostBy::Run, &all_of(None)).await;
    assert_eq!(lines.len(), m.runs.len());
    for line in lines {
        let [reserved, spent, overrun, disputed] = m.taken(&format!("run:{}", line.key)).await;
        let counted = (spent + overrun + disputed, reserved);
        assert_eq!((line.counted_micros, line.open_micros), counted, "{}", line.key);
    }
    let page = Page {
        cursor: None,
        limit: Some(500),
    };
    let unknown = desk.app.unknown_costs(&all_of(None), &page).await.unwrap().items;
    assert_eq!(unknown.len() as u64, totals[0].2);
    let beyond: u64 = unknown
        .iter()
        .map(|one| one.counted_micros - one.cost_micros)
        .sum();
    let silent = unknown.iter().filter(|one| one.why == "silent");
    let disputed: u64 = silent.map(|one| one.counted_micros).sum();
    let (lines, total) = walked(desk, CostBy::Agent, &all_of(None)).await;
    assert_eq!((beyond, disputed), (total.unknown_micros, total.disputed_micros));
    let top = desk
        .app
        .cost_top(CostBy::Agent, &all_of(None), Some(2))
        .await
        .unwrap();
    let mut dearest: Vec<u64> = lines.iter().map(|l| l.counted_micros).collect();
    dearest.sort_unstable_by(|a, b| b.cmp(a));
    dearest.truncate(2);
    assert_eq!(
        top.items.iter().map(|l| l.counted_micros).collect::<Vec<_>>(),
        dearest
    );
    assert_eq!(divided(&top.total), divided(&total));
}

#[tokio::test]
async fn whatever_becomes_of_orders_reports_budgets_and_the_ledger_say_the_same() {
    for seed in [1, 20] {
        let mut mixture = Mixture::new(seed).await;
        for turn in 0..40 {
            mixture.goes_on().await;
            if turn % 8 == 7 {
                reconciles(&mixture).await;
            }
        }
        // Every word comes in the end.
        mixture.desk.pass(4_000);
        mixture.desk.sweeps().await;
        while !mixture.open.is_empty() {
            mixture.says().await;
        }
        reconciles(&mixture).await;
    }
}

#[tokio::test]
async fn lines_say_what_of_and_windows_which_orders() {
    let desk = Desk::new().await;
    let (mut one, mut two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let run = desk.check().await;
    for host in [&mut one, &mut two] {
        let manifest = host.accepts(&desk).await;
        host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    }
    let of = |by| {
        let (asked, page) = (all_of(None), Page::default());
        let desk = &desk;
        async move {
            let lines = desk.app.cost_report(by, &asked, &page).await.unwrap().items;
            let lines: Vec<_> = lines
                .into_iter()
                .map(|l| (l.key, l.orders, l.counted_micros))
                .collect();
            lines
        }
    };
    let line = |key: &str, orders, cost| (key.to_owned(), orders, cost);
    assert_eq!(of(CostBy::Tenant).await, [line("acme", 2, 80)]);
    assert_eq!(of(CostBy::Project).await, [line("web", 2, 80)]);
    assert_eq!(of(CostBy::Run).await, [line(&run.to_string(), 2, 80)]);
    assert_eq!(
        of(CostBy::Agent).await,
        [line("web-1", 1, 40), line("web-2", 1, 40)]
    );
    assert_eq!(
        of(CostBy::Provider).await,
        [line("(no step)", 2, 0), line("file", 2, 80)]
    );
    let steps = [line("web/(no step)", 2, 0), line("web/file:/etc/motd", 2, 80)];
    assert_eq!(of(CostBy::Step).await, steps);
}

#[tokio::test]
async fn a_window_has_the_orders_that_were_made_in_it() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let report = |asked: CostQuery| {
        let desk = &desk;
        async move {
            let page = Page::default();
            desk.app.cost_report(CostBy::Project, &asked, &page).await
        }
    };
    // Until now, since the month began.
    desk.pass(1);
    let found = report(CostQuery::default()).await.unwrap();
    assert_eq!((found.total.cost_micros, found.total.rate_cards), (40, vec![1]));
    assert_eq!(found.from, "2026-09-01T00:00:00Z");
    let at = |from, to| CostQuery {
        from: Some(from),
        to: Some(to),
        project: None,
    };
    let second = Duration::from_secs(1);
    for (window, orders) in [
        (at(START, START.plus(second)), 1),
        (at(START.plus(second), START.plus(DAY)), 0),
        (at(START.minus(DAY), START), 0),
        (at(START, START), 0),
    ] {
        assert_eq!(
            report(window.clone()).await.unwrap().total.orders,
            orders,
            "{window:?}"
        );
    }
    for wrong in [
        at(START.plus(second), START),
        at(START, START.plus(WINDOW_MAX + second)),
    ] {
        assert_eq!(code(report(wrong).await), Code::Malformed);
    }
    let nobodys = CostQuery {
        project: Some("nobodys".to_owned()),
        ..all_of(None)
    };
    assert_eq!(report(nobodys).await.unwrap().items.len(), 0);
    for cursor in ["odd!", "1", "1.x"] {
        let page = Page {
            cursor: Some(cursor.to_owned()),
            limit: None,
        };
        assert_eq!(
            code(desk.app.unknown_costs(&all_of(None), &page).await),
            Code::Malformed
        );
    }
    let odd = Page {
        cursor: Some("odd!".to_owned()),
        limit: None,
    };
    assert_eq!(
        code(desk.app.cost_report(CostBy::Run, &all_of(None), &odd).await),
        Code::Malformed
    );
}
