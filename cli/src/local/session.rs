//! The agent's process at the other end of a pipe: started, given its orders, listened to, and ended. One thread reads; everything else happens
//! here, one word after the other.

use std::io::{BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use writ_protocol::cost::{Grant, RateCard};
use writ_protocol::digest::Digest;
use writ_protocol::evidence::{PackOrder, PackSeal, pack};
use writ_protocol::manifest::{BundleRef, Order};
use writ_protocol::pipe::{self, LENGTH_BYTES, ToAgent, ToDesk};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

use super::TENANT;
use super::desk::{Desk, LEASE, TTL, Terms, Word};
use super::ledger::{Ledger, Registered};
use super::order::{Ended, Gathered, Ordered, Standing};
use super::places::Places;
use crate::clock::{self, Deadline};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::{Interrupt, LOOK};

/// Words read and not yet heard; the reader waits for room.
const WORDS_MAX: usize = 64;
/// How long an agent may take to go when nothing is left to say.
const FAREWELL: Duration = Duration::from_secs(30);
/// Longest wait for the end of an order that was cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(60);

/// Who listens while an order is carried out.
pub struct Watching<'a> {
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// After this the order is cancelled.
    pub patience: Duration,
    /// Told every record and every piece of output of the order, as it comes.
    pub told: &'a mut dyn FnMut(&Word),
}

impl std::fmt::Debug for Watching<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// The process at the other end of a pipe: the agent, or what carries its words.
#[derive(Debug)]
pub struct Line {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    is_long: bool,
}

impl Line {
    /// An agent of this machine that keeps what it must know below `state`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn here(agent: &Path, state: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(agent);
        command
            .arg("once")
            .arg("--state")
            .arg(state)
            .stderr(Stdio::inherit());
        let mut child = spawn(&mut command).with_context(|| format!("starting {}", agent.display()))?;
        let to = child.stdin.take().context("the agent's input")?;
        let from = child.stdout.take().context("the agent's output")?;
        Ok(Self {
            child,
            to,
            from,
            is_long: false,
        })
    }

    /// A process that carries the words of an agent elsewhere. What that agent knew is gone with it.
    pub const fn long(child: Child, to: ChildStdin, from: ChildStdout) -> Self {
        Self {
            child,
            to,
            from,
            is_long: true,
        }
    }
}

#[cfg(test)]
impl Line {
    /// The process and both ends, for tests that speak themselves.
    pub(crate) fn into_parts(self) -> (Child, ChildStdin, ChildStdout) {
        (self.child, self.to, self.from)
    }
}

/// An agent that waits for orders.
#[derive(Debug)]
pub struct Session {
    desk: Desk,
    child: Child,
    is_long: bool,
    to_agent: Option<ChildStdin>,
    from_agent: Receiver<anyhow::Result<ToDesk>>,
}

impl Session {
    /// Starts the agent over what is kept in `ledger`, with what `line` opens.
    ///
    /// # Errors
    /// When what is kept does not verify, or the line cannot be opened.
    pub fn start(
        ledger: Ledger,
        terms: Terms,
        line: impl FnOnce(&Places) -> anyhow::Result<Line>,
    ) -> anyhow::Result<Self> {
        let desk = Desk::open(ledger, terms, clock::now())?;
        let Line {
            child,
            to: to_agent,
            from: output,
            is_long,
        } = line(desk.ledger.places())?;
        let (to, from_agent) = sync_channel(WORDS_MAX);
        std::thread::Builder::new()
            .name("agent's words".to_owned())
            .spawn(move || read_all(output, &to))
            .context("starting a thread")?;
        let mut session = Self {
            desk,
            child,
            is_long,
            to_agent: Some(to_agent),
            from_agent,
        };
        let welcome = session.desk.welcome()?;
        session.say(&welcome)?;
        Ok(session)
    }

    /// Fingerprint of the root that everything here follows from.
    pub const fn root(&self) -> &Digest {
        &self.desk.pin
    }

    /// What is kept.
    pub const fn ledger(&self) -> &Ledger {
        &self.desk.ledger
    }

    /// The agent, once it is registered.
    pub const fn agent(&self) -> Option<&Registered> {
        self.desk.ledger.registered()
    }

    /// Serves a bundle that was signed here before, from now on.
    pub fn serve(&mut self, bytes: &[u8]) -> BundleRef {
        self.desk.serve(bytes)
    }

    /// Orders something and waits for its end. Ctrl-C, and the end of patience, cancel it: then it ends in its own words.
    ///
    /// # Errors
    /// When the agent refuses it or goes, when a record does not verify, and after a cancellation that brings no end.
    pub fn carry_out(&mut self, ordered: &Ordered, watching: &mut Watching<'_>) -> anyhow::Result<Ended> {
        let word = order_word(ordered, clock::now());
        let mut gathered = Gathered::new(ordered.order_id);
        let wake = self.desk.order(Some(word), clock::now())?;
        self.say(&wake)?;
        let (mut deadline, mut is_cancelled) = (Deadline::after(watching.patience), false);
        loop {
            if !is_cancelled && (watching.interrupt.happened() || deadline.left().is_zero()) {
                (deadline, is_cancelled) = (Deadline::after(CANCEL_PATIENCE), true);
                let wake = self.desk.cancel(clock::now())?;
                self.say(&wake)?;
            } else if deadline.left().is_zero() {
                return Err(Fault::new(Exit::TimedOut, "the agent did not end what was cancelled").into());
            }
            for word in self.hear(LOOK)? {
                (watching.told)(&word);
                let Word::Record(seq, record) = word else { continue };
                match gathered.take(seq, record) {
                    Standing::Open => {}
                    Standing::Refused(refused) => {
                        self.desk.order(None, clock::now())?;
                        let what = format!("the agent does not take the order: {}", refused.detail);
                        return Err(Fault::coded(refused.code, what).into());
                    }
                    Standing::Ended(ended) => {
                        let wake = self.desk.order(None, clock::now())?;
                        self.say(&wake)?;
                        return Ok(*ended);
                    }
                }
            }
        }
    }

    /// Everything needed to verify an order offline, sealed.
    ///
    /// # Errors
    /// When something of it is not kept, or does not verify.
    pub fn pack(
        &self,
        ordered: &Ordered,
        ended: &Ended,
        (bundle, plan): (&[u8], Option<&[u8]>),
    ) -> anyhow::Result<Vec<u8>> {
        let known = self.agent().context("the agent is not registered")?;
        let (desk, identity) = (&self.desk, known.identity());
        let mut files = std::collections::BTreeMap::new();
        files.insert(pack::ROOT.to_owned(), desk.root.clone());
        files.insert(pack::POLICY.to_owned(), desk.policy.clone());
        files.insert(pack::bundle_name(&ordered.bundle.digest), bundle.to_vec());
        files.extend(plan.map(|plan| (pack::PLAN.to_owned(), plan.to_vec())));
        files.insert(pack::keys_name(identity.agent_id), known.envelope.clone());
        let manifest = desk.ledger.manifest(ended.at.generation)?;
        files.extend(manifest.map(|bytes| (pack::manifest_name(identity.agent_id, ended.at), bytes)));
        let journal = desk.ledger.newest_journal().context("no record is kept")?;
        let key = known.keys.artefact_key;
        for (first, message) in desk.ledger.batches(journal, ended.seqs, &key)? {
            files.insert(pack::batch_name(identity.agent_id, first), message);
        }
        let state = ended.done.outcome.name().to_owned();
        let seal = PackSeal {
            tenant: TENANT.to_owned(),
            run_id: ordered.run_id,
            state: state.clone(),
            ordered_by: ordered.ordered_by.clone(),
            exported_by: ordered.ordered_by.clone(),
            exported_at: clock::now(),
            orders: vec![PackOrder {
                order_id: ordered.order_id,
                identity,
                name: known.keys.name.clone(),
                state,
                journal_id: Some(journal),
                seqs: Some(ended.seqs),
            }],
        };
        Ok(pack::build(&files, seal, &desk.evidence)?)
    }

    /// Lets the agent go, and hears its last words.
    ///
    /// # Errors
    /// When it does not go by itself, or not well; it is gone then too.
    pub fn close(mut self) -> anyhow::Result<()> {
        // The end of its input is the end of its work.
        self.to_agent = None;
        let deadline = Deadline::after(FAREWELL);
        loop {
            match self.from_agent.recv_timeout(LOOK) {
                Ok(word) => drop(self.desk.hear(word?, clock::now())?),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if deadline.left().is_zero() => {
                    return Err(Fault::new(Exit::Failed, "the agent did not end by itself").into());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let status = self.child.wait().context("waiting for the agent")?;
        if status.success() {
            return Ok(());
        }
        Err(Fault::new(Exit::Failed, format!("the agent ended with {status}")).into())
    }

    /// Hears what comes within `wait`, answers it, and gives what is to be told.
    fn hear(&mut self, wait: Duration) -> anyhow::Result<Vec<Word>> {
        match self.from_agent.recv_timeout(wait) {
            Ok(word) => {
                let heard = self.desk.hear(word?, clock::now())?;
                for word in &heard.say {
                    self.say(word)?;
                }
                Ok(heard.words)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().context("waiting for the agent")?;
                if self.is_long {
                    let what = format!("the connection ended before the work did ({status})");
                    return Err(Fault::coded(Code::Unresolved, what)
                        .help("the host ends what still ran; what came of it by then is kept here, and a new look says how the host is now")
                        .into());
                }
                let what = format!("the agent ended before its work did ({status})");
                Err(Fault::coded(Code::Unavailable, what)
                    .help("what it said stands above; what it did is in its journal, and the next run brings it here")
                    .into())
            }
        }
    }

    fn say(&mut self, word: &ToAgent) -> anyhow::Result<()> {
        let bytes = pipe::frame(word)?;
        let Some(input) = &mut self.to_agent else {
            return Ok(());
        };
        match input.write_all(&bytes).and_then(|()| input.flush()) {
            // It is going: the end of its words says why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("speaking with the agent"),
        }
    }
}

impl Drop for Session {
    /// However a run is left, what it started ends with it: an agent that were killed at once could not see to that. What it still says is in its
    /// journal, and the next run brings it.
    fn drop(&mut self) {
        self.to_agent = None;
        let deadline = Deadline::after(FAREWELL);
        while matches!(self.child.try_wait(), Ok(None)) {
            if deadline.left().is_zero() {
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            if matches!(
                self.from_agent.recv_timeout(LOOK),
                Err(RecvTimeoutError::Disconnected)
            ) {
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Starts a program at the other end of a pipe, in a process group of its own: Ctrl-C is for us, and we tell it what to end.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

fn read_all(output: ChildStdout, to: &SyncSender<anyhow::Result<ToDesk>>) {
    let mut output = BufReader::new(output);
    loop {
        let word = match read(&mut output) {
            Ok(Some(word)) => Ok(word),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let is_last = word.is_err();
        if to.send(word).is_err() || is_last {
            return;
        }
    }
}

/// The next word; none at the end.
fn read(from: &mut impl Read) -> anyhow::Result<Option<ToDesk>> {
    let mut prefix = [0; LENGTH_BYTES];
    match from.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error).context("hearing the agent"),
    }
    let mut body = vec![0; pipe::length(prefix)?];
    from.read_exact(&mut body).context("hearing the agent")?;
    Ok(Some(pipe::open(&body)?))
}

fn order_word(ordered: &Ordered, now: Timestamp) -> Order {
    let (plan_digest, rests_on) = ordered.plan.unzip();
    Order {
        order_id: ordered.order_id,
        run_id: ordered.run_id,
        ordered_by: ordered.ordered_by.clone(),
        kind: ordered.kind,
        bundle: ordered.bundle,
        mode: ordered.mode,
        plan_digest,
        rests_on,
        issued_at: now,
        not_before: now,
        expires_at: now.plus(TTL),
        lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX),
        fencing_token: 1,
        control_epoch: 0,
        grant: Grant {
            amount_micros: ordered.grant_micros,
            rates: RateCard::default(),
        },
    }
}
