//! Evidence packs: everything needed to verify one run offline, put together from what is stored and sealed.

use std::collections::BTreeMap;

use writ_protocol::batch;
use writ_protocol::evidence::pack;
use writ_protocol::evidence::{PackOrder, PackSeal};
use writ_protocol::id::RunId;
use writ_store::{Tx, agent, audit, evidence, manifest, order, run};

use super::{App, Caller, Error, PAGE_MAX};

/// A pack.
pub type Pack = Vec<u8>;

impl App {
    /// Puts a run's evidence together and seals it.
    ///
    /// # Errors
    /// [`Error`] with W0003 for an unknown run, W0004 while it has not ended.
    pub async fn export_evidence(&self, caller: &Caller, id: RunId) -> Result<Pack, Error> {
        let now = self.now();
        let mut tx = self.store.begin("evidence.export").await?;
        let row = run::read(&mut tx, id)
            .await?
            .ok_or_else(|| Error::not_found("run", id))?;
        if !row.state.is_terminal() {
            return Err(Error::conflict(format!(
                "{id} is {}; wait until it has ended, then export again",
                row.state.name()
            )));
        }
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        files.insert(pack::ROOT.to_owned(), self.signer.root().to_vec());
        files.insert(pack::POLICY.to_owned(), self.signer.policy().to_vec());
        let bundle = run::read_bundle(&mut tx, &row.bundle.digest).await?;
        let bundle = bundle.ok_or_else(|| Error::not_found("bundle", row.bundle.digest))?;
        files.insert(pack::bundle_name(&row.bundle.digest), bundle.bytes);
        if let Some(digest) = &row.plan_digest
            && let Some(plan) = run::read_plan(&mut tx, digest).await?
        {
            files.insert(pack::PLAN.to_owned(), plan.document);
        }
        let mut orders = Vec::new();
        let mut after = String::new();
        loop {
            let page = order::of_run(&mut tx, id, &after, PAGE_MAX).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.agent_name);
            for one in page {
                orders.push(self.gather(&mut tx, &one, &mut files).await?);
            }
        }
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        audit::write(
            &mut tx,
            act,
            "evidence.export",
            &id.to_string(),
            serde_json::json!({ "orders": orders.len() }),
        )
        .await?;
        tx.commit().await?;
        let seal = PackSeal {
            tenant: self.settings.tenant.clone(),
            run_id: id,
            state: row.state.name().to_owned(),
            ordered_by: row.ordered_by,
            exported_by: caller.name.clone(),
            exported_at: now,
            orders,
        };
        Ok(self.signer.pack(&files, seal)?)
    }

    async fn gather(
        &self,
        tx: &mut Tx,
        one: &order::Order,
        files: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<PackOrder, Error> {
        let agent = agent::by_id(tx, one.agent_id)
            .await?
            .ok_or_else(|| Error::not_found("agent", one.agent_id))?;
        let identity = self.identity(&agent);
        files.insert(pack::keys_name(one.agent_id), agent.keys);
        let seqs = one.first_seq.zip(one.last_seq);
        if let Some((journal, range)) = one.journal_id.zip(seqs) {
            for stored in evidence::batches(tx, (one.agent_id, journal), range).await? {
                let message = batch::encode(stored.envelope, stored.frames)
                    .map_err(|e| Error::internal("a stored batch cannot be written", e))?;
                files.insert(pack::batch_name(one.agent_id, stored.first_seq), message);
            }
        }
        if let Some(at) = one.at
            && let Some(signed) = manifest::at(tx, one.agent_id, at).await?
        {
            files.insert(pack::manifest_name(one.agent_id, at), signed.envelope);
        }
        Ok(PackOrder {
            order_id: one.order_id,
            identity,
            name: one.agent_name.clone(),
            state: one.state.name().to_owned(),
            journal_id: one.journal_id,
            seqs,
        })
    }
}
