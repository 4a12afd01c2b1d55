//! Who only looks: a program that sees the host's whole tree and can change nothing of it.
//!
//! Every mount of its namespace is read-only, and it has neither root's ids nor a capability by which that could be taken back. With root's agent it
//! keeps one, to read what is not its own. Landlock, where the kernel has it, is the second wall; a system call filter the third.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets};
use writ_protocol::exec::EffectiveLimit;

use super::identity::Identity;
use super::seal::{self, Mount};
use super::{FILTERED, filter, give_up_bounds_but, landlock, limit, read, root};
use crate::kernel;
use crate::spec::ROOM_TO_WRITE;
use crate::wire::Failure;

/// How much a program that asks may write.
const ROOM_OPTIONS: &CStr = c"mode=1777,size=16m";
/// Reading what is somebody else's.
const READS_ALL: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// A program that may only look.
pub(in crate::shim) struct Look {
    identity: Identity,
}

/// In the init, in its own namespace of mounts: makes everything read-only that is mounted there.
///
/// # Errors
/// What the kernel says; before Linux 5.12 it cannot.
pub(in crate::shim) fn close_mounts() -> Result<(), Failure> {
    close_all().map_err(|e| Failure::isolation("make the host's tree read-only", e))
}

fn close_all() -> io::Result<()> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY.bits();
    kernel::restrict_mount(std::os::fd::AsFd::as_fd(&root), attributes.into(), true)
}

/// The same for a program that keeps its rights and only asks, such as a guard; with a little memory in which it may write. Where the kernel has no call
/// for it the program runs as it would without.
///
/// # Errors
/// What else the kernel says.
pub(in crate::shim) fn close_mounts_to_who_asks() -> Result<(), Failure> {
    match close_all() {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) => return Ok(()),
        closed => closed.map_err(|e| Failure::isolation("close the host's files", e))?,
    }
    if !Path::new(ROOM_TO_WRITE).is_dir() {
        return Ok(());
    }
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", ROOM_TO_WRITE, "tmpfs", quiet, Some(ROOM_OPTIONS))
        .map_err(|e| Failure::isolation("make room to write", e))
}

impl Look {
    /// In the process that becomes the program.
    ///
    /// # Errors
    /// When the agent's user namespace knows no id to take.
    pub(in crate::shim) fn new(reaper: Pid) -> Result<Self, Failure> {
        let identity = Identity::choose(None, reaper)?;
        Ok(Self { identity })
    }

    fn kept(&self) -> CapabilitySet {
        // What one's own user namespace gives reaches nothing of others.
        if self.identity.is_taken {
            READS_ALL
        } else {
            CapabilitySet::empty()
        }
    }

    /// Gives up every id and every right but the one to read.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::shim) fn give_up_privileges(&self) -> Result<(), Failure> {
        let wrong = |what: &'static str| move |e: rustix::io::Errno| Failure::isolation(what, e);
        let kept = self.kept();
        give_up_bounds_but(kept)?;
        if self.identity.is_taken {
            let Identity { uid, gid, .. } = self.identity;
            rustix::thread::set_keep_capabilities(true).map_err(wrong("keep the right to read"))?;
            rustix::thread::set_thread_groups(&[]).map_err(wrong("leave every group"))?;
            rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(wrong("take the step's group"))?;
            rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(wrong("take the step's user"))?;
        }
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        };
        rustix::thread::set_capabilities(None, sets).map_err(wrong("drop capabilities"))?;
        if !kept.is_empty() {
            rustix::thread::configure_capability_in_ambient_set(kept, true)
                .map_err(wrong("hand on the right to read"))?;
        }
        Ok(())
    }

    /// Closes what is left open, and asks the kernel what holds.
    ///
    /// # Errors
    /// When something cannot be installed, or reads back differently.
    pub(in crate::shim) fn close(&self) -> Result<Vec<EffectiveLimit>, Failure> {
        let mounts = read(seal::MOUNTS)?;
        if let Some(open) = mounts.lines().map(Mount::parse).find(|mount| !mount.has("ro")) {
            let detail = format!("{} is mounted with {}", open.point.display(), open.options);
            return Err(Failure::isolation("read back the mounts", detail));
        }
        let nowhere: [&Path; 0] = [];
        let landlock = landlock::restrict(&nowhere, root::DEVICES_WRITTEN)
            .map_err(|e| Failure::isolation("install Landlock", e))?;
        let calls = filter::filter().ok_or_else(|| {
            Failure::isolation(
                "install a system call filter",
                "none is written for this architecture",
            )
        })?;
        kernel::filter_system_calls(calls)
            .map_err(|e| Failure::isolation("install a system call filter", e))?;
        self.read_back(&read("/proc/self/status")?)?;
        Ok(vec![
            limit(
                "capabilities",
                self.kept().bits().count_ones().into(),
                self.kept().bits().count_ones().into(),
            ),
            limit("no-new-privs", 1, 1),
            limit("seccomp", FILTERED, FILTERED),
            limit("landlock", landlock::YOUNGEST_KNOWN.into(), landlock.into()),
        ])
    }

    fn read_back(&self, status: &str) -> Result<(), Failure> {
        let (uid, gid) = (self.identity.uid.as_raw(), self.identity.gid.as_raw());
        let four_times = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
        let kept = format!("{:016x}", self.kept().bits());
        let mut rows = vec![
            ("Uid:", four_times(uid)),
            ("Gid:", four_times(gid)),
            ("NoNewPrivs:", "1".to_owned()),
            ("Seccomp:", FILTERED.to_string()),
        ];
        rows.extend(["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(|row| (row, kept.clone())));
        super::read_back_rows(status, &rows)
    }
}
