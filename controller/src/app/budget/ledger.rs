//! Money reserved in the transaction that orders a run, and settled once its orders have ended.

use std::collections::BTreeMap;

use serde_json::json;
use writ_domain::budget::{Account, GrantState, Level, Mode, Refusal, Span, apply, event_of, reserve_all};
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::incident::OrderRef;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::budget::{self, AccountName, AccountRow, GrantRow, NewGrants};
use writ_store::{Tx, audit};

use super::{Refused, account_of, money, run_account, scope_of};
use crate::app::incident::{self, Finding};
use crate::app::{App, Error};

/// Most grants settled in one pass; the next pass takes the rest. Each is held against all steps of its order, and the runs of a pass wait for it.
const SETTLE_MAX: u32 = 1_000;

/// What a run asks of its budgets.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Want<'a> {
    /// The run.
    pub(in crate::app) run_id: RunId,
    /// Its project.
    pub(in crate::app) project: &'a str,
    /// What its config allows it, micro-units; none where the config names no budget.
    pub(in crate::app) run_cap: Option<u64>,
    /// What each order may spend.
    pub(in crate::app) grant_micros: u64,
    /// Its orders; they exist already.
    pub(in crate::app) orders: &'a [OrderId],
}

impl App {
    /// Reserves a run's grants of every budget that covers it, or of none. Call it after everything else that locks. Gives what the operator is
    /// to be told.
    ///
    /// # Errors
    /// [`Error`] with W0505 where an enforced budget has too little left.
    pub(in crate::app) async fn reserve(
        &self,
        tx: &mut Tx,
        want: &Want<'_>,
        act: audit::Act<'_>,
    ) -> Result<Vec<String>, Error> {
        let names = [
            (Level::Tenant, self.settings.tenant.as_str()),
            (Level::Project, want.project),
        ];
        let set = budget::lock(tx, &names).await?;
        let rates = &self.settings.rates.currency;
        if let Some(other) = set.iter().find(|one| one.currency != *rates) {
            let (scope, its) = (scope_of(other.level, &other.name), &other.currency);
            return Err(Error::conflict(format!(
                "the budget of {scope} is in {its}, the rate card in {rates}; set the budget again"
            )));
        }
        let mut wanted: Vec<(AccountName, Mode, u64)> = set
            .iter()
            .map(|one| (account_of(one, act.at), one.mode, one.cap_micros))
            .collect();
        if let Some(cap) = want.run_cap {
            let name = run_account(want.run_id, Span::Always.began(act.at));
            wanted.push((name, Mode::Enforce, cap));
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = budget::open_accounts(tx, &wanted).await?;
        let accounts: Vec<Account> = rows.iter().map(|row| row.account).collect();
        // A product that does not fit is more than any budget can count, and is refused as such.
        let total = want.grant_micros.saturating_mul(want.orders.len() as u64);
        let reserved = reserve_all(&accounts, total)
            .map_err(|(place, why)| self.refusal(want, total, (rows.get(place), why)))?;
        let mut over = Vec::new();
        for (row, reserved) in rows.iter_mut().zip(reserved) {
            row.account = reserved.next;
            if reserved.is_over && row.account.mode == Mode::Warn {
                over.push(&*row);
            }
        }
        let told = self.tell_over(tx, want, &over, act).await?;
        budget::save_accounts(tx, &rows).await?;
        let account = |level| {
            rows.iter()
                .find(|row| row.name.level == level)
                .map(|row| row.account_id)
        };
        let grants = NewGrants {
            amount_micros: want.grant_micros,
            accounts: Level::ALL.map(account),
            at: act.at,
        };
        budget::create_grants(tx, &grants, want.orders).await?;
        Ok(told)
    }

    fn refusal(&self, want: &Want<'_>, total: u64, (row, why): (Option<&AccountRow>, Refusal)) -> Error {
        let Some(row) = row else {
            return Error::new(Code::BudgetExhausted, why.to_string());
        };
        let currency = &self.settings.rates.currency;
        let scope = scope_of(row.name.level, &row.name.name);
        let left_micros = row.account.left_micros();
        let detail = match why {
            Refusal::Short { .. } => format!(
                "the budget of {scope} has {} left of {}; the run asks for {} ({} hosts, {} each): name a smaller `budget` in the config, raise the \
                 budget, or wait for open orders to end",
                money(left_micros, currency),
                money(row.account.cap_micros, currency),
                money(total, currency),
                want.orders.len(),
                money(want.grant_micros, currency),
            ),
            Refusal::Uncountable => format!(
                "what the run asks for is more than the budget of {scope} can count; name a smaller `budget` in the config"
            ),
        };
        let refused = Refused {
            scope,
            account: row.name.clone(),
            mode: row.account.mode,
            cap_micros: row.account.cap_micros,
            asked_micros: total,
            left_micros,
        };
        Error::caused(Code::BudgetExhausted, detail, refused)
    }

    /// Tells of budgets that are only warned of and that the run goes past.
    async fn tell_over(
        &self,
        tx: &mut Tx,
        want: &Want<'_>,
        over: &[&AccountRow],
        act: audit::Act<'_>,
    ) -> Result<Vec<String>, Error> {
        let currency = &self.settings.rates.currency;
        let mut told = Vec::new();
        for row in over {
            let (scope, body) = (scope_of(row.name.level, &row.name.name), as_json(row));
            audit::write(tx, act, "budget.over", &scope, body.clone()).await?;
            audit::tell(tx, act.at, "budget.over", vec![("budgets".to_owned(), body)]).await?;
            told.push(format!(
                "the budget of {scope} is passed: {} are spent or promised of {}; {} was ordered all the same, for it only warns",
                money(row.account.taken_micros(), currency),
                money(row.account.cap_micros, currency),
                want.run_id,
            ));
        }
        Ok(told)
    }
}

/// Settles the grants of these runs whose orders have ended, or were given up; whether there are more. Call it after everything else that locks.
///
/// # Errors
/// [`Error`].
pub(in crate::app) async fn settle(tx: &mut Tx, runs: &[RunId], now: Timestamp) -> Result<bool, Error> {
    if runs.is_empty() {
        return Ok(false);
    }
    let mut grants = budget::unsettled(tx, runs, SETTLE_MAX).await?;
    if grants.is_empty() {
        return Ok(false);
    }
    let is_full = grants.len() as u64 >= u64::from(SETTLE_MAX);
    let mut ids: Vec<i64> = grants.iter().flat_map(|g| g.accounts).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut rows = budget::lock_accounts(tx, &ids).await?;
    let mut notices = Vec::new();
    grants.retain_mut(|grant| follow(grant, &mut rows, &mut notices));
    budget::save_accounts(tx, &rows).await?;
    budget::save_grants(tx, &grants, now).await?;
    let act = audit::Act {
        at: now,
        actor: "controller",
    };
    for (id, threshold) in notices {
        let Some(row) = rows.iter().find(|row| row.account_id == id) else {
            continue;
        };
        let mut body = as_json(row);
        if let Some(fields) = body.as_object_mut() {
            fields.insert("threshold".to_owned(), json!(threshold));
        }
        let scope = scope_of(row.name.level, &row.name.name);
        audit::write(tx, act, "budget.notice", &scope, body.clone()).await?;
        audit::tell(tx, now, "budget.notice", vec![("budgets".to_owned(), body)]).await?;
    }
    report_disputes(tx, &grants, now).await?;
    // What cannot be followed stays reserved; where nothing can be, looking again would find the same.
    Ok(is_full && !grants.is_empty())
}

/// Money that may have been spent without a word is for people to look at.
async fn report_disputes(tx: &mut Tx, settled: &[GrantRow], now: Timestamp) -> Result<(), Error> {
    let mut disputed: BTreeMap<RunId, Vec<OrderRef>> = BTreeMap::new();
    for one in settled
        .iter()
        .filter(|one| one.grant.state == GrantState::Disputed)
    {
        disputed.entry(one.run_id).or_default().push(OrderRef {
            order_id: one.order_id,
            state: one.order_state.name().to_owned(),
            code: None,
            journal_id: None,
            seq: None,
            statement: None,
        });
    }
    let found = disputed
        .into_iter()
        .map(|(run, orders)| Finding::dispute(run, orders));
    incident::report(tx, found.collect(), now).await
}

/// Settles one grant in its accounts, or leaves it and them as they are; whether it was settled.
fn follow(grant: &mut GrantRow, rows: &mut [AccountRow], notices: &mut Vec<(i64, u8)>) -> bool {
    let Some(event) = event_of(grant.order_state, grant.cost_micros, grant.is_metered) else {
        return false;
    };
    let before = grant.grant;
    let Ok(next) = apply(&before, event) else {
        return false;
    };
    let mut followed = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        if !grant.accounts.contains(&Some(row.account_id)) {
            continue;
        }
        match row.account.follow(&before, &next.next) {
            Ok((account, notice)) => followed.push((place, account, notice)),
            Err(error) => {
                tracing::error!(order.id = %grant.order_id, account = row.account_id, %error, "a grant is left as it is");
                return false;
            }
        }
    }
    for (place, account, notice) in followed {
        if let Some(row) = rows.get_mut(place) {
            row.account = account;
            notices.extend(notice.map(|threshold| (row.account_id, threshold)));
        }
    }
    grant.grant = next.next;
    true
}

fn as_json(row: &AccountRow) -> serde_json::Value {
    let account = &row.account;
    json!({
        "id": scope_of(row.name.level, &row.name.name),
        "mode": account.mode.name(),
        "capMicros": account.cap_micros,
        "reservedMicros": account.reserved_micros,
        "spentMicros": account.spent_micros,
        "disputedMicros": account.disputed_micros,
        "overrunMicros": account.overrun_micros,
    })
}
