//! New credentials before the old ones end: asked for at half of their life, give or take, again and again until they are there, and used at
//! once, on a new connection, so that the server never has to cut the old one.

use std::time::Duration;

use bytes::Bytes;
use writ_chassis::backoff::BackoffPolicy;
use writ_protocol::codec;
use writ_protocol::hello::RenewReply;
use writ_protocol::limits::RPC_BYTES_MAX;
use writ_protocol::nats::claims;

use super::{Agent, AppError, Event};
use crate::hello;
use crate::intake;
use crate::link::LinkError;

/// Waits after a request that brought nothing. A controller may be away for hours; the life of credentials is counted in days.
pub(super) const RETRY: BackoffPolicy = BackoffPolicy::new(Duration::from_secs(1), Duration::from_mins(1));
/// Shortest wait between two requests.
const WAIT_MIN: Duration = Duration::from_millis(250);

impl Agent {
    pub(super) fn renew(&mut self) -> Result<(), AppError> {
        self.timers.is_renewing = true;
        let envelope = hello::renewal(&self.me.card.identity, &self.me.artefact_key, self.clock.now())?;
        let (link, report) = (self.link.clone(), self.report.clone());
        self.lifecycle.spawn_contained("agent.renew", async move {
            let answer = link.renew(envelope).await;
            let _stopping = report.send(Event::Renewed(answer)).await;
        });
        Ok(())
    }

    /// Sets the time of the next renewal: between four and six tenths of what is left, so that a fleet that was enrolled in one hour does not
    /// ask in one second, and two tries in three may fail for half of the time.
    pub(super) fn plan_renewal(&mut self) {
        let now = self.now();
        let left = self.credentials_left();
        self.timers.expires_at = left.map(|left| now.boot.plus(left));
        self.timers.renew_at = left.map(|left| {
            let wait = left.mul_f64(0.4) + self.spread(left.mul_f64(0.2));
            now.boot.plus(wait.max(WAIT_MIN))
        });
    }

    /// How long the server still takes the credentials; `None` when they have no end.
    fn credentials_left(&self) -> Option<Duration> {
        let wall = self.core.corrected(self.clock.now());
        claims::expiry(&self.me.login.jwt()).map(|expiry| expiry.since(wall))
    }

    /// Says once that the credentials are over: from here on only a person can help.
    pub(super) fn look_at_expiry(&mut self) {
        let now = self.clock.boot();
        if self.timers.expires_at.is_none_or(|at| now < at) {
            return;
        }
        self.timers.expires_at = None;
        self.metrics.credentials_expired.set(1);
        tracing::error!(
            tries = self.timers.renew_retry.failures(),
            "the credentials of the bus are over and no controller renewed them; orders stop and evidence waits here; enrol this host again"
        );
    }

    pub(super) fn note_renewal(&mut self, answer: Result<Bytes, LinkError>) {
        self.timers.is_renewing = false;
        let taken = answer
            .map_err(|error| intake::chain(&error))
            .and_then(|bytes| self.take_renewal(&bytes));
        match taken {
            Ok(()) => {
                self.timers.renew_retry.reset();
                self.metrics.credentials_renewed.inc();
                self.metrics.credentials_expired.set(0);
                tracing::info!("credentials renewed");
                self.plan_renewal();
                let link = self.link.clone();
                self.lifecycle
                    .spawn_contained("agent.reconnect", async move { link.reconnect().await });
            }
            Err(error) => {
                let left = self.credentials_left().unwrap_or_default();
                tracing::warn!(%error, left_s = left.as_secs(), "credentials were not renewed; trying again");
                // Never so long that the last moments pass without a try.
                let wait = self.timers.renew_retry.next_delay();
                let wait = if left.is_zero() { wait } else { wait.min(left / 4) };
                self.timers.renew_at = Some(self.clock.boot().plus(wait.max(WAIT_MIN)));
            }
        }
    }

    /// Checks the answer and keeps what it brought, on disk first.
    fn take_renewal(&mut self, bytes: &[u8]) -> Result<(), String> {
        let at = self.core.corrected(self.clock.now());
        let reply: RenewReply =
            codec::from_json("renewal", bytes, RPC_BYTES_MAX).map_err(|e| intake::chain(&e))?;
        let known = claims::expiry(&self.me.login.jwt());
        let is_shorter = match (claims::expiry(&reply.user_jwt), known) {
            (Some(new), Some(known)) => new <= known,
            (Some(_) | None, None) | (None, Some(_)) => false,
        };
        if is_shorter {
            return Err("the new credentials do not last longer than the old ones".to_owned());
        }
        let policy = reply.trust_policy.as_bytes();
        if self.trust.renew(policy, at).map_err(|e| intake::chain(&e))? {
            self.me.keep_policy(policy).map_err(|e| intake::chain(&e))?;
        }
        self.me
            .renew_login(&reply.user_jwt)
            .map_err(|e| intake::chain(&e))
    }
}
