//! Notifications are made from the feed: what is told there was written in the transaction that did it, so nothing that happened is missed. The place until
//! which it was read moves in the transaction that writes the notifications, so nothing is made twice.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_domain::alert::Happening;
use writ_domain::alert::admit::{Admission, DropReason, admit};
use writ_domain::alert::delivery::{Delivery, State};
use writ_domain::alert::rule::{Receiver, Rule};
use writ_protocol::id::AlertId;
use writ_protocol::time::Timestamp;
use writ_store::Tx;
use writ_store::alert::{self, Alert, Origin, place};
use writ_store::audit::{self, FeedEntry};

use super::happened::{self, Reader};
use crate::app::{App, Error};

/// Most changes that one pass reads; the next takes the rest at once.
const PASS_MAX: u32 = 100;
/// What is older than this was told while alerts were off: nobody is woken by it.
const STALE: Duration = Duration::from_secs(3_600);

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeAlerts {
    /// Notifications that are to be sent.
    pub queued: u64,
    /// Events that were added to one that waits.
    pub joined: u64,
    /// Those that are not sent, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Changes that were too old.
    pub stale: u64,
    /// Whether there is more to do at once.
    pub again: bool,
}

impl App {
    /// Makes notifications of what happened since the last look. Every controller may look; one at a time makes.
    ///
    /// # Errors
    /// [`Error`]: nothing is made then, and the next look finds the same.
    pub async fn make_alerts(&self) -> Result<MadeAlerts, Error> {
        let mut made = MadeAlerts::default();
        if !self.settings.alerts.deliver {
            return Ok(made);
        }
        let now = self.now();
        let mut tx = self.store.begin("alert.make").await?;
        let Some(mut at) = place::lock(&mut tx).await? else {
            self.begin_alerts(tx).await?;
            return Ok(made);
        };
        // Asked for first: what is read afterwards lies behind it, or is read by the next pass.
        let newest = audit::newest(&mut tx).await?;
        let before = at;
        let entries = audit::after(&mut tx, at, &happened::topics(), PASS_MAX).await?;
        made.again = entries.len() as u64 >= u64::from(PASS_MAX);
        let mut reader = Reader::default();
        for entry in &entries {
            at = at.max(entry.place);
            if now.since(entry.at) > STALE {
                made.stale += 1;
            } else if let Some(happening) = reader.read(&mut tx, entry).await? {
                self.tell(&mut tx, (&happening, entry), now, &mut made).await?;
            }
        }
        if !made.again {
            // Also back, where the ledger was restored and counts its transactions anew.
            at = if newest < before && entries.is_empty() {
                newest
            } else {
                at.max(newest)
            };
        }
        if at != before {
            place::save(&mut tx, at).await?;
            tx.commit().await?;
        }
        Ok(made)
    }

    /// Begins with what happens from now on.
    async fn begin_alerts(&self, mut tx: Tx) -> Result<(), Error> {
        if place::exists(&mut tx).await? {
            return Ok(());
        }
        let newest = audit::newest(&mut tx).await?;
        place::begin(&mut tx, newest).await?;
        Ok(tx.commit().await?)
    }

    async fn tell(
        &self,
        tx: &mut Tx,
        (happening, entry): (&Happening, &FeedEntry),
        now: Timestamp,
        made: &mut MadeAlerts,
    ) -> Result<(), Error> {
        let policy = &self.settings.alerts.policy;
        for (name, receiver, rule) in policy.route(happening) {
            let admission = seen(tx, (name, receiver, rule), happening, now).await?;
            let key = happening.dedup_key();
            let group_key = rule.group_key(happening);
            let (delivery, reason) = match admission {
                Admission::Due(due) => (Delivery::begin(due), None),
                Admission::Dropped(reason) => {
                    let state = State::Dropped;
                    let delivery = Delivery {
                        state,
                        ..Delivery::begin(now)
                    };
                    (delivery, Some(reason))
                }
            };
            let body = happened::as_json(happening);
            if reason.is_none()
                && let Some(group) = group_key.as_deref()
                && alert::join(tx, (name, group), &body, &key).await?
            {
                made.joined += 1;
                continue;
            }
            match reason {
                None => made.queued += 1,
                Some(reason) => *made.dropped.entry(reason).or_default() += 1,
            }
            let one = Alert {
                alert_id: AlertId::from_uuid(self.ids.uuid()),
                receiver: name.to_owned(),
                rule: rule.name.clone(),
                severity: happening.severity,
                reason: reason.map(|reason| reason.name().to_owned()),
                happenings: vec![body],
                delivery,
                made_at: now,
                tried_at: None,
                answer: None,
                ended_at: reason.map(|_| now),
            };
            let origin = Origin {
                dedup_key: &key,
                group_key: group_key.as_deref().filter(|_| reason.is_none()),
                place: Some(entry.place),
            };
            alert::add(tx, &one, &origin).await?;
        }
        Ok(())
    }
}

async fn seen(
    tx: &mut Tx,
    (name, receiver, rule): (&str, &Receiver, &Rule),
    happening: &Happening,
    now: Timestamp,
) -> Result<Admission, Error> {
    let since = now.minus(rule.once_in);
    let rate = (happening.is_critical(), receiver.limits.rate.most);
    let seen = alert::seen(tx, name, (&happening.dedup_key(), since), rate).await?;
    let wait = rule.group.as_ref().map_or(Duration::ZERO, |group| group.wait);
    Ok(admit(&receiver.limits, happening, seen, (now, wait)))
}
