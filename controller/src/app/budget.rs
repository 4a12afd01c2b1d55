//! Budgets: set, shown, counted. What is reserved for a run, and what becomes of it, stands in `ledger`.

mod ledger;

use serde_json::json;
use writ_domain::budget::{Level, MICROS_MAX, Mode, Span};
use writ_domain::halt::Change;
use writ_protocol::id::RunId;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::budget::{self, AccountName, AccountRow, Budget, Totals};
use writ_store::{Tx, audit};

use super::view::BudgetView;
use super::{App, Caller, Error, OperatorRole, Page, Paged, lockdown, once};

pub(super) use ledger::{Want, settle};

/// Longest name of a project; a config's own bound.
const NAME_BYTES_MAX: usize = 128;

/// A budget to be set.
#[derive(Clone, Debug)]
pub struct NewBudget {
    /// What becomes of an order that does not fit.
    pub mode: Mode,
    /// The cap, micro-units.
    pub cap_micros: u64,
    /// ISO 4217 code; the rate card's where none is given.
    pub currency: Option<String>,
    /// Over which window the cap holds.
    pub span: Span,
}

impl App {
    /// Sets the budget of the tenant or of a project; `scope` is `tenant` or `project:NAME`.
    ///
    /// # Errors
    /// [`Error`] with W0004 where a cap would be enforced below what is taken already.
    pub async fn set_budget(
        &self,
        caller: &Caller,
        scope: &str,
        new: NewBudget,
    ) -> Result<BudgetView, Error> {
        // Who may order must not be who raises the wall.
        caller.require(OperatorRole::Admin)?;
        let (level, name) = self.scope(scope)?;
        if level == Level::Run {
            let detail =
                "a run's own budget is the `budget` of its config; set that of its project or of the tenant";
            return Err(Error::malformed(detail));
        }
        let now = self.now();
        let set = Budget {
            level,
            name,
            mode: new.mode,
            cap_micros: new.cap_micros,
            currency: self.currency_of(new.currency)?,
            span: new.span,
            set_by: caller.name.clone(),
            set_at: now,
        };
        if set.cap_micros > MICROS_MAX {
            return Err(Error::malformed(format!(
                "a cap is at most {MICROS_MAX} micro-units"
            )));
        }
        let mut tx = self.store.begin("budget.set").await?;
        let change = match set.level {
            Level::Tenant => Change::Tenant,
            Level::Project | Level::Run => Change::Project(&set.name),
        };
        let leave = lockdown::ask(&mut tx, &change).await?;
        budget::set(&mut tx, &set).await?;
        // A new account is one that nothing is taken of, so its cap holds whatever it is.
        let wanted = [(account_of(&set, now), set.mode, set.cap_micros)];
        let mut rows = budget::open_accounts(&mut tx, &wanted).await?;
        for row in &mut rows {
            row.account = row.account.adjust(set.mode, set.cap_micros).map_err(|below| {
                let held = money(below.held_micros, &set.currency);
                Error::conflict(format!(
                    "{held} of the budget of {scope} are spent, reserved or disputed already; a cap that is enforced cannot be less"
                ))
            })?;
        }
        budget::save_accounts(&mut tx, &rows).await?;
        let view = BudgetView::new(scope, &set, set.span.began(now), rows.first());
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        let body = json!({ "id": scope, "mode": set.mode.name(), "capMicros": set.cap_micros, "window": set.span.name() });
        audit::write(&mut tx, act, "budget.set", scope, body.clone()).await?;
        audit::tell(&mut tx, now, "budget.set", vec![("budgets".to_owned(), body)]).await?;
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Budgets, the tenant's first, then projects by name, with what is taken of them in the windows that are open.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn list_budgets(&self, page: &Page) -> Result<Paged<BudgetView>, Error> {
        let after = match page.cursor.as_deref() {
            None => (Level::Tenant, String::new()),
            Some(cursor) => self.scope(cursor).map_err(|_| Error::foreign_cursor())?,
        };
        let now = self.now();
        let mut tx = self.store.begin("budget.list").await?;
        let set = budget::page(&mut tx, (after.0, &after.1), page.limit()).await?;
        let names: Vec<AccountName> = set.iter().map(|one| account_of(one, now)).collect();
        let rows = budget::find_accounts(&mut tx, &names).await?;
        let view = |(one, name): (&Budget, &AccountName)| {
            let row = rows.iter().find(|row| row.name == *name);
            BudgetView::new(&scope_of(one.level, &one.name), one, name.began_at, row)
        };
        let views = set.iter().zip(&names).map(view).collect();
        Ok(Paged::of(views, page.limit(), |b: &BudgetView| b.id.clone()))
    }

    /// One budget: of the tenant, of a project, or the one that a run's config names (`run:ID`).
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_budget(&self, scope: &str) -> Result<BudgetView, Error> {
        let (level, name) = self.scope(scope)?;
        let now = self.now();
        let mut tx = self.store.begin("budget.get").await?;
        let missing = || Error::not_found("budget", scope);
        if level == Level::Run {
            return self
                .budget_of_run(&mut tx, scope, name)
                .await?
                .ok_or_else(missing);
        }
        let set = budget::read(&mut tx, level, &name).await?.ok_or_else(missing)?;
        let account = account_of(&set, now);
        let rows = budget::find_accounts(&mut tx, std::slice::from_ref(&account)).await?;
        Ok(BudgetView::new(scope, &set, account.began_at, rows.first()))
    }

    async fn budget_of_run(
        &self,
        tx: &mut Tx,
        scope: &str,
        name: String,
    ) -> Result<Option<BudgetView>, Error> {
        let id: RunId = name.parse().map_err(|_| Error::not_found("run", &name))?;
        let Some(run) = writ_store::run::read(tx, id).await? else {
            return Ok(None);
        };
        let began_at = Span::Always.began(run.created_at);
        let rows = budget::find_accounts(tx, &[run_account(id, began_at)]).await?;
        let view = |row: &AccountRow| {
            let set = Budget {
                level: Level::Run,
                name,
                mode: row.account.mode,
                cap_micros: row.account.cap_micros,
                currency: self.settings.rates.currency.clone(),
                span: Span::Always,
                set_by: run.ordered_by,
                set_at: run.created_at,
            };
            BudgetView::new(scope, &set, began_at, Some(row))
        };
        Ok(rows.first().map(view))
    }

    /// Sums over all budgets by level, for the clock that shows them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn budget_totals(&self) -> Result<Vec<Totals>, Error> {
        let mut tx = self.store.begin("budget.totals").await?;
        Ok(budget::totals(&mut tx, self.now()).await?)
    }

    /// The level and name that a scope stands for.
    fn scope(&self, text: &str) -> Result<(Level, String), Error> {
        if text == Level::Tenant.name() {
            return Ok((Level::Tenant, self.settings.tenant.clone()));
        }
        let found = text.split_once(':').and_then(|(kind, name)| {
            let level = Level::of(kind).filter(|level| *level != Level::Tenant)?;
            is_name(name).then(|| (level, name.to_owned()))
        });
        found.ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Error::malformed(format!(
                "{shown:?} has no budget: give tenant, project:NAME or run:ID"
            ))
        })
    }

    fn currency_of(&self, given: Option<String>) -> Result<String, Error> {
        let rates = &self.settings.rates.currency;
        match given {
            Some(given) if given != *rates => Err(Error::malformed(format!(
                "the budget is in {given}, the rate card in {rates}"
            ))),
            _ => Ok(rates.clone()),
        }
    }
}

/// What a config may call its project.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
        && text.len() <= NAME_BYTES_MAX
}

/// What a budget is called at the doors.
fn scope_of(level: Level, name: &str) -> String {
    match level {
        Level::Tenant => level.name().to_owned(),
        Level::Project | Level::Run => format!("{}:{name}", level.name()),
    }
}

fn account_of(budget: &Budget, now: Timestamp) -> AccountName {
    AccountName {
        level: budget.level,
        name: budget.name.clone(),
        began_at: budget.span.began(now),
    }
}

fn run_account(run: RunId, began_at: Timestamp) -> AccountName {
    AccountName {
        level: Level::Run,
        name: run.to_string(),
        began_at,
    }
}

/// An amount as people read it: at least two places, and as many as it needs.
fn money(micros: u64, currency: &str) -> String {
    let (whole, rest) = (micros / 1_000_000, format!("{:06}", micros % 1_000_000));
    let rest = rest.trim_end_matches('0');
    format!("{whole}.{rest:0<2} {currency}")
}

/// That a budget refused an order, so that it can be counted once the order's own transaction is undone.
#[derive(Debug, thiserror::Error)]
#[error("the budget of {scope} refused")]
struct Refused {
    scope: String,
    account: AccountName,
    mode: Mode,
    cap_micros: u64,
    asked_micros: u64,
    left_micros: u64,
}

impl App {
    /// Undoes an order that was refused; where a budget refused it, that is counted and told.
    pub(super) async fn undo(&self, tx: Tx, caller: &Caller, error: Error) -> Error {
        drop(tx);
        if error.code() == Code::BudgetExhausted
            && let Some(refused) = error.source_as::<Refused>()
            && let Err(failed) = self.count_refusal(caller, refused).await
        {
            tracing::warn!(error = %writ_chassis::telemetry::ErrorChain(&failed), "a refusal of a budget was not counted");
        }
        error
    }

    async fn count_refusal(&self, caller: &Caller, refused: &Refused) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store.begin("budget.refuse").await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        let body = json!({ "id": refused.scope, "askedMicros": refused.asked_micros, "leftMicros": refused.left_micros });
        audit::write(&mut tx, act, "budget.refuse", &refused.scope, body.clone()).await?;
        audit::tell(&mut tx, now, "budget.refused", vec![("budgets".to_owned(), body)]).await?;
        if refused.account.level != Level::Run {
            // The order may have been the first of its window, and its account undone with it.
            let wanted = [(refused.account.clone(), refused.mode, refused.cap_micros)];
            budget::open_accounts(&mut tx, &wanted).await?;
            budget::count_refusal(&mut tx, &refused.account).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_with_the_places_that_they_need() {
        for (micros, wanted) in [
            (0, "0.00 USD"),
            (1, "0.000001 USD"),
            (500_000, "0.50 USD"),
            (12_340_000, "12.34 USD"),
            (1_000_500, "1.0005 USD"),
        ] {
            assert_eq!(money(micros, "USD"), wanted);
        }
    }

    #[test]
    fn names_are_those_of_configs() {
        assert!(is_name("web-1.prod_x"));
        for wrong in [
            "",
            "-a",
            "a b",
            "a:b",
            "é",
            "a\0",
            &"a".repeat(NAME_BYTES_MAX + 1),
        ] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
