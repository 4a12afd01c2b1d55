//! A schedule's rule as somebody writes it, and as the rulebook reads it.

use std::time::Duration;

use serde_json::Value;
use writ_domain::schedule::{
    BACKLOG_MAX, CatchUp, Cron, Freeze, JITTER_MAX, Overlap, Rule, WINDOW_MAX, WINDOWS_MAX, Window, Zone,
};
use writ_protocol::time::Timestamp;

use crate::app::Error;
use crate::app::view::{FreezeRule, ScheduleRule, WindowRule};

/// What the ledger keeps.
pub(super) fn write(rule: &ScheduleRule) -> Result<Value, Error> {
    serde_json::to_value(rule).map_err(|error| Error::internal("a schedule cannot be written", error))
}

/// What the ledger keeps, read again.
pub(super) fn stored(rule: &Value) -> Result<ScheduleRule, Error> {
    serde_json::from_value(rule.clone())
        .map_err(|error| Error::internal("a stored schedule cannot be read", error))
}

/// The rule that somebody wrote.
pub(super) fn read(rule: &ScheduleRule) -> Result<Rule, Error> {
    let jitter = Duration::from_secs(rule.jitter_seconds);
    if jitter > JITTER_MAX {
        return Err(Error::malformed(format!(
            "a jitter is at most {} seconds",
            JITTER_MAX.as_secs()
        )));
    }
    if rule.windows.len() > WINDOWS_MAX || rule.freezes.len() > WINDOWS_MAX {
        return Err(Error::malformed(format!(
            "a schedule has at most {WINDOWS_MAX} windows and as many freezes"
        )));
    }
    Ok(Rule {
        cron: cron(&rule.cron)?,
        zone: Zone::named(&rule.zone).map_err(|error| Error::malformed(error.to_string()))?,
        jitter,
        catch_up: catch_up(rule)?,
        overlap: Overlap::of(&rule.overlap)
            .ok_or_else(|| Error::malformed("an overlap is skip, queue or cancel"))?,
        windows: rule.windows.iter().map(window).collect::<Result<_, _>>()?,
        freezes: rule.freezes.iter().map(freeze).collect::<Result<_, _>>()?,
    })
}

fn cron(text: &str) -> Result<Cron, Error> {
    Cron::parse(text).map_err(|error| Error::malformed(error.to_string()))
}

fn catch_up(rule: &ScheduleRule) -> Result<CatchUp, Error> {
    match (rule.catch_up.as_str(), rule.catch_up_max) {
        ("none", None) => Ok(CatchUp::None),
        ("latest", None) => Ok(CatchUp::Latest),
        ("all", Some(count)) if (1..=BACKLOG_MAX).contains(&count) => Ok(CatchUp::All(count)),
        _ => Err(Error::malformed(format!(
            "a catch-up is none, latest, or all with `catchUpMax` of 1 to {BACKLOG_MAX}"
        ))),
    }
}

fn window(rule: &WindowRule) -> Result<Window, Error> {
    let length = Duration::from_secs(u64::from(rule.minutes).saturating_mul(60));
    if length.is_zero() || length > WINDOW_MAX {
        let most = WINDOW_MAX.as_secs() / 60;
        return Err(Error::malformed(format!("a window is 1 to {most} minutes long")));
    }
    Ok(Window {
        opens: cron(&rule.opens)?,
        length,
    })
}

fn freeze(rule: &FreezeRule) -> Result<Freeze, Error> {
    let instant = |text: &str| Timestamp::parse(text).map_err(|error| Error::malformed(error.to_string()));
    let (from, until) = (instant(&rule.from)?, instant(&rule.until)?);
    if from >= until {
        return Err(Error::malformed(format!(
            "the freeze from {from} ends before it begins, at {until}"
        )));
    }
    Ok(Freeze { from, until })
}
