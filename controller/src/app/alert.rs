//! Alerts as people deal with them: notifications are listed, sent again when they are dead, and made to see whether a receiver is reached. How they are
//! made stands in [`make`], how they are taken to be sent in [`deliver`].

mod deliver;
mod happened;
mod make;

use serde_json::json;
use writ_domain::alert::delivery::{Delivery, Event, State, apply};
use writ_domain::alert::{Happening, rule::Policy};
use writ_domain::drift::Severity;
use writ_protocol::id::AlertId;
use writ_protocol::reason::Code;
use writ_store::alert::shown::{self, Which};
use writ_store::alert::{self, Alert, Origin};
use writ_store::audit;

use super::lockdown::{Leave, Passes};
use super::view::{AlertRuleView, AlertView, ReceiverView};
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

pub use deliver::{Claimed, Tried};
pub use make::MadeAlerts;

/// The rule that a notification stands under that somebody asked for.
const BY_HAND: &str = "test";
/// The kind of its event.
const TEST: &str = "alert.test";

/// Who is told of what, and whether anything is sent.
#[derive(Clone, Debug, Default)]
pub struct AlertSettings {
    /// Whether anything is made and sent.
    pub deliver: bool,
    /// Receivers and rules.
    pub policy: Policy,
    /// What each receiver is: `webhook`, `slack` or `email`.
    pub kinds: std::collections::BTreeMap<String, &'static str>,
}

/// Which notifications are asked for.
#[derive(Clone, Debug, Default)]
pub struct AlertQuery {
    /// In this state.
    pub state: Option<State>,
    /// Of this receiver.
    pub receiver: Option<String>,
}

impl App {
    fn alerts(&self) -> &AlertSettings {
        &self.settings.alerts
    }

    fn may_deliver(&self) -> Result<(), Error> {
        if self.alerts().deliver {
            return Ok(());
        }
        Err(Error::new(
            Code::AlertsOff,
            "nothing is sent: `alerts.deliver` is not true in this controller's configuration",
        ))
    }

    /// Notifications, newest first.
    ///
    /// # Errors
    /// [`Error`] with W0006 for viewers, for events of security are among them; the cursor is not one of this list.
    pub async fn list_alerts(
        &self,
        caller: &Caller,
        asked: &AlertQuery,
        page: &Page,
    ) -> Result<Paged<AlertView>, Error> {
        caller.require(OperatorRole::Operator)?;
        let before = page.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let which = Which {
            state: asked.state,
            receiver: asked.receiver.clone(),
        };
        let mut tx = self.store.begin("alert.list").await?;
        let rows = shown::page(&mut tx, &which, before, page.limit()).await?;
        let views = rows.into_iter().map(AlertView::from).collect();
        Ok(Paged::of(views, page.limit(), |one: &AlertView| one.id.clone()))
    }

    /// One notification.
    ///
    /// # Errors
    /// [`Error`] with W0003, with W0006 for viewers.
    pub async fn get_alert(&self, caller: &Caller, id: AlertId) -> Result<AlertView, Error> {
        caller.require(OperatorRole::Operator)?;
        let mut tx = self.store.begin("alert.get").await?;
        let found = shown::read(&mut tx, id).await?;
        Ok(found.ok_or_else(|| Error::not_found("notification", id))?.into())
    }

    /// Sends a dead notification again, under its own id.
    ///
    /// # Errors
    /// [`Error`] with W0004 when it is not dead, with W0150 while nothing is sent.
    pub async fn replay_alert(&self, caller: &Caller, id: AlertId) -> Result<AlertView, Error> {
        caller.require(OperatorRole::Operator)?;
        self.may_deliver()?;
        let now = self.now();
        let mut tx = self.store.begin("alert.replay").await?;
        let found = alert::lock(&mut tx, id).await?;
        let mut one = found.ok_or_else(|| Error::not_found("notification", id))?;
        let retry = self.retry_of(&one.receiver);
        let step = apply(&one.delivery, Event::Replay, now, &retry)
            .map_err(|error| Error::conflict(format!("{id}: {error}")))?;
        (one.delivery, one.ended_at) = (step.next, None);
        alert::save(&mut tx, &one).await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        let detail = json!({ "receiver": one.receiver });
        audit::write(&mut tx, act, "alert.replay", &id.to_string(), detail).await?;
        let view = AlertView::from(one);
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Makes a notification to see whether a receiver is reached; neither quiet hours nor a limit keep it back.
    ///
    /// # Errors
    /// [`Error`] with W0003 for a receiver that nobody configured, with W0150 while nothing is sent.
    pub async fn test_receiver(&self, caller: &Caller, receiver: &str) -> Result<AlertView, Error> {
        caller.require(OperatorRole::Operator)?;
        if !self.alerts().policy.receivers.contains_key(receiver) {
            return Err(Error::not_found("receiver", receiver));
        }
        self.may_deliver()?;
        let now = self.now();
        let id = AlertId::from_uuid(self.ids.uuid());
        let happening = Happening {
            kind: TEST.to_owned(),
            severity: Severity::Info,
            class: None,
            is_expected: false,
            subject: id.to_string(),
            about: None,
            host: None,
            project: None,
            labels: std::collections::BTreeMap::new(),
            summary: format!("{} asks whether this arrives", caller.name),
            traceparent: None,
            at: now,
        };
        let one = Alert {
            alert_id: id,
            receiver: receiver.to_owned(),
            rule: BY_HAND.to_owned(),
            severity: happening.severity,
            reason: None,
            happenings: vec![happened::as_json(&happening)],
            delivery: Delivery::begin(now),
            made_at: now,
            tried_at: None,
            answer: None,
            ended_at: None,
        };
        let origin = Origin {
            dedup_key: &happening.dedup_key(),
            group_key: None,
            place: None,
        };
        let mut tx = self.store.begin("alert.test").await?;
        alert::add(&mut tx, &one, &origin).await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        audit::write(&mut tx, act, "alert.test", receiver, json!({ "alert": id })).await?;
        let view = AlertView::from(one);
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Who can be told, as this controller is configured.
    pub fn alert_receivers(&self) -> Vec<ReceiverView> {
        let alerts = self.alerts();
        let all = alerts.policy.receivers.iter();
        all.map(|(name, one)| {
            let kind = alerts.kinds.get(name).copied().unwrap_or_default();
            ReceiverView::of((name, kind), one, alerts.deliver)
        })
        .collect()
    }

    /// Of what they are told, in order.
    pub fn alert_rules(&self) -> Vec<AlertRuleView> {
        self.alerts()
            .policy
            .rules
            .iter()
            .map(AlertRuleView::from)
            .collect()
    }

    /// How many notifications have not ended well, by state, for the clock that shows them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn alert_counts(&self) -> Result<Vec<(State, u64)>, Error> {
        let mut tx = self.store.begin("alert.counts").await?;
        Ok(shown::counts(&mut tx).await?)
    }
}
