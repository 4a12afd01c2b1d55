//! Budgets, their accounts, and the grants that orders carry.
//!
//! Rows are locked widest first: budgets, then accounts, each tenant, project, run. Every transaction takes them last, after whatever else it
//! locks, and holds them for a moment.

mod grant;

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::budget::{Account, Level, Mode, Span};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

pub use grant::{ALL as GRANT_STATEMENTS, GrantRow, NewGrants, create_grants, save_grants, unsettled};

statements! {
    SET = "-- budget.set
        INSERT INTO budget (level, name, mode, cap_micros, currency, span, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (level, name) DO UPDATE SET mode = $3, cap_micros = $4, currency = $5, span = $6, set_by = $7, set_at = $8";
    LOCK = "-- budget.lock
        SELECT b.* FROM budget b JOIN unnest($1::text[], $2::text[]) u(level, name) USING (level, name)
        ORDER BY array_position(ARRAY['tenant', 'project'], b.level), b.name FOR NO KEY UPDATE OF b";
    PAGE = "-- budget.page
        SELECT * FROM budget WHERE (array_position(ARRAY['tenant', 'project'], level), name) > (array_position(ARRAY['tenant', 'project'], $1), $2)
        ORDER BY array_position(ARRAY['tenant', 'project'], level), name LIMIT $3";
    READ = "-- budget.read
        SELECT * FROM budget WHERE level = $1 AND name = $2";
    FIND = "-- budget.find_accounts
        SELECT a.* FROM budget_account a JOIN unnest($1::text[], $2::text[], $3::timestamptz[]) u(level, name, began_at) USING (level, name, began_at)";
    OPEN = "-- budget.open_accounts
        INSERT INTO budget_account (level, name, began_at, mode, cap_micros)
        SELECT level, name, began_at, mode, cap_micros
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[]) u(level, name, began_at, mode, cap_micros)
        ON CONFLICT (level, name, began_at) DO NOTHING";
    LOCK_NAMED = "-- budget.lock_named_accounts
        SELECT a.* FROM budget_account a JOIN unnest($1::text[], $2::text[], $3::timestamptz[]) u(level, name, began_at) USING (level, name, began_at)
        ORDER BY array_position(ARRAY['tenant', 'project', 'run'], a.level), a.account_id FOR NO KEY UPDATE OF a";
    LOCK_ACCOUNTS = "-- budget.lock_accounts
        SELECT * FROM budget_account WHERE account_id = ANY($1)
        ORDER BY array_position(ARRAY['tenant', 'project', 'run'], level), account_id FOR NO KEY UPDATE";
    SAVE = "-- budget.save_accounts
        UPDATE budget_account a SET mode = u.mode, cap_micros = u.cap, reserved_micros = u.reserved, spent_micros = u.spent,
               disputed_micros = u.disputed, overrun_micros = u.overrun, noticed = u.noticed
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::int[])
             u(account_id, mode, cap, reserved, spent, disputed, overrun, noticed)
        WHERE a.account_id = u.account_id";
    REFUSED = "-- budget.count_refusal
        UPDATE budget_account SET refused = refused + 1 WHERE level = $1 AND name = $2 AND began_at = $3";
    TOTALS = "-- budget.totals
        SELECT a.level, LEAST(sum(a.reserved_micros), 9223372036854775807)::bigint AS reserved,
               LEAST(sum(a.spent_micros::numeric + a.overrun_micros), 9223372036854775807)::bigint AS spent,
               LEAST(sum(a.disputed_micros), 9223372036854775807)::bigint AS disputed, sum(a.refused)::bigint AS refused
        FROM budget b JOIN budget_account a ON (a.level, a.name) = (b.level, b.name)
             AND a.began_at = CASE b.span WHEN 'day' THEN $1::timestamptz WHEN 'month' THEN $2::timestamptz ELSE $3::timestamptz END
        GROUP BY a.level";
}

/// A budget as somebody set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose it is: a tenant's or a project's.
    pub level: Level,
    /// The tenant's or project's name.
    pub name: String,
    /// What becomes of an order that does not fit.
    pub mode: Mode,
    /// The cap, micro-units.
    pub cap_micros: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// Over which window the cap holds.
    pub span: Span,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
}

/// Names one account: one budget over one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName {
    /// Whose it is.
    pub level: Level,
    /// The tenant's, project's or run's name.
    pub name: String,
    /// When its window began.
    pub began_at: Timestamp,
}

/// An account's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Its number.
    pub account_id: i64,
    /// Its name.
    pub name: AccountName,
    /// What is taken of it.
    pub account: Account,
    /// How many runs it refused.
    pub refused: u64,
}

/// Sums over the accounts of all budgets of one level, in the windows that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Whose they are.
    pub level: Level,
    /// Promised to orders that have not ended, micro-units.
    pub reserved_micros: u64,
    /// Spent, within grants and beyond.
    pub spent_micros: u64,
    /// Promised to orders of which no word came.
    pub disputed_micros: u64,
    /// Runs refused.
    pub refused: u64,
}

/// Sets a budget.
///
/// # Errors
/// [`Error`].
pub async fn set(tx: &mut Tx, budget: &Budget) -> Result<(), Error> {
    let query = query(SET)
        .bind(budget.level.name())
        .bind(text(&budget.name))
        .bind(budget.mode.name())
        .bind(row::signed(budget.cap_micros))
        .bind(&budget.currency)
        .bind(budget.span.name())
        .bind(text(&budget.set_by))
        .bind(Instant(budget.set_at));
    tx.run(query).await.map(|_| ())
}

/// Budgets by level and name, locked widest first until the transaction ends; those that nobody set are missing.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, names: &[(Level, &str)]) -> Result<Vec<Budget>, Error> {
    let levels: Vec<&str> = names.iter().map(|(level, _)| level.name()).collect();
    let names: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
    let rows = tx.rows(query(LOCK).bind(levels).bind(names)).await?;
    rows.iter().map(read_budget).collect()
}

/// A budget by level and name.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, level: Level, name: &str) -> Result<Option<Budget>, Error> {
    let found = tx.row(query(READ).bind(level.name()).bind(text(name))).await?;
    found.as_ref().map(read_budget).transpose()
}

/// Budgets after a place, the tenant's first, then projects by name. All come after the empty name of the tenant level.
///
/// # Errors
/// [`Error`].
pub async fn page(tx: &mut Tx, after: (Level, &str), limit: u32) -> Result<Vec<Budget>, Error> {
    let query = query(PAGE)
        .bind(after.0.name())
        .bind(text(after.1))
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_budget).collect()
}

/// Accounts as they stand; those of which nothing was ever reserved are missing.
///
/// # Errors
/// [`Error`].
pub async fn find_accounts(tx: &mut Tx, names: &[AccountName]) -> Result<Vec<AccountRow>, Error> {
    let (levels, texts, began) = columns(names);
    let rows = tx.rows(query(FIND).bind(levels).bind(texts).bind(began)).await?;
    rows.iter().map(read_account).collect()
}

/// Accounts, made where they are missing, and locked widest first until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn open_accounts(
    tx: &mut Tx,
    wanted: &[(AccountName, Mode, u64)],
) -> Result<Vec<AccountRow>, Error> {
    let names: Vec<AccountName> = wanted.iter().map(|(name, ..)| name.clone()).collect();
    // Looked at first, so that the usual case writes nothing. Made in the order in which they are locked.
    if find_accounts(tx, &names).await?.len() < names.len() {
        let (levels, texts, began) = columns(&names);
        let modes: Vec<&str> = wanted.iter().map(|(_, mode, _)| mode.name()).collect();
        let caps: Vec<i64> = wanted.iter().map(|(.., cap)| row::signed(*cap)).collect();
        let open = query(OPEN).bind(levels).bind(texts).bind(began);
        tx.run(open.bind(modes).bind(caps)).await?;
    }
    let (levels, texts, began) = columns(&names);
    let locked = query(LOCK_NAMED).bind(levels).bind(texts).bind(began);
    tx.rows(locked).await?.iter().map(read_account).collect()
}

/// Accounts by number, locked widest first until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn lock_accounts(tx: &mut Tx, ids: &[i64]) -> Result<Vec<AccountRow>, Error> {
    let rows = tx.rows(query(LOCK_ACCOUNTS).bind(ids)).await?;
    rows.iter().map(read_account).collect()
}

/// Writes accounts that are locked.
///
/// # Errors
/// [`Error`]: among them, that a cap would be passed.
pub async fn save_accounts(tx: &mut Tx, rows: &[AccountRow]) -> Result<(), Error> {
    fn column<T>(rows: &[AccountRow], of: impl Fn(&Account) -> T) -> Vec<T> {
        rows.iter().map(|r| of(&r.account)).collect()
    }
    if rows.is_empty() {
        return Ok(());
    }
    let query = query(SAVE)
        .bind(rows.iter().map(|r| r.account_id).collect::<Vec<_>>())
        .bind(column(rows, |a| a.mode.name()))
        .bind(column(rows, |a| row::signed(a.cap_micros)))
        .bind(column(rows, |a| row::signed(a.reserved_micros)))
        .bind(column(rows, |a| row::signed(a.spent_micros)))
        .bind(column(rows, |a| row::signed(a.disputed_micros)))
        .bind(column(rows, |a| row::signed(a.overrun_micros)))
        .bind(column(rows, |a| i32::from(a.noticed)));
    tx.run(query).await.map(|_| ())
}

/// Counts a run that an account refused.
///
/// # Errors
/// [`Error`].
pub async fn count_refusal(tx: &mut Tx, name: &AccountName) -> Result<(), Error> {
    let query = query(REFUSED)
        .bind(name.level.name())
        .bind(text(&name.name))
        .bind(Instant(name.began_at));
    tx.run(query).await.map(|_| ())
}

/// Sums over all budgets, by level, in the windows that `now` lies in.
///
/// # Errors
/// [`Error`].
pub async fn totals(tx: &mut Tx, now: Timestamp) -> Result<Vec<Totals>, Error> {
    let query = query(TOTALS)
        .bind(Instant(Span::Day.began(now)))
        .bind(Instant(Span::Month.began(now)))
        .bind(Instant(Span::Always.began(now)));
    let rows = tx.rows(query).await?;
    let read = |r: &PgRow| {
        Ok(Totals {
            level: level(r)?,
            reserved_micros: row::count(r, "reserved")?,
            spent_micros: row::count(r, "spent")?,
            disputed_micros: row::count(r, "disputed")?,
            refused: row::count(r, "refused")?,
        })
    };
    rows.iter().map(read).collect()
}

fn columns(names: &[AccountName]) -> (Vec<&'static str>, Vec<&str>, Vec<Instant>) {
    (
        names.iter().map(|n| n.level.name()).collect(),
        names.iter().map(|n| n.name.as_str()).collect(),
        names.iter().map(|n| Instant(n.began_at)).collect(),
    )
}

fn level(r: &PgRow) -> Result<Level, Error> {
    let name: String = row::get(r, "level")?;
    Level::of(&name).ok_or(Error::Inconsistent { what: "budget.level" })
}

fn mode(r: &PgRow) -> Result<Mode, Error> {
    let name: String = row::get(r, "mode")?;
    Mode::of(&name).ok_or(Error::Inconsistent { what: "budget.mode" })
}

fn read_budget(r: &PgRow) -> Result<Budget, Error> {
    let span: String = row::get(r, "span")?;
    Ok(Budget {
        level: level(r)?,
        name: row::get(r, "name")?,
        mode: mode(r)?,
        cap_micros: row::count(r, "cap_micros")?,
        currency: row::get(r, "currency")?,
        span: Span::of(&span).ok_or(Error::Inconsistent { what: "budget.span" })?,
        set_by: row::get(r, "set_by")?,
        set_at: row::time(r, "set_at")?,
    })
}

fn read_account(r: &PgRow) -> Result<AccountRow, Error> {
    let noticed = row::small(r, "noticed")?;
    Ok(AccountRow {
        account_id: row::get(r, "account_id")?,
        name: AccountName {
            level: level(r)?,
            name: row::get(r, "name")?,
            began_at: row::time(r, "began_at")?,
        },
        account: Account {
            mode: mode(r)?,
            cap_micros: row::count(r, "cap_micros")?,
            reserved_micros: row::count(r, "reserved_micros")?,
            spent_micros: row::count(r, "spent_micros")?,
            disputed_micros: row::count(r, "disputed_micros")?,
            overrun_micros: row::count(r, "overrun_micros")?,
            noticed: u8::try_from(noticed).map_err(|_| Error::Inconsistent {
                what: "budget_account.noticed",
            })?,
        },
        refused: row::count(r, "refused")?,
    })
}
