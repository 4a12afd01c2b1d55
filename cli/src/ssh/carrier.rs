//! Carrying an agent to a host: the system's `ssh` is started with words of ours and the user's, a small script there makes a folder of its own, takes
//! the program, compares its digest, and starts it at the other end of the connection.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use writ_protocol::reason::Code;

use super::SILENCE_SECONDS;
use super::carried::Carried;
use super::complaints::Complaints;
use super::host::Host;
use crate::clock::Deadline;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::{Interrupt, LOOK};
use crate::local::{self, Line};
use crate::output::{Teller, plain};

/// What a host does.
const SCRIPT: &str = include_str!("remote.sh");
/// What its lines to us begin with.
const WORD: &str = "writ-ssh ";
/// Longest wait for a host to be ready for a program, after ssh's own time to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(90);
/// Longest wait for a program to be there.
const CARRY_PATIENCE: Duration = Duration::from_secs(900);
/// How long ssh may take to go once it is told to.
const FAREWELL: Duration = Duration::from_secs(5);
/// Most that a host may say, bytes, before a line of ours: shells greet.
const NOISE_BYTES_MAX: usize = 64 << 10;
/// What ssh ends with when it is ssh that failed.
const SSH_FAILED: i32 = 255;
/// Said before the user's options: the first of a name counts. Nobody is asked, nothing of ours is lent to a host, and our words alone go over.
const OURS: [&str; 6] = [
    "BatchMode=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
];
/// Said after the user's options: they count where these would be the program's own.
const USUAL: [&str; 3] = [
    "ConnectTimeout=15",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
];

/// How hosts are reached.
#[derive(Clone, Debug)]
pub struct Means {
    /// The program.
    pub program: PathBuf,
    /// Its configuration, where it is not the user's own.
    pub config: Option<PathBuf>,
    /// Options as `ssh -o` takes them.
    pub options: Vec<String>,
    /// Where on a host a folder for the agent is made; the host's own choice where it is not said.
    pub folder: Option<String>,
}

impl Means {
    /// The usual ones.
    pub fn new(program: Option<PathBuf>, config: Option<PathBuf>) -> Self {
        Self {
            program: program.unwrap_or_else(|| "ssh".into()),
            config,
            options: Vec::new(),
            folder: None,
        }
    }

    /// With options.
    ///
    /// # Errors
    /// When one is not `NAME=VALUE` on one line.
    pub fn with(mut self, options: &[String]) -> anyhow::Result<Self> {
        let is_option = |text: &&String| {
            let name = text.split_once('=').map(|(name, _)| name).unwrap_or_default();
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric())
                && !text.contains(char::is_control)
        };
        if let Some(bad) = options.iter().find(|option| !is_option(option)) {
            let what = format!("{bad:?} is no option: write NAME=VALUE, as `ssh -o` takes it");
            return Err(Fault::new(Exit::Usage, what).into());
        }
        self.options.extend_from_slice(options);
        Ok(self)
    }

    /// With a place for the agent's folder on each host.
    ///
    /// # Errors
    /// When it is no absolute path on one line.
    pub fn making_folders_in(mut self, folder: Option<&str>) -> anyhow::Result<Self> {
        if let Some(bad) = folder.filter(|path| !path.starts_with('/') || path.contains(char::is_control)) {
            let what = format!("{bad:?} is no absolute path of a folder");
            return Err(Fault::new(Exit::Usage, what).into());
        }
        self.folder = folder.map(str::to_owned);
        Ok(self)
    }
}

/// Carries an agent to hosts.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// How they are reached.
    pub means: Means,
    /// What is carried.
    pub carried: Arc<Carried>,
    /// Hears what ssh and the hosts complain of.
    pub teller: Teller,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

impl Carrier {
    /// Carries an agent to a host; it waits for the first word at the other end of this line.
    ///
    /// # Errors
    /// A [`Fault`] that says which step failed, with what ssh said of it. Nothing is left on the host then.
    pub fn open(&self, host: &Host) -> anyhow::Result<Line> {
        let mut command = Command::new(&self.means.program);
        command.args(self.words(host)).stderr(Stdio::piped());
        let mut child = local::spawn(&mut command)
            .with_context(|| format!("starting {}", self.means.program.display()))
            .map_err(|error| no_ssh(&error))?;
        let mut to = child.stdin.take().context("ssh's input")?;
        let from = child.stdout.take().context("ssh's output")?;
        let errors = child.stderr.take().context("ssh's errors")?;
        let complaints = Complaints::listen(errors, host.name(), &self.teller)?;
        let mut talk = Talk {
            host,
            child,
            from,
            complaints,
            interrupt: &self.interrupt,
        };
        let carried = &self.carried;
        let folder = self.means.folder.as_deref().unwrap_or_default();
        let told = format!(
            "{SCRIPT}{}\n{}\n{}\n{SILENCE_SECONDS}\n{folder}\n",
            carried.machine,
            carried.bytes.len(),
            carried.digest
        );
        // Where it cannot be written ssh is going, and says why in a moment.
        to.write_all(told.as_bytes()).and_then(|()| to.flush()).ok();
        talk.expect("send", CONNECT_PATIENCE, carried)?;
        let sending = send(to, Arc::clone(carried))?;
        let spoken = talk.expect("speak", CARRY_PATIENCE, carried);
        if let Err(error) = spoken {
            talk.end();
            drop(sending.join());
            return Err(error);
        }
        let to = sending
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that carries the agent ended"))?;
        talk.complaints.tell();
        Ok(Line::long(talk.child, to, talk.from))
    }

    /// What ssh is started with. The destination stands after `--` and never begins with a hyphen.
    fn words(&self, host: &Host) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["-T", "-e", "none"].map(Into::into).to_vec();
        if let Some(config) = &self.means.config {
            words.extend(["-F".into(), config.into()]);
        }
        let options = self.means.options.iter().map(String::as_str);
        for option in OURS.into_iter().chain(options).chain(USUAL) {
            words.extend(["-o".into(), option.into()]);
        }
        words.extend(["--".into(), host.destination().into()]);
        // Read byte by byte, so that what follows is not taken for a part of it; whatever shell the user there has, this line means the same to it.
        let line = format!(
            "exec /bin/sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'",
            SCRIPT.len()
        );
        words.push(line.into());
        words
    }
}

/// Sends the program in a thread of its own: a host that refuses it speaks before it has taken all.
fn send(mut to: ChildStdin, carried: Arc<Carried>) -> anyhow::Result<JoinHandle<ChildStdin>> {
    let sending = std::thread::Builder::new()
        .name("carrying".to_owned())
        .spawn(move || {
            // What does not come whole is refused by its digest, and a connection that is gone is seen by who listens to it.
            to.write_all(&carried.bytes).and_then(|()| to.flush()).ok();
            to
        });
    sending.context("starting a thread")
}

/// What is said before the agent speaks.
struct Talk<'a> {
    host: &'a Host,
    child: Child,
    from: ChildStdout,
    complaints: Complaints,
    interrupt: &'a Interrupt,
}

impl Talk<'_> {
    /// Waits for a word of the script.
    fn expect(&mut self, wanted: &str, patience: Duration, carried: &Carried) -> anyhow::Result<()> {
        let outcome = self.next(patience);
        let fault = match outcome {
            Ok(Heard::Word(word)) if word == wanted => return Ok(()),
            Ok(Heard::Word(word)) => {
                // It says no, forgets what it made, and goes.
                self.wait();
                refused(self.host, &word, carried)
            }
            Ok(Heard::Late) => {
                let what = format!("{} said nothing for {} s", self.host, patience.as_secs());
                Fault::coded(Code::EndedUnspoken, what)
            }
            Ok(Heard::Noise) => {
                let what = format!("{} says something else than what it was asked", self.host);
                Fault::coded(Code::EndedUnspoken, what)
                    .help("its shell must start /bin/sh and print little of its own: see docs/ssh.md")
            }
            Ok(Heard::Interrupted) => Fault::new(Exit::Interrupted, "interrupted"),
            Ok(Heard::End) => self.ended(),
            Err(error) => {
                self.end();
                return Err(error);
            }
        };
        self.end();
        Err(fault.into())
    }

    /// The next line of the script, whatever a shell says before it.
    fn next(&mut self, patience: Duration) -> anyhow::Result<Heard> {
        let deadline = Deadline::after(patience);
        let (mut line, mut count) = (Vec::new(), 0_usize);
        loop {
            if self.interrupt.happened() {
                return Ok(Heard::Interrupted);
            }
            if deadline.is_over() {
                return Ok(Heard::Late);
            }
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(LOOK.subsec_nanos()),
            };
            let mut handles = [PollFd::new(&self.from, PollFlags::IN)];
            if !matches!(poll(&mut handles, Some(&pause)), Ok(1..)) {
                continue;
            }
            // One byte at a time: what follows the last line is the agent's.
            let mut byte = [0; 1];
            if self.from.read(&mut byte).context("hearing ssh")? == 0 {
                return Ok(Heard::End);
            }
            count = count.saturating_add(1);
            if count > NOISE_BYTES_MAX {
                return Ok(Heard::Noise);
            }
            if byte != *b"\n" {
                line.extend(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(word) = text.trim_end().strip_prefix(WORD) {
                return Ok(Heard::Word(plain(word)));
            }
            line.clear();
        }
    }

    /// Why the other end went without a word.
    fn ended(&mut self) -> Fault {
        let status = self.wait();
        let words = self.complaints.last_words();
        let last = words
            .last()
            .cloned()
            .unwrap_or_else(|| "it does not say why".to_owned());
        let host = self.host;
        if status.and_then(|status| status.code()) == Some(SSH_FAILED) {
            let mut help = words.into_iter().rev().skip(1).collect::<Vec<_>>();
            help.reverse();
            help.push(format!("try it by hand: ssh {} true", host.destination()));
            return Fault::coded(Code::SshUnreachable, format!("{host} is not reached: {last}"))
                .help(help.join("\n"));
        }
        let status = status.map_or_else(|| "it had to be ended".to_owned(), |status| status.to_string());
        let what = format!("{host} ended before its agent spoke ({status}): {last}");
        Fault::coded(Code::EndedUnspoken, what)
            .help("the user there must be let start /bin/sh: no forced command, no shell that refuses")
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Deadline::after(FAREWELL);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if !deadline.is_over() => std::thread::sleep(LOOK),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Ends the connection; the host sees that, and forgets everything.
    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What came of waiting for a line.
enum Heard {
    Word(String),
    Noise,
    End,
    Late,
    Interrupted,
}

/// What a script that says no means.
fn refused(host: &Host, word: &str, carried: &Carried) -> Fault {
    let (what, rest) = word
        .strip_prefix("no ")
        .map_or(("", word), |no| no.split_once(' ').unwrap_or((no, "")));
    let not_carried = |why: String| Fault::coded(Code::NotCarried, format!("{host}: {why}"));
    match what {
        "platform" => {
            let what = format!("{host} is {rest}, and the agent at hand is for {}", carried.machine);
            Fault::coded(Code::OtherPlatform, what).help("name an agent that is built for it: --carry FILE")
        }
        "folder" => not_carried(format!("no folder can be made in {rest}"))
            .help("name one in which that user may make files and start programs: --remote-dir DIR"),
        "bytes" => not_carried(format!("the agent did not come whole to {rest}"))
            .help("the folder may be full, or the host has neither sha256sum nor shasum; --remote-dir DIR names another folder"),
        "start" => {
            let (code, base) = rest.split_once(' ').unwrap_or((rest, ""));
            match code {
                "126" => not_carried(format!("{base} lets no program be started (is it mounted noexec?)"))
                    .help("name a folder that does: --remote-dir DIR"),
                _ => not_carried(format!("the agent does not start there (exit {code})"))
                    .help("its C library may be older than the agent wants; name an agent that is built for it: --carry FILE"),
            }
        }
        _ => Fault::coded(Code::EndedUnspoken, format!("{host} says {word:?}, which nobody asked for")),
    }
}

fn no_ssh(error: &anyhow::Error) -> anyhow::Error {
    Fault::new(Exit::Failed, format!("{error:#}"))
        .help(
            "apt-get install --no-install-recommends openssh-client\nor name the program: --ssh-program FILE",
        )
        .into()
}

#[cfg(test)]
mod tests;
