//! The system calls that no safe function covers. Everything `unsafe` of the house stands in this file and below it.

mod bare;
mod confine;

use std::io;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

pub(crate) use bare::run_in_namespaces;
pub(crate) use confine::{
    filter_system_calls, landlock_allow, landlock_restrict, landlock_ruleset, landlock_version,
    restrict_mount,
};

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Fork {
    /// The parent; the child's process id.
    Parent(Pid),
    /// The child.
    Child,
}

/// What a reaped child was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    /// Its process id.
    pub(crate) pid: i32,
    /// Its exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// What it and the children it had waited for used.
    pub(crate) rusage: Rusage,
}

/// What the kernel counted for a reaped child and its own reaped children.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rusage {
    /// Microseconds in user mode.
    pub(crate) user_us: u64,
    /// Microseconds in the kernel.
    pub(crate) system_us: u64,
    /// Largest resident memory of one process, bytes.
    pub(crate) max_rss_bytes: u64,
    /// Blocks of 512 bytes read.
    pub(crate) blocks_in: u64,
    /// Blocks of 512 bytes written.
    pub(crate) blocks_out: u64,
}

/// Forks a reaper or an init.
///
/// # Errors
/// When the kernel refuses another process.
#[expect(
    unsafe_code,
    reason = "neither std nor rustix offers fork; posix_spawn cannot set limits or enter namespaces"
)]
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: only the shim calls this, which never starts a thread (`single_threaded` says so), so the child's copy of memory, locks
    // included, is consistent and may be used without restriction.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        _ => Pid::from_raw(pid)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::other("fork returned a negative process id")),
    }
}

/// Forks the starter; the child becomes a child of the starter's own parent.
///
/// # Errors
/// When the kernel refuses another process.
#[expect(
    unsafe_code,
    reason = "neither std nor rustix offers fork, and the C library none whose child is a sibling"
)]
pub(crate) fn fork_sibling() -> io::Result<Fork> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM and without a stack of its own the child gets a copy of all memory and goes on here, as after `fork`. Only the
    // starter calls this, which has one thread (`single_threaded` says so), so the copy is consistent. What the C library would have done
    // around its own fork is for other threads, of which there are none; the thread id that it keeps is renewed by the next `fork`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        _ => i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::other("clone returned no process id")),
    }
}

/// Ends this process and calls nobody: what others registered for the end of the agent's own program is not the business of a copy of it, inside a
/// room that is the step's.
#[expect(unsafe_code, reason = "neither std nor rustix offers an end without handlers")]
pub(crate) fn end_at_once(code: i32) -> ! {
    // SAFETY: it takes a number, and does not return.
    unsafe { libc::_exit(code) }
}

/// Whether this process has one thread: what [`fork`] and [`unshare`] rest on.
pub(crate) fn single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Waits for any child; `None` when there is none left.
///
/// # Errors
/// Whatever the kernel says besides `ECHILD` and `EINTR`.
#[expect(
    unsafe_code,
    reason = "rustix has no wait4, and only wait4 tells what one child used"
)]
pub(crate) fn wait_any() -> io::Result<Option<Reaped>> {
    loop {
        let mut status = 0;
        // SAFETY: `rusage` is plain numbers, for which zero bytes are a value.
        let mut rusage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live locals of the right types.
        let pid = unsafe { libc::wait4(-1, &raw mut status, 0, &raw mut rusage) };
        if pid > 0 {
            let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
            let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
            return Ok(Some(Reaped {
                pid,
                code,
                signal,
                rusage: Rusage::from(&rusage),
            }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Kills everyone in this process namespace but this process, which is its init. Nobody there is what we want too.
///
/// # Errors
/// When this process is no init: outside of a namespace of its own the same call would reach the whole machine.
#[expect(unsafe_code, reason = "rustix does not signal everyone at once")]
pub(crate) fn kill_everyone_else() -> io::Result<()> {
    if !rustix::process::getpid().is_init() {
        return Err(io::Error::other("only the init of a namespace may do that"));
    }
    // SAFETY: no memory is involved. The kernel leaves out the caller, and whoever is not of its namespace.
    let _nobody = unsafe { libc::kill(-1, libc::SIGKILL) };
    Ok(())
}

/// Moves this process into new namespaces.
///
/// # Errors
/// What the kernel says.
#[expect(
    unsafe_code,
    reason = "unshare is unsafe in rustix because of shared descriptor tables"
)]
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the hazard is CLONE_FILES, which no caller here passes, and other threads, of which the shim has none.
    unsafe { rustix::thread::unshare_unsafe(flags.difference(UnshareFlags::FILES)) }
}

/// Marks every descriptor above standard error so that a program does not inherit it.
///
/// # Errors
/// When the kernel is older than 5.11.
#[expect(unsafe_code, reason = "rustix has no close_range")]
pub(crate) fn close_above_stderr_on_exec() -> io::Result<()> {
    let above_stderr: libc::c_uint = 3;
    // SAFETY: nothing is closed now: the flag only marks descriptors, so whoever owns one can go on using it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            above_stderr,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives every signal its default action, so that nothing the agent ignores stays ignored in the program.
#[expect(unsafe_code, reason = "rustix does not change signal actions")]
pub(crate) fn reset_signals() {
    // The kernel's own form of an action: handler, flags, restorer, mask. All zero is the default action on every architecture.
    let default = [0_u64; 4];
    let mask_bytes: libc::size_t = 8;
    let (highest, nowhere) = (libc::SIGRTMAX(), std::ptr::null_mut::<u64>());
    // The C library's `signal` keeps two signals to itself, and they too can be inherited as ignored.
    for signal in 1..=highest {
        // SAFETY: the kernel reads at most the 32 bytes of `default` and writes nothing; the default action runs no code of ours. Signals
        // whose action cannot be changed are refused by the kernel, which is as well.
        let _refused = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                nowhere,
                mask_bytes,
            )
        };
    }
}

impl From<&libc::rusage> for Rusage {
    fn from(raw: &libc::rusage) -> Self {
        let micros = |time: libc::timeval| {
            unsigned(time.tv_sec)
                .saturating_mul(1_000_000)
                .saturating_add(unsigned(time.tv_usec))
        };
        Self {
            user_us: micros(raw.ru_utime),
            system_us: micros(raw.ru_stime),
            max_rss_bytes: unsigned(raw.ru_maxrss).saturating_mul(1_024),
            blocks_in: unsigned(raw.ru_inblock),
            blocks_out: unsigned(raw.ru_oublock),
        }
    }
}

impl Rusage {
    /// Adds a sibling: times add up, the peak is the larger one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.user_us = self.user_us.saturating_add(other.user_us);
        self.system_us = self.system_us.saturating_add(other.system_us);
        self.max_rss_bytes = self.max_rss_bytes.max(other.max_rss_bytes);
        self.blocks_in = self.blocks_in.saturating_add(other.blocks_in);
        self.blocks_out = self.blocks_out.saturating_add(other.blocks_out);
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
