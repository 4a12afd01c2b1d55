//! Halts: set by one signature, lifted by two, confirmed by each agent, and counted. How far one has come stands in `progress`.

mod held;
mod progress;

use serde_json::json;
use writ_chassis::telemetry::ErrorChain;
use writ_protocol::envelope::Envelope;
use writ_protocol::halt::{self as word, Halt, HaltAction, Lift, Scope};
use writ_protocol::id::HaltId;
use writ_protocol::reason::Code;
use writ_protocol::statement;
use writ_store::{Tx, agent, audit, halt, meta, order};

pub(super) use held::named;

use super::lockdown::{Leave, Passes};
use super::view::{HaltView, LiftTermsView};
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// A halt to be set.
#[derive(Clone, Debug)]
pub struct NewHalt {
    /// What it covers.
    pub scope: Scope,
    /// How hard it stops.
    pub action: HaltAction,
    /// Why.
    pub reason: String,
}

/// A halt or lift, and its signed words for the bus.
#[derive(Clone, Debug)]
pub struct SignedHalt {
    /// The halt as it stands now.
    pub view: HaltView,
    /// The envelope's JSON, to be sent live.
    pub envelope: Vec<u8>,
}

impl App {
    /// Sets a halt.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_halt(&self, caller: &Caller, new: NewHalt) -> Result<SignedHalt, Error> {
        caller.require(OperatorRole::Operator)?;
        if new.reason.trim().is_empty() || new.reason.len() > REASON_BYTES_MAX || new.reason.contains('\0') {
            return Err(Error::malformed(format!(
                "a halt needs a reason of at most {REASON_BYTES_MAX} bytes, without the character zero"
            )));
        }
        let now = self.now();
        let mut tx = self.store.begin("halt.set").await?;
        self.meta(&mut tx).await?;
        let control_epoch = meta::next_control_epoch(&mut tx).await?;
        let halt_id = HaltId::from_uuid(self.ids.uuid());
        let envelope = self.signer.halt(Halt {
            tenant: self.settings.tenant.clone(),
            halt_id,
            scope: new.scope.clone(),
            action: new.action,
            control_epoch,
            reason: new.reason.clone(),
            set_by: caller.name.clone(),
            issued_at: now,
        })?;
        let envelope = envelope
            .to_json()
            .map_err(|e| Error::internal("a halt cannot be written", e))?;
        let row = halt::Halt {
            halt_id,
            scope: new.scope,
            action: new.action,
            control_epoch,
            envelope: envelope.clone(),
            reason: new.reason,
            set_by: caller.name.clone(),
            set_at: now,
            lifted_at: None,
            lift: None,
        };
        halt::create(&mut tx, &row).await?;
        Self::announce(
            &mut tx,
            audit::Act {
                at: now,
                actor: &caller.name,
            },
            "halt.set",
            &row,
        )
        .await?;
        let view = HaltView::from(&row);
        let leave = Leave::of(Passes::Stop);
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        if row.action == HaltAction::Lockdown {
            self.outwait_changes().await;
        }
        Ok(SignedHalt { view, envelope })
    }

    /// Until the changes that did not find a lockdown are over: then its answer says that nothing is under way. It is in force whatever comes of this.
    async fn outwait_changes(&self) {
        let waited = async {
            let mut tx = self.store.begin("halt.outwait").await?;
            halt::outwait_changes(&mut tx).await
        };
        if let Err(error) = waited.await {
            tracing::warn!(error = %ErrorChain(&error), "a change from before a lockdown may still be under way");
        }
    }

    /// What a lift of a halt has to say.
    ///
    /// # Errors
    /// [`Error`]: there is no such halt, or it is lifted.
    pub async fn lift_terms(&self, id: HaltId) -> Result<LiftTermsView, Error> {
        let mut tx = self.store.begin("halt.terms").await?;
        in_force(&mut tx, id).await?;
        let control_epoch = self.meta(&mut tx).await?.control_epoch.saturating_add(1);
        Ok(LiftTermsView {
            tenant: self.settings.tenant.clone(),
            control_epoch,
        })
    }

    /// Lifts a halt: `lift` is signed by a principal other than the controller, which adds its own signature.
    ///
    /// # Errors
    /// [`Error`] with W0200 when the two signatures are not those of two trusted principals.
    pub async fn release_halt(&self, caller: &Caller, id: HaltId, lift: &[u8]) -> Result<SignedHalt, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut envelope = Envelope::parse(lift).map_err(statement::StatementError::from)?;
        let claimed = statement::peek::<Lift>(&envelope)?.predicate;
        self.signer.co_sign_lift(&mut envelope)?;
        let bytes = envelope
            .to_json()
            .map_err(|e| Error::internal("a lift cannot be written", e))?;
        let verified = word::open_lift(&bytes, self.signer.keyring(), now)?;
        if verified.predicate.reason.len() > REASON_BYTES_MAX {
            return Err(Error::malformed(format!(
                "the reason of a lift has at most {REASON_BYTES_MAX} bytes"
            )));
        }
        let mut tx = self.store.begin("halt.release").await?;
        self.meta(&mut tx).await?;
        let mut row = in_force(&mut tx, id).await?;
        let control_epoch = meta::next_control_epoch(&mut tx).await?;
        if verified.predicate.halt_id != id || claimed.control_epoch != control_epoch {
            let detail =
                "the lift was signed for another halt, or another halt or lift came meanwhile; sign it again";
            return Err(Error::conflict(detail));
        }
        halt::lift(&mut tx, id, control_epoch, &bytes, now).await?;
        // What waits for its turn may have waited for this.
        order::held::note_all(&mut tx).await?;
        (row.lifted_at, row.lift) = (Some(now), Some(bytes.clone()));
        Self::announce(
            &mut tx,
            audit::Act {
                at: now,
                actor: &caller.name,
            },
            "halt.lift",
            &row,
        )
        .await?;
        let view = HaltView::from(&row);
        let leave = Leave::of(Passes::Lift);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(SignedHalt {
            view,
            envelope: bytes,
        })
    }

    /// Audit, feed, and a new manifest for every agent.
    async fn announce(tx: &mut Tx, act: audit::Act<'_>, verb: &str, row: &halt::Halt) -> Result<(), Error> {
        let body = json!({ "id": row.halt_id, "scope": row.scope, "action": halt::action_name(row.action), "reason": row.reason });
        audit::write(tx, act, verb, &row.halt_id.to_string(), body.clone()).await?;
        audit::tell(tx, act.at, verb, vec![("halts".to_owned(), body)]).await?;
        agent::bump_all(tx, act.at).await?;
        Ok(())
    }

    /// Halts, newest first.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn list_halts(&self, page: &Page) -> Result<Paged<HaltView>, Error> {
        let before = page.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let mut tx = self.store.begin("halt.list").await?;
        let rows = halt::list(&mut tx, before, page.limit()).await?;
        let views = rows.iter().map(HaltView::from).collect();
        Ok(Paged::of(views, page.limit(), |h: &HaltView| {
            h.control_epoch.to_string()
        }))
    }

    /// One halt.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_halt(&self, id: HaltId) -> Result<HaltView, Error> {
        let mut tx = self.store.begin("halt.get").await?;
        let row = halt::read(&mut tx, id)
            .await?
            .ok_or_else(|| Error::not_found("halt", id))?;
        Ok(HaltView::from(&row))
    }
}

async fn in_force(tx: &mut Tx, id: HaltId) -> Result<halt::Halt, Error> {
    let row = halt::read(tx, id)
        .await?
        .ok_or_else(|| Error::not_found("halt", id))?;
    if row.lifted_at.is_some() {
        return Err(Error::new(Code::Conflict, format!("{id} is lifted already")));
    }
    Ok(row)
}
