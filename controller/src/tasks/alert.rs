//! Rings the alerts: notifications are made of what happened, taken when they are due, and sent. A receiver that does not answer holds up none but its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, interval};
use writ_chassis::telemetry::ErrorChain;
use writ_protocol::time::Timestamp;

use super::{TaskError, Tasks};
use crate::app::{Claimed, Tried};
use crate::notify::{Fate, Notice, Outcome, Senders};

pub(super) const MAKE: &str = "ledger.alert";
pub(super) const SEND: &str = "notify.send";
/// Pause between two looks at what happened, and at what is due.
const EVERY: Duration = Duration::from_millis(250);
/// Looks between two at leases that are over.
const LEASES_EVERY: u32 = 20;
/// Most notices that are on their way to one receiver.
const ON_THE_WAY_MAX: u32 = 4;

/// Makes notifications.
pub(super) async fn make(tasks: Tasks) -> Result<(), TaskError> {
    let mut pause = EVERY;
    while tasks.pause(pause).await {
        pause = EVERY;
        match tasks.app.make_alerts().await {
            Ok(made) => {
                tasks.metrics.alerts.made(made.queued, made.dropped);
                if made.stale > 0 {
                    tracing::warn!(
                        events = made.stale,
                        "too old for alerts: they were off when this happened"
                    );
                }
                if made.again {
                    pause = Duration::ZERO;
                }
            }
            Err(error) => tasks.round_failed(MAKE, &ErrorChain(&error)),
        }
    }
    Ok(())
}

type OnTheWay = FuturesUnordered<BoxFuture<'static, (Claimed, Outcome)>>;

/// Sends them. At a soft stop what is on the way is waited for, as far as the stop waits.
pub(super) async fn send(tasks: Tasks, senders: Arc<Senders>) -> Result<(), TaskError> {
    let receivers: Vec<String> = tasks
        .app
        .alert_receivers()
        .into_iter()
        .map(|one| one.name)
        .collect();
    let mut on_the_way = OnTheWay::new();
    let mut busy: BTreeMap<String, u32> = BTreeMap::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    loop {
        tokio::select! {
            () = tasks.life.stopping() => break,
            Some((claimed, outcome)) = on_the_way.next() => {
                if let Some(count) = busy.get_mut(&claimed.receiver) {
                    *count = count.saturating_sub(1);
                }
                settle(&tasks, claimed, outcome).await;
            }
            _ = ticks.tick() => {
                if looks.is_multiple_of(LEASES_EVERY) && let Err(error) = tasks.app.end_alert_leases().await {
                    tasks.round_failed(SEND, &ErrorChain(&error));
                }
                looks = looks.wrapping_add(1);
                for receiver in &receivers {
                    let count = busy.entry(receiver.clone()).or_default();
                    for claimed in claim(&tasks, receiver, *count).await {
                        *count = count.saturating_add(1);
                        on_the_way.push(send_one(Arc::clone(&senders), claimed, tasks.app.instant()));
                    }
                }
            }
        }
    }
    while let Some((claimed, outcome)) = on_the_way.next().await {
        settle(&tasks, claimed, outcome).await;
    }
    Ok(())
}

async fn claim(tasks: &Tasks, receiver: &str, busy: u32) -> Vec<Claimed> {
    let room = ON_THE_WAY_MAX.saturating_sub(busy);
    if room == 0 {
        return Vec::new();
    }
    match tasks.app.claim_alerts(receiver, room).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tasks.round_failed(SEND, &ErrorChain(&error));
            Vec::new()
        }
    }
}

fn send_one(
    senders: Arc<Senders>,
    claimed: Claimed,
    now: Timestamp,
) -> BoxFuture<'static, (Claimed, Outcome)> {
    Box::pin(async move {
        let notice = Notice {
            id: claimed.id,
            rule: claimed.rule.clone(),
            severity: claimed.severity.name(),
            events: claimed.happenings.clone(),
            made_at: claimed.made_at,
        };
        let outcome = senders.send(&claimed.receiver, &notice, now).await;
        (claimed, outcome)
    })
}

async fn settle(tasks: &Tasks, claimed: Claimed, outcome: Outcome) {
    let age = tasks.app.instant().since(claimed.made_at);
    let tried = Tried {
        id: claimed.id,
        attempt: claimed.attempt,
        is_accepted: outcome.fate == Fate::Accepted,
        is_final: outcome.fate == Fate::Refused,
        retry_after: match outcome.fate {
            Fate::Failed(asked) => asked,
            Fate::Accepted | Fate::Refused => None,
        },
        said: outcome.said.clone(),
    };
    match tasks.app.settle_alert(tried).await {
        Ok(Some(state)) => {
            tasks.metrics.alerts.tried(state, age);
            if outcome.fate != Fate::Accepted {
                tracing::warn!(alert = %claimed.id, receiver = claimed.receiver, attempt = claimed.attempt, state = state.name(), said = outcome.said,
                    "a notification was not taken");
            }
        }
        Ok(None) => {}
        // Its lease ends, and it is sent again under the same id.
        Err(error) => tasks.round_failed(SEND, &ErrorChain(&error)),
    }
}
