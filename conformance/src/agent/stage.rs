//! What every case stands on: a folder of its own, an agent that runs in it, the desk that it talks with, and what can be waited for.

use std::fs::{self, File};
use std::process::{ChildStdout, Command};
use std::time::Duration;

use writ_protocol::id::OrderId;
use writ_protocol::manifest::{self, BundleRef, Generation, Manifest, Order};
use writ_protocol::pipe::{self, LENGTH_BYTES, ToAgent, ToDesk};
use writ_protocol::reason::Code;
use writ_protocol::record::{Record, StepIntent, StepResult};

use super::desk::Desk;
use super::ordered::{Ended, Ordered, Wish};
use crate::process::{Heard, Process};
use crate::provider::Program;
use crate::provider::place::{Scratch, dressed, last_words};
use crate::run;
use crate::world::{MakeError, key, seed};

/// How long anything may take that an agent does at once.
pub(super) const WAIT: Duration = Duration::from_secs(30);
/// Between two looks at what happens beside the pipe.
const LOOK: Duration = Duration::from_millis(20);
/// What a word takes of a wait: one who talks without end is not waited for without end.
const WORD: Duration = Duration::from_millis(2);

/// What went wrong, in words.
pub(super) type Finding = String;

/// An agent in its folder, and its desk.
pub(super) struct Stage {
    program: Program,
    process: Option<Process<ToDesk>>,
    pub(super) desk: Desk,
    orders: u32,
    scratch: Scratch,
}

impl Stage {
    /// A folder with an agent that is not started yet.
    pub(super) fn new(program: &Program) -> Result<Self, MakeError> {
        let scratch = Scratch::new()?;
        fs::create_dir(scratch.0.join("effects"))?;
        Ok(Self {
            program: program.clone(),
            process: None,
            desk: Desk::new()?,
            orders: 0,
            scratch,
        })
    }

    /// An agent that runs and was welcomed, and that said hello.
    pub(super) fn up(program: &Program) -> Result<Self, Finding> {
        let mut stage = Self::new(program).map_err(ours)?;
        stage.start()?;
        stage.greet()?;
        Ok(stage)
    }

    /// Welcomes it and waits for its first hello.
    pub(super) fn greet(&mut self) -> Result<(), Finding> {
        let welcome = self.desk.welcome().map_err(ours)?;
        self.say(&welcome)?;
        let before = self.desk.hellos.len();
        self.until("a hello", |stage| {
            (stage.desk.hellos.len() > before).then_some(())
        })
    }

    /// Starts the program.
    pub(super) fn start(&mut self) -> Result<(), Finding> {
        let mut command = Command::new(&self.program.path);
        let said = File::create(self.scratch.0.join("said")).map_err(|e| ours(e.into()))?;
        command.args(&self.program.arguments).args(["once", "--state"]);
        command.arg(self.scratch.0.join("state")).stderr(said);
        self.process = Some(Process::start(dressed(command), read)?);
        Ok(())
    }

    /// The last words of its standard error, for a finding.
    pub(super) fn said(&self) -> String {
        let words = last_words(&fs::read(self.scratch.0.join("said")).unwrap_or_default());
        if words.is_empty() {
            return words;
        }
        format!("; on standard error it said: {words}")
    }

    fn process(&mut self) -> Result<&mut Process<ToDesk>, Finding> {
        self.process.as_mut().ok_or_else(|| "it does not run".to_owned())
    }

    pub(super) fn say(&mut self, word: &ToAgent) -> Result<(), Finding> {
        let bytes = pipe::frame(word).map_err(|error| ours(error.into()))?;
        self.send(bytes)
    }

    /// Sends any bytes.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Result<(), Finding> {
        self.process()?.send(bytes)
    }

    /// Closes its input.
    pub(super) fn close(&mut self) -> Result<(), Finding> {
        self.process()?.close();
        Ok(())
    }

    /// Kills it and all that it started, at once.
    pub(super) fn kill(&mut self) -> Result<(), Finding> {
        self.process()?.kill_all()
    }

    /// Lets it go, and starts it again over what it kept.
    pub(super) fn again(&mut self) -> Result<(), Finding> {
        self.close()?;
        self.end()?;
        self.start()?;
        self.greet()
    }

    /// Hears and answers until it ends; its exit code, which a signal leaves out.
    pub(super) fn end(&mut self) -> Result<Option<i32>, Finding> {
        let mut left = WAIT;
        while !left.is_zero() {
            match self.process()?.hear(LOOK) {
                Heard::Word(word) => self.answer(word)?,
                Heard::End => return self.process()?.end(WAIT),
                Heard::Broken(why) => return Err(format!("what it says is no word ({why})")),
                Heard::Silence => left = left.saturating_sub(LOOK),
            }
            left = left.saturating_sub(WORD);
        }
        Err(format!("it did not end within {} s", WAIT.as_secs()))
    }

    /// Hears and answers until something is so.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        found: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Finding> {
        self.until_within(WAIT, what, found)
    }

    fn until_within<T>(
        &mut self,
        wait: Duration,
        what: &str,
        mut found: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Finding> {
        let mut left = wait;
        loop {
            if let Some(finding) = self.desk.findings.first() {
                return Err(finding.clone());
            }
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if left.is_zero() {
                return Err(format!(
                    "{what} was wanted; it did not come within {} s",
                    wait.as_secs()
                ));
            }
            match self.process()?.hear(LOOK) {
                Heard::Word(word) => self.answer(word)?,
                Heard::End => {
                    return Err(format!("{what} was wanted; it ended instead{}", self.said()));
                }
                Heard::Broken(why) => return Err(format!("what it says is no word ({why})")),
                Heard::Silence => left = left.saturating_sub(LOOK),
            }
            left = left.saturating_sub(WORD);
        }
    }

    fn answer(&mut self, word: ToDesk) -> Result<(), Finding> {
        for said in self.desk.hear(word).map_err(ours)? {
            match self.say(&said) {
                Ok(()) => {}
                // It is going, and its input is closed: the end of its words says the rest.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Two hellos from now, whatever was said before has been dealt with.
    pub(super) fn settle(&mut self) -> Result<(), Finding> {
        let before = self.desk.hellos.len();
        self.until("two more hellos", |stage| {
            (stage.desk.hellos.len() >= before + 2).then_some(())
        })
    }

    /// An order for the agent, with a file and a command that depends on it; nothing of it is told yet.
    pub(super) fn order(&mut self, wish: Wish) -> Result<Ordered, Finding> {
        self.orders += 1;
        let number = self.orders;
        let folder = self.scratch.0.join("effects").join(number.to_string());
        fs::create_dir(&folder).map_err(|e| ours(e.into()))?;
        Ordered::new(number, wish, folder, self.desk.now).map_err(ours)
    }

    /// A manifest with these orders, one generation further than the newest.
    pub(super) fn manifest(&self, orders: Vec<Order>) -> Result<Manifest, Finding> {
        let agent = self.desk.agent.as_ref().ok_or("it is not enrolled")?;
        let (me, now) = (agent.identity.clone(), self.desk.now);
        Ok(Manifest {
            agent_id: me.agent_id,
            user_key: me.user_key,
            at: Generation {
                epoch: self.desk.at.epoch,
                generation: self.desk.at.generation + 1,
            },
            issued_at: now,
            expires_at: now.plus(Duration::from_secs(3_600)),
            ..run::manifest(orders).map_err(ours)?
        })
    }

    /// Serves a good manifest as the newest, and says so.
    pub(super) fn publish(&mut self, manifest: Manifest) -> Result<(), Finding> {
        self.desk.at = manifest.at;
        self.desk.leases = manifest.orders.iter().map(|order| order.order_id).collect();
        let signed = manifest::sign(manifest, &key(seed::DIRECTOR)).map_err(|e| ours(e.into()))?;
        let bytes = signed.to_json().map_err(|e| ours(e.into()))?;
        self.offer(bytes)
    }

    /// Serves any bytes as the newest manifest, and says so.
    pub(super) fn offer(&mut self, bytes: Vec<u8>) -> Result<(), Finding> {
        self.desk.manifest = Some(bytes);
        self.say(&ToAgent::Wake)
    }

    /// Serves the order's bundle, under the name by which it is ordered.
    pub(super) fn serve(&mut self, name: &BundleRef, bytes: &[u8]) {
        self.desk.bundles.insert(name.digest, bytes.to_vec());
    }

    /// Orders something as it should be.
    pub(super) fn give(&mut self, ordered: &Ordered) -> Result<(), Finding> {
        self.serve(&ordered.order.bundle, &ordered.bundle);
        let manifest = self.manifest(vec![ordered.order.clone()])?;
        self.publish(manifest)
    }

    /// Waits for the end of an order, which may be a refusal.
    pub(super) fn ended(&mut self, order_id: OrderId) -> Result<Ended, Finding> {
        self.ended_within(WAIT, order_id)
    }

    /// Waits so long for the end of an order.
    pub(super) fn ended_within(&mut self, wait: Duration, order_id: OrderId) -> Result<Ended, Finding> {
        self.until_within(wait, "the end of an order", |stage| {
            let mut about = stage.records(order_id);
            about.find_map(|record| match record {
                Record::OrderDone(done) => Some(Ended::Done(done.clone())),
                Record::OrderRefused(refused) => Some(Ended::Refused(refused.clone())),
                _ => None,
            })
        })
    }

    /// An order that is as it should be is carried out: the agent lives, and listens to whom it should.
    pub(super) fn lives_on(&mut self) -> Result<(), Finding> {
        let ordered = self.order(Wish::default())?;
        self.give(&ordered)?;
        let ended = self.ended(ordered.id())?;
        if !ended.has_succeeded() || ordered.runs() != 1 {
            return Err(format!(
                "a good order afterwards was to be carried out once; {}, and its command ran {} times",
                ended.told(),
                ordered.runs()
            ));
        }
        Ok(())
    }

    /// Nothing of an order was done, and it ended with one of these codes.
    pub(super) fn nothing_of(&self, ordered: &Ordered, ended: &Ended, codes: &[Code]) -> Result<(), Finding> {
        let wanted = codes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" or ");
        if let Some(effect) = ordered.effect() {
            return Err(format!("nothing was to be done, with {wanted}; {effect}"));
        }
        if ended.has_succeeded() || !ended.code().is_some_and(|code| codes.contains(&code)) {
            return Err(format!("{wanted} was wanted; {}", ended.told()));
        }
        if self.intents(ordered.id()).is_empty() {
            return Ok(());
        }
        Err(format!("{wanted} was wanted before any step; a step_intent came"))
    }

    /// What is recorded about an order.
    pub(super) fn records(&self, order_id: OrderId) -> impl Iterator<Item = &Record> {
        let all = self.desk.records.iter();
        all.map(|(_, record)| record)
            .filter(move |record| record.order_id() == Some(order_id))
    }

    pub(super) fn intents(&self, order_id: OrderId) -> Vec<&StepIntent> {
        self.records(order_id)
            .filter_map(|record| match record {
                Record::StepIntent(intent) => Some(intent),
                _ => None,
            })
            .collect()
    }

    pub(super) fn results(&self, order_id: OrderId) -> Vec<&StepResult> {
        self.records(order_id)
            .filter_map(|record| match record {
                Record::StepResult(result) => Some(result.as_ref()),
                _ => None,
            })
            .collect()
    }
}

/// A mistake of the suite, not of the agent.
#[expect(clippy::needless_pass_by_value, reason = "errors are handed to it")]
pub(super) fn ours(error: MakeError) -> Finding {
    format!("the suite cannot go on: {}", super::desk::chain(&*error))
}

/// The next word; none at the end.
fn read(output: &mut ChildStdout) -> Result<Option<ToDesk>, String> {
    use std::io::Read as _;
    let mut prefix = [0; LENGTH_BYTES];
    match output.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.to_string()),
    }
    let length = pipe::length(prefix).map_err(|error| super::desk::chain(&error))?;
    let mut body = vec![0; length];
    output.read_exact(&mut body).map_err(|error| error.to_string())?;
    pipe::open(&body)
        .map(Some)
        .map_err(|error| super::desk::chain(&error))
}
