//! Where a provider works while it is examined: a folder of its own on this machine, or a lab host, which is an overlay over the machine's own root in
//! namespaces of its own: its mounts, and its processes, of which the first takes in those that others leave. Of either nothing stays.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::Program;
use crate::family::{adopt, bury_strangers, child_of};

/// The environment of a provider: where to find tools, and a language.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a lab host has the program, and where the provider may work.
const LAB_PROGRAM: &str = "/run/writ-provider";
const LAB_FOLDER: &str = "/srv/writ-conformance";
/// Longest words of a script in a finding, characters.
const SAID_CHARS_MAX: usize = 400;
/// Between two looks whether a lab host is gone, and the most of them: ten seconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 2_000;

const LAB: &str = r#"
set -e
s=$1
mount -t tmpfs -o mode=0755 tmpfs "$s"
mkdir "$s/upper" "$s/work" "$s/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$s/upper,workdir=$s/work" "$s/root"
for d in sys dev; do mount --rbind /$d "$s/root/$d"; done
mount -t proc proc "$s/root/proc"
for d in tmp run; do mount -t tmpfs tmpfs "$s/root/$d"; done
: > "$s/root$3"
mount --bind "$2" "$s/root$3"
mkdir -p "$s/root$4"
# No exec: a shell that waits is an init that takes in orphans, so that a daemon which was stopped is gone and no zombie.
exec chroot "$s/root" sh -c 'echo ready; cat; :'
"#;

/// Why there is no place to work in.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No folder.
    #[error("no folder to work in: {0}")]
    Folder(#[from] io::Error),
    /// No lab host.
    #[error("no lab host: {why}")]
    NoLab {
        /// Why.
        why: String,
    },
}

/// A place.
#[derive(Debug)]
pub struct Place {
    program: Program,
    lab: Option<Lab>,
    scratch: Scratch,
}

impl Place {
    /// A folder of this machine.
    pub(super) fn folder(program: &Program) -> Result<Self, PlaceError> {
        let scratch = Scratch::new()?;
        fs::create_dir(scratch.0.join("dir"))?;
        Ok(Self {
            program: program.clone(),
            lab: None,
            scratch,
        })
    }

    /// A lab host with a folder in it.
    pub(super) fn lab(program: &Program) -> Result<Self, PlaceError> {
        if !geteuid().is_root() {
            let why = "it needs root".to_owned();
            return Err(PlaceError::NoLab { why });
        }
        let scratch = Scratch::new()?;
        let lab = Lab::start(&scratch, &program.path)?;
        Ok(Self {
            program: program.clone(),
            lab: Some(lab),
            scratch,
        })
    }

    /// The folder in which the provider may work, as it sees it.
    pub(super) fn dir(&self) -> String {
        match &self.lab {
            Some(_) => LAB_FOLDER.to_owned(),
            None => self.scratch.0.join("dir").display().to_string(),
        }
    }

    /// A path of the provider's, as it is seen from here.
    pub(super) fn outside(&self, path: &str) -> PathBuf {
        match &self.lab {
            Some(lab) => lab.root().join(path.trim_start_matches('/')),
            None => path.into(),
        }
    }

    pub(super) const fn is_lab(&self) -> bool {
        self.lab.is_some()
    }

    /// What stands beside the provider's folder though nothing but it should: escaped from it.
    pub(super) fn escaped(&self) -> Option<String> {
        let entries = fs::read_dir(&self.scratch.0).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let own = ["dir", "said", "lab"];
        names.into_iter().find(|name| !own.contains(&name.as_str()))
    }

    /// The provider, about to be started.
    pub(super) fn command(&self) -> io::Result<Command> {
        let mut command = match &self.lab {
            Some(lab) => lab.command(LAB_PROGRAM),
            None => Command::new(&self.program.path),
        };
        command.args(&self.program.arguments);
        command.stderr(File::create(self.scratch.0.join("said"))?);
        Ok(dressed(command))
    }

    /// The last words of the provider's standard error.
    pub(super) fn said(&self) -> String {
        let bytes = fs::read(self.scratch.0.join("said")).unwrap_or_default();
        last_words(&bytes)
    }

    /// Runs a script where the provider works.
    pub(super) fn sh(&self, script: &str) -> Result<(), String> {
        self.ask(script).map(drop)
    }

    /// Runs a script where the provider works; what it wrote.
    pub(super) fn ask(&self, script: &str) -> Result<String, String> {
        let mut command = match &self.lab {
            Some(lab) => lab.command("sh"),
            None => Command::new("sh"),
        };
        command.args(["-ec", script]);
        let ran = dressed(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output();
        let output = ran.map_err(|error| format!("sh does not start: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "a script of the examples failed: {}",
            last_words(&output.stderr)
        ))
    }

    /// Empties the folder; only where it is one of this machine.
    pub(super) fn wipe(&self) -> io::Result<()> {
        let dir = self.scratch.0.join("dir");
        fs::remove_dir_all(&dir)?;
        fs::create_dir(&dir)
    }
}

pub(crate) fn dressed(mut command: Command) -> Command {
    command.env_clear();
    command.envs([("PATH", PATH), ("LANG", "C.UTF-8"), ("HOME", "/")]);
    command.current_dir("/").process_group(0);
    command
}

pub(crate) fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let count = text.chars().count();
    text.chars()
        .skip(count.saturating_sub(SAID_CHARS_MAX))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A folder of ours, gone with this value.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("writ-conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is in the folder for temporary files.
        let _left = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
struct Lab {
    /// Waits for the lab host's first process.
    holder: Child,
    /// That process, as it is numbered here; the holder itself until it is there.
    first: u32,
}

impl Lab {
    fn start(scratch: &Scratch, program: &Path) -> Result<Self, PlaceError> {
        adopt();
        let mount = scratch.0.join("lab");
        fs::create_dir(&mount)?;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["sh", "-c", LAB, "lab"]);
        command.arg(&mount).arg(program).args([LAB_PROGRAM, LAB_FOLDER]);
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| PlaceError::NoLab {
                why: format!("unshare does not start: {error}"),
            })?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let first = child_of(holder.id()).unwrap_or(holder.id());
        let lab = Self { holder, first };
        // Whatever a provider changes must not be the machine: the root is another one, or there is no lab host.
        let device = |path: &Path| fs::metadata(path).map(|root| root.dev()).ok();
        let is_apart = device(&lab.root()).is_some_and(|own| Some(own) != device(Path::new("/")));
        if line.trim() == "ready" && is_apart {
            return Ok(lab);
        }
        let why = "this machine gives no overlay, or no processes of their own, in a namespace".to_owned();
        Err(PlaceError::NoLab { why })
    }

    fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.first).into()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        // nsenter opens the folder before it goes in, so `/` would be the machine's.
        let folder = format!("--wd={}", self.root().display());
        command.args([
            "--mount",
            "--pid",
            "--root",
            &folder,
            "--target",
            &self.first.to_string(),
            "--",
            program,
        ]);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // With the first process the kernel ends all others, and their mounts go with the last of them.
        if let Some(first) = i32::try_from(self.first).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(first, Signal::KILL);
        }
        for _ in 0..LOOKS_MAX {
            bury_strangers();
            if !matches!(self.holder.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        let _killed = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}
