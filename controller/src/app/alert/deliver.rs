//! Notifications are taken to be sent under a lease, and what came of a try is written down. Nothing here talks to a receiver: whoever does holds no
//! transaction.

use std::time::Duration;

use serde_json::Value;
use writ_domain::alert::delivery::{Event, Retry, State, apply};
use writ_domain::drift::Severity;
use writ_protocol::id::AlertId;
use writ_protocol::time::Timestamp;
use writ_store::alert;

use crate::app::{App, Error};

/// Most leases that one look ends.
const OVERDUE_MAX: u32 = 100;
/// How often a receiver is tried that is not in the configuration any more, by those that were taken before.
const GONE: Retry = Retry {
    tries: 1,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(1),
};

/// A notification that is to be sent now.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// Its id.
    pub id: AlertId,
    /// To whom.
    pub receiver: String,
    /// Under which rule.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happened.
    pub happenings: Vec<Value>,
    /// When it was made.
    pub made_at: Timestamp,
    /// The number of the try.
    pub attempt: u32,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Of which notification.
    pub id: AlertId,
    /// The try's number.
    pub attempt: u32,
    /// Whether the receiver took it.
    pub is_accepted: bool,
    /// Whether it never will.
    pub is_final: bool,
    /// When the receiver wants to be asked again.
    pub retry_after: Option<Duration>,
    /// What it said, or why it could not be asked.
    pub said: String,
}

impl App {
    pub(super) fn retry_of(&self, receiver: &str) -> Retry {
        let found = self.settings.alerts.policy.receivers.get(receiver);
        found.map_or(GONE, |one| one.limits.retry)
    }

    /// Takes notifications of a receiver that are due, at most `limit`. Several controllers take different ones.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn claim_alerts(&self, receiver: &str, limit: u32) -> Result<Vec<Claimed>, Error> {
        let now = self.now();
        let retry = self.retry_of(receiver);
        let mut tx = self.store.begin("alert.claim").await?;
        let mut claimed = Vec::new();
        for mut one in alert::due(&mut tx, receiver, now, limit).await? {
            let Ok(step) = apply(&one.delivery, Event::Claim, now, &retry) else {
                continue;
            };
            if !step.changed {
                continue;
            }
            (one.delivery, one.tried_at) = (step.next, Some(now));
            alert::save(&mut tx, &one).await?;
            claimed.push(Claimed {
                id: one.alert_id,
                receiver: one.receiver,
                rule: one.rule,
                severity: one.severity,
                happenings: one.happenings,
                made_at: one.made_at,
                attempt: one.delivery.attempts,
            });
        }
        if !claimed.is_empty() {
            tx.commit().await?;
        }
        Ok(claimed)
    }

    /// Writes down what came of a try; how the notification stands then, none where it is forgotten.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settle_alert(&self, tried: Tried) -> Result<Option<State>, Error> {
        let now = self.now();
        let event = if tried.is_accepted {
            Event::Accepted
        } else {
            Event::Failed {
                attempt: tried.attempt,
                is_final: tried.is_final,
                retry_after: tried.retry_after,
                jitter: self.jitter(),
            }
        };
        let mut tx = self.store.begin("alert.settle").await?;
        let Some(mut one) = alert::lock(&mut tx, tried.id).await? else {
            return Ok(None);
        };
        one.answer = Some(tried.said);
        self.follow(&mut one, event, now);
        let state = one.delivery.state;
        alert::save(&mut tx, &one).await?;
        tx.commit().await?;
        Ok(Some(state))
    }

    /// Ends the leases of those who had time enough, as a controller that was killed; how many.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_alert_leases(&self) -> Result<usize, Error> {
        let now = self.now();
        let mut tx = self.store.begin("alert.overdue").await?;
        let all = alert::overdue(&mut tx, now, OVERDUE_MAX).await?;
        let count = all.len();
        for mut one in all {
            let jitter = self.jitter();
            one.answer = Some("nobody came back from the try: whether it arrived is not known".to_owned());
            self.follow(&mut one, Event::LeaseEnded { jitter }, now);
            alert::save(&mut tx, &one).await?;
        }
        if count > 0 {
            tx.commit().await?;
        }
        Ok(count)
    }

    fn follow(&self, one: &mut alert::Alert, event: Event, now: Timestamp) {
        let retry = self.retry_of(&one.receiver);
        // Refused is only to be asked for again, which nobody does here.
        let Ok(step) = apply(&one.delivery, event, now, &retry) else {
            return;
        };
        one.delivery = step.next;
        if step.changed {
            let has_ended = matches!(one.delivery.state, State::Delivered | State::Dead);
            one.ended_at = has_ended.then_some(now);
        }
    }

    fn jitter(&self) -> u16 {
        let mut bytes = [0; 2];
        self.ids.random(&mut bytes);
        u16::from_le_bytes(bytes)
    }
}
