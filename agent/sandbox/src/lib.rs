//! Runs one process tree under limits, accounts for it and ends it. The only `unsafe` of the house is in and below `kernel`.
//!
//! How a step becomes a process: the agent starts its own binary again as a *shim* (so that the big process never forks). This *starter* forks
//! a *reaper* for each step, as a child of the agent; the agent tells the reaper over a socket what to do, and watches. The reaper's child joins
//! the step's cgroup, makes its namespaces, sets every limit and **reads it back**, reports and becomes the program. The reaper stays outside of
//! the cgroup and outside of the namespaces: it collects whatever the tree leaves behind and what it used.
//!
//! ```text
//! agent ┬─ starter (makes reapers; goes when it was not needed for a while)
//!       └─ reaper (own session, subreaper, dies with the agent)
//!            ├─ none:        program
//!            ├─ namespaces:  init (pid 1) ── program
//!            └─ strict:      init (pid 1, new root) ── program (own ids, no capabilities, Landlock, seccomp)
//! ```
//!
//! For `strict` the reaper, its init and who becomes the program are made before a step is asked for, as a *cell* that waits for one (`cell`).
//! A step that finds none is started as above.
//!
//! The binary that embeds this crate calls [`maybe_run_shim`] before anything else in `main`.
//!
//! Not here: what to run and what its outcome means (`writ-providers`, `writ-agent`).

mod capture;
mod cell;
mod cgroup;
mod clock;
mod control;
mod error;
mod kernel;
mod launch;
mod line;
mod loopback;
mod reading;
mod sandbox;
mod shim;
mod spec;
mod starter;
mod tree;
mod watch;
mod wire;

/// Runs a program without arguments in the namespaces of a strict step, and nothing more: the floor that benches put beside a step. Its exit
/// status; 127 also when it could not be started, -1 when a signal ended it.
///
/// # Errors
/// When the kernel refuses the process or one of its namespaces.
pub fn run_bare(program: &std::ffi::CStr) -> std::io::Result<i32> {
    kernel::run_in_namespaces(program)
}

pub use capture::CapturedOutput;
pub use control::Control;
pub use error::Error;
pub use loopback::Loopback;
pub use reading::only_reading;
pub use sandbox::{CgroupBase, Config, Sandbox};
pub use shim::maybe_run_shim;
pub use spec::{
    Network, OUTPUT_CHUNK_BYTES_MAX, Outcome, ROOM_TO_WRITE, Spec, Stream, TERMINATE_GRACE, User,
};
