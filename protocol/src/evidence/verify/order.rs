//! What is proven about one order: the keys, the manifest that ordered it, every record of it, the agent's statement, and the artefacts' bytes.

use super::{Fault, OrderReport, Pack, invalid};
use crate::batch::{self, Batch, Continuation};
use crate::bundle;
use crate::digest::Digest;
use crate::enrol::AgentKeys;
use crate::envelope::Envelope;
use crate::evidence::{Execution, PackOrder, pack};
use crate::id::JournalId;
use crate::key::PublicKey;
use crate::manifest::{Manifest, Order};
use crate::record::{ArtefactRef, OrderAccepted, OrderDone, Record, StepResult, blob};
use crate::trust::Keyring;

/// Everything the records say about one order.
#[derive(Default)]
struct Gathered {
    accepted: Option<OrderAccepted>,
    done: Option<OrderDone>,
    refusal: Option<(crate::reason::Code, String)>,
    statement: Option<Vec<u8>>,
    steps: Vec<StepResult>,
    chunks: Vec<(Digest, u64, u64, Vec<u8>)>,
    records: u64,
}

pub(super) fn check(pack: &Pack<'_>, order: &PackOrder) -> Result<OrderReport, Fault> {
    let Some((journal_id, range)) = order.journal_id.zip(order.seqs) else {
        return without_records(order);
    };
    let keys = agent_keys(pack, order)?;
    let batches = batches(pack, order, &keys.artefact_key, journal_id)?;
    check_range(order, &batches, range)?;
    let gathered = gather(order, &batches)?;
    let execution = match (&gathered.accepted, &gathered.refusal) {
        (Some(accepted), _) => {
            check_manifest(pack, order, accepted)?;
            Some(check_execution(order, &gathered, &keys.artefact_key)?)
        }
        (None, Some(_)) => None,
        (None, None) => {
            return Err(incomplete(
                order,
                "no record says that the agent took or refused it",
            ));
        }
    };
    let artefacts: Vec<ArtefactRef> = gathered
        .steps
        .iter()
        .flat_map(|step| step.artefacts.iter().chain(&step.output))
        .cloned()
        .collect();
    for artefact in &artefacts {
        assemble(order, &gathered, artefact)?;
    }
    Ok(OrderReport {
        order: order.clone(),
        execution,
        records: gathered.records,
        batches: batches.len() as u64,
        artefacts: gathered
            .steps
            .iter()
            .flat_map(|step| step.artefacts.clone())
            .collect(),
        steps: gathered.steps,
        refusal: gathered.refusal,
    })
}

/// The bytes of an artefact of a checked order.
pub(super) fn blob(pack: &Pack<'_>, order: &PackOrder, artefact: &ArtefactRef) -> Result<Vec<u8>, Fault> {
    let keys = agent_keys(pack, order)?;
    let journal_id = order
        .journal_id
        .ok_or_else(|| incomplete(order, "it has no journal"))?;
    let gathered = gather(order, &batches(pack, order, &keys.artefact_key, journal_id)?)?;
    assemble(order, &gathered, artefact)
}

/// An order without records can only be one that never reached its agent.
fn without_records(order: &PackOrder) -> Result<OrderReport, Fault> {
    if !matches!(order.state.as_str(), "expired" | "cancelled" | "unresolved") {
        return Err(incomplete(order, "its records are missing"));
    }
    let (execution, refusal) = (None, None);
    Ok(OrderReport {
        order: order.clone(),
        execution,
        steps: vec![],
        records: 0,
        batches: 0,
        artefacts: vec![],
        refusal,
    })
}

fn agent_keys(pack: &Pack<'_>, order: &PackOrder) -> Result<AgentKeys, Fault> {
    let name = pack::keys_name(order.identity.agent_id);
    let bytes = pack.find(&name)?;
    let at = pack.seal.predicate.exported_at;
    let keys = pack
        .keyring
        .open::<AgentKeys>(bytes, at)
        .map_err(|e| invalid(&name, &e))?
        .into_inner()
        .predicate;
    let same = keys.agent_id == order.identity.agent_id && keys.user_key == order.identity.user_key;
    if !same || keys.tenant != pack.keyring.tenant() || order.identity.tenant != keys.tenant {
        return Err(Fault::Invalid(format!("{name} names another agent or tenant")));
    }
    Ok(keys)
}

fn batches(
    pack: &Pack<'_>,
    order: &PackOrder,
    key: &PublicKey,
    journal: JournalId,
) -> Result<Vec<Batch>, Fault> {
    let prefix = pack::batch_prefix(order.identity.agent_id);
    let mut batches = Vec::new();
    for (name, bytes) in pack
        .files
        .range(prefix.clone()..)
        .take_while(|(name, _)| name.starts_with(&prefix))
    {
        let batch = batch::open(bytes, key).map_err(|e| invalid(name, &e))?;
        let header = batch.header();
        if header.agent_id != order.identity.agent_id || header.tenant != pack.keyring.tenant() {
            return Err(Fault::Invalid(format!(
                "{name} belongs to another agent or tenant"
            )));
        }
        if header.journal_id == journal {
            batches.push(batch);
        }
    }
    Ok(batches)
}

/// Every sequence number from the order's first to its last must be there, linked by the chain. Batches may overlap: an agent that sends again
/// cuts its records anew.
fn check_range(order: &PackOrder, batches: &[Batch], (first, last): (u64, u64)) -> Result<(), Fault> {
    let mut reached: Option<(u64, Digest)> = None;
    for batch in batches {
        let header = batch.header();
        match reached {
            None if header.last_seq < first => continue,
            None if header.first_seq > first => {
                return Err(incomplete(order, "its first records are missing"));
            }
            None => {}
            Some((seq, _)) if seq >= last => break,
            // Also where the agent signs that they are gone: then they cannot be shown.
            Some((seq, _)) if header.first_seq > seq.saturating_add(1) => {
                return Err(incomplete(order, &format!("records after {seq} are missing")));
            }
            Some((seq, hash)) => match batch.after(seq, &hash) {
                Continuation::New { .. } => {}
                Continuation::Known => continue,
                Continuation::Gap { .. } => {
                    return Err(incomplete(order, &format!("records after {seq} are missing")));
                }
                Continuation::Fork => {
                    let at = header.first_seq;
                    return Err(Fault::Invalid(format!(
                        "{}: the chain of records breaks at {at}",
                        order.name
                    )));
                }
            },
        }
        reached = Some((header.last_seq, header.last_hash));
    }
    match reached {
        Some((seq, _)) if seq >= last => Ok(()),
        Some(_) | None => Err(incomplete(order, "its last records are missing")),
    }
}

fn gather(order: &PackOrder, batches: &[Batch]) -> Result<Gathered, Fault> {
    let (mut out, mut seen) = (Gathered::default(), 0);
    for batch in batches {
        for (frame, _, _) in batch.frames() {
            // The same record may stand in two batches.
            if frame.seq <= seen {
                continue;
            }
            seen = frame.seq;
            let record = Record::decode(&frame).map_err(|e| invalid(&format!("record {}", frame.seq), &e))?;
            let Some(record) = record.filter(|record| record.order_id() == Some(order.order_id)) else {
                continue;
            };
            out.records += 1;
            match record {
                Record::OrderAccepted(accepted) => out.accepted = Some(accepted),
                Record::OrderRefused(refused) => out.refusal = Some((refused.code, refused.detail)),
                Record::OrderDone(done) => out.done = Some(done),
                Record::Signed(signed) => out.statement = Some(signed.envelope),
                Record::StepResult(result) => out.steps.push(*result),
                Record::BlobChunk(chunk) => {
                    out.chunks
                        .push((chunk.digest, chunk.offset, chunk.total, chunk.bytes));
                }
                Record::StepIntent(_)
                | Record::SessionStart(_)
                | Record::HighWater(_)
                | Record::Alarm(_)
                | Record::ManifestRefused(_)
                | Record::HaltObserved(_)
                | Record::DriftSeen(_) => {}
            }
        }
    }
    Ok(out)
}

fn check_manifest(pack: &Pack<'_>, order: &PackOrder, accepted: &OrderAccepted) -> Result<(), Fault> {
    let name = pack::manifest_name(order.identity.agent_id, accepted.at);
    let bytes = pack.find(&name)?;
    let envelope = Envelope::parse(bytes).map_err(|e| invalid(&name, &e))?;
    let claimed = crate::statement::peek::<Manifest>(&envelope).map_err(|e| invalid(&name, &e))?;
    let at = claimed.predicate.issued_at;
    let manifest = pack
        .keyring
        .open::<Manifest>(bytes, at)
        .map_err(|e| invalid(&name, &e))?;
    let listed: Option<&Order> = manifest
        .predicate
        .orders
        .iter()
        .find(|o| o.order_id == order.order_id);
    let fits = *manifest.payload_digest() == accepted.manifest
        && manifest.predicate.agent_id == order.identity.agent_id
        && listed.is_some_and(|o| o.bundle == accepted.bundle && o.run_id == pack.seal.predicate.run_id);
    if !fits {
        return Err(Fault::Invalid(format!(
            "{name} is not the manifest that ordered this"
        )));
    }
    let bundle_name = pack::bundle_name(&accepted.bundle.digest);
    let bundle_bytes = pack.find(&bundle_name)?;
    bundle::open(bundle_bytes, &accepted.bundle, &pack.keyring, at).map_err(|e| invalid(&bundle_name, &e))?;
    Ok(())
}

fn check_execution(order: &PackOrder, gathered: &Gathered, key: &PublicKey) -> Result<Execution, Fault> {
    let done = gathered
        .done
        .as_ref()
        .ok_or_else(|| incomplete(order, "no record says how it ended"))?;
    let bytes = gathered
        .statement
        .as_ref()
        .ok_or_else(|| incomplete(order, "the execution statement is missing"))?;
    let what = format!("{}: execution statement", order.name);
    let statement = Keyring::open_agent::<Execution>(bytes, key).map_err(|e| invalid(&what, &e))?;
    let says = &statement.predicate;
    let fits = *statement.payload_digest() == done.statement
        && says.order_id == order.order_id
        && says.outcome == done.outcome
        && says.cost_micros == done.cost_micros
        && says.identity == order.identity;
    if !fits {
        return Err(Fault::Invalid(format!("{what} contradicts the records")));
    }
    if order.state != done.outcome.name() {
        return Err(Fault::Invalid(format!(
            "{}: the seal says {}, the agent {}",
            order.name,
            order.state,
            done.outcome.name()
        )));
    }
    Ok(statement.into_inner().predicate)
}

fn assemble(order: &PackOrder, gathered: &Gathered, artefact: &ArtefactRef) -> Result<Vec<u8>, Fault> {
    let parts = gathered
        .chunks
        .iter()
        .filter(|(digest, ..)| *digest == artefact.digest);
    let content = blob::joined(parts.map(|(_, offset, _, bytes)| (*offset, bytes.as_slice())));
    if content.len() as u64 != artefact.length {
        return Err(incomplete(
            order,
            &format!("bytes of {} are missing", artefact.path),
        ));
    }
    if Digest::of(&content) != artefact.digest {
        return Err(Fault::Invalid(format!(
            "{}: bytes of {} are not those recorded",
            order.name, artefact.path
        )));
    }
    Ok(content)
}

fn incomplete(order: &PackOrder, what: &str) -> Fault {
    Fault::Incomplete(format!("{} ({}): {what}", order.name, order.order_id))
}
