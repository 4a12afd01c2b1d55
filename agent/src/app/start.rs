//! From what lies on disk to a running agent: trust, journal, memory, and the first effects.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::manifest::Identity;
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, Record};
use writ_protocol::trust::Keyring;

use super::drift::Past;
use super::{Agent, AppError, EVENTS_MAX, Parts, Timers, Work};
use crate::config::JournalConfig;
use crate::core::{AgentCore, Effect, Kept, Memory, Now, Settings};
use crate::hello::VERSION;
use crate::intake;
use crate::journal::disk::Disk;
use crate::journal::docket::HALTS;
use crate::journal::{Journal, Report, Stamp, Start};
use crate::link::Link;
use crate::trust::Trust;
use crate::uplink::Uplink;

/// What reading the journal at start brought.
struct Opened {
    journal: Journal,
    report: Report,
    memory: Memory,
    manifests: Vec<Vec<u8>>,
    halts: Vec<Vec<u8>>,
    desired: Option<Vec<u8>>,
}

/// What was recovered, to be put together with the parts.
struct Recovered {
    core: AgentCore,
    trust: Trust,
    journal: Journal,
    work: Work,
    session_id: SessionId,
}

impl Agent {
    /// Opens the journal, remembers, and takes up what was under way. Returns when everything is durable.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn open(parts: Parts) -> Result<Self, AppError> {
        let now = Now {
            wall: parts.clock.now(),
            boot: parts.clock.boot(),
        };
        let (me, options) = (&parts.identity, &parts.options);
        let keyring = Keyring::from_pinned(&me.root, &me.card.root, &me.trust_policy, now.wall)?;
        let trust = Trust::new(keyring);
        let session_id = SessionId::from_uuid(parts.ids.uuid());
        let start = Start {
            session_id,
            fresh_id: JournalId::from_uuid(parts.ids.uuid()),
            agent_version: VERSION.to_owned(),
            boot_id: options.boot_id.clone(),
            stamp: Stamp {
                wall: now.wall,
                boot_ns: now.boot.as_nanos(),
            },
        };
        let (disk, bounds) = (Arc::clone(&parts.disk), options.journal);
        let read = move || read_journal(disk, bounds, start);
        let opened = if parts.disk.is_memory() {
            read()?
        } else {
            parts.lifecycle.run_blocking("journal.open", read).await??
        };
        let (mut journal, report) = (opened.journal, opened.report);
        if let Some(why) = &report.damage {
            tracing::error!(%why, journal.id = %journal.id(), "the journal was set aside and a new one begun");
        }
        let name = &me.card.identity;
        let kept = reopen((&opened.manifests, &opened.halts), &trust, name);
        let unreadable = kept.halts.iter().filter(|halt| halt.is_unreadable()).count();
        let unfinished = opened.memory.unfinished.iter();
        let first_seq = unfinished.map(|(id, order)| (*id, order.first_seq)).collect();
        let settings = Settings {
            identity: name.clone(),
            environment: options.environment.clone(),
        };
        let past = Past {
            file: opened.desired,
            applied: opened.memory.applied.clone(),
            journal_id: journal.id(),
        };
        let at = (now, options.boot_id.as_str());
        let (core, effects) = AgentCore::recover(settings, opened.memory, kept, report.damage.is_some(), at);
        journal.remember(core.have(), core.view().control_epoch);
        journal.keep_memory()?;
        let recovered = Recovered {
            core,
            trust,
            journal,
            work: Work {
                first_seq,
                owes_memory: false,
                ..Work::default()
            },
            session_id,
        };
        let mut agent = Self::assemble(parts, recovered, now);
        agent.plan_renewal();
        agent.begin_watch(past);
        agent.carry(effects).await?;
        agent.tell_unreadable(unreadable).await?;
        agent.look_at_disk().await?;
        Ok(agent)
    }

    /// Says that halts of an earlier life cannot be read, and that everything stands still for it.
    async fn tell_unreadable(&mut self, halts: usize) -> Result<(), AppError> {
        if halts == 0 {
            return Ok(());
        }
        let detail = format!(
            "{halts} of the halts that were kept beside the journal cannot be read; no step starts until they are lifted, or until somebody who \
             may write to the host removes the file {HALTS}"
        );
        tracing::error!(halts, file = HALTS, "kept halts cannot be read; no step starts");
        let alarm = Record::Alarm(Alarm {
            code: Code::HaltUnreadable,
            detail,
        });
        self.carry(vec![Effect::Append(alarm), Effect::Sync]).await
    }

    fn assemble(parts: Parts, recovered: Recovered, now: Now) -> Self {
        let journal = recovered.journal;
        let mut uplink = Uplink::new(journal.acknowledged(), now.boot);
        uplink.note_durable(journal.durable().seq);
        let (report, events) = mpsc::channel(EVENTS_MAX);
        let mut timers = Timers::new(now.boot, parts.ids.as_ref());
        timers.hello_interval = parts.options.hello_interval.unwrap_or(timers.hello_interval);
        Self {
            link: Link::new(parts.transport, parts.identity.card.identity.user_key.clone()),
            me: Arc::new(parts.identity),
            is_in_memory: parts.disk.is_memory(),
            journal: Arc::new(Mutex::new(journal)),
            core: recovered.core,
            trust: recovered.trust,
            work: recovered.work,
            drift: None,
            session_id: recovered.session_id,
            uplink,
            timers,
            executor: parts.executor,
            bundles: parts.bundles,
            clock: parts.clock,
            ids: parts.ids,
            lifecycle: parts.lifecycle,
            metrics: parts.metrics,
            options: parts.options,
            incoming: parts.incoming,
            events,
            report,
            is_connected: false,
        }
    }
}

/// What was kept beside the journal, verified again.
fn reopen((manifests, halts): (&[Vec<u8>], &[Vec<u8>]), trust: &Trust, name: &Identity) -> Kept {
    Kept {
        manifests: manifests
            .iter()
            .filter_map(|manifest| intake::reopen(manifest, trust, name))
            .collect(),
        halts: halts
            .iter()
            .map(|halt| intake::reopen_halt(halt, trust))
            .collect(),
    }
}

/// Reads the journal and what was kept beside it.
fn read_journal(disk: Arc<dyn Disk>, bounds: JournalConfig, start: Start) -> Result<Opened, AppError> {
    let mut memory = Memory::default();
    let (journal, report) = Journal::open(disk, bounds, start, &mut |replayed| {
        memory.take(&replayed.frame, replayed.record);
    })?;
    let docket = journal.docket();
    memory.high_water = memory.high_water.max(report.high_water);
    memory.control_epoch = memory.control_epoch.max(report.control_epoch);
    docket.prepare()?;
    let mut done = docket.done()?;
    done.append(&mut memory.done);
    memory.done = done;
    Ok(Opened {
        manifests: docket.manifests()?,
        halts: docket.halts()?,
        desired: docket.desired()?,
        journal,
        report,
        memory,
    })
}
