//! What to run and what came of it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ_protocol::exec::{EffectiveLimit, Exit, Isolation, KillConfidence, Limits, Usage};

use crate::capture::CapturedOutput;
use crate::loopback::Loopback;

/// Time between SIGTERM and SIGKILL when a step is asked to stop, unless its [`Spec`] says otherwise.
pub const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// Most bytes handed to the output callback at once.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 16 << 10;

/// Where a program may write that only asks: a memory of its own.
pub const ROOM_TO_WRITE: &str = "/dev/shm";

/// One program and the bounds it runs under.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Program and arguments; a program without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// What it reads at its standard input, such as the far end of a pipe; nothing where absent.
    pub input: Option<Arc<OwnedFd>>,
    /// The complete environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Bounds; every one is enforced or the run is refused.
    pub limits: Limits,
    /// Least isolation; a host that cannot give it refuses.
    pub isolation: Isolation,
    /// Whether it may only look: it reads every file, and changes none. For [`Isolation::Namespaces`], where the host's tree is to be seen.
    pub looks: bool,
    /// Whether the host's files are closed to its writing, with the ids and rights that it otherwise has; what it needs to write goes to a
    /// [`ROOM_TO_WRITE`] of its own. It keeps from changing things who asks, not who attacks: for that there is `looks`. For [`Isolation::Namespaces`];
    /// before Linux 5.12 nothing is closed.
    pub asks: bool,
    /// Whose ids and rights it has; the agent's where absent. Only under an agent that is root, and not with [`Isolation::Strict`] or `looks`, which
    /// have ids of their own.
    pub user: Option<User>,
    /// What is to be seen of the network. Without [`Isolation::Namespaces`] it is always the host's.
    pub network: Network,
    /// Time between SIGTERM and SIGKILL after [`crate::Control::terminate`].
    pub grace: Duration,
}

/// A user of the host, as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups; the order says nothing.
    pub groups: Vec<u32>,
}

/// What a program sees of the network.
#[derive(Clone, Debug, Default)]
pub enum Network {
    /// A loopback of its own, and nothing else.
    #[default]
    Own,
    /// A loopback that was made before and is shared with who is run in it before and after, and nothing else.
    Shared(Arc<Loopback>),
    /// The host's.
    Host,
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a run ended. The tree is gone when this is handed back.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the program ended.
    pub exit: Exit,
    /// What the kernel confirmed before the program started.
    pub effective: Vec<EffectiveLimit>,
    /// The isolation it had.
    pub isolation_reached: Isolation,
    /// How surely nothing of the tree is left.
    pub kill_confidence: KillConfidence,
    /// What the tree used.
    pub usage: Usage,
    /// What it wrote to its standard streams.
    pub output: CapturedOutput,
    /// The program's process id as the host sees it; 0 when it ended before it was known.
    pub pid: i32,
    /// When it started: microseconds of the boot-time clock.
    pub started_boot_us: u64,
}
