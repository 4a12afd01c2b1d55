//! `strict`: a new root, ids of the step's own, no capability, Landlock where the kernel has it, a system call filter.
//!
//! Everything is installed or the step is refused, and before the program starts the kernel is asked what holds: what is reported is what was read
//! back. Only Landlock may be missing, and is then reported as missing.

mod filter;
mod identity;
mod landlock;
mod look;
mod reading;
mod root;
mod seal;
mod way;

use std::path::Path;

use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets};
use writ_protocol::exec::EffectiveLimit;

use self::identity::Identity;
use self::root::Root;
use self::seal::Mount;
use crate::kernel;
use crate::wire::{Failure, Instruction};

pub(super) use self::look::{Look, close_mounts, close_mounts_to_who_asks};
pub(crate) use self::reading::only_read;
pub(crate) use self::root::ROOT_SOURCES;
pub(super) use self::root::{Brought, Site};
pub(super) use self::way::Way;

/// More capabilities than the kernel will ever have; it says where they end.
const CAPABILITIES_MAX: u32 = 64;
/// What `/proc` calls a process that has a filter.
const FILTERED: u64 = 2;

/// Where a strict step lives, and what is still to be closed behind it.
pub(super) struct Room {
    identity: Identity,
    root: Root,
}

impl Room {
    /// In the process that becomes the program, in its root: puts what it brought where it belongs.
    ///
    /// # Errors
    /// When a part cannot be had.
    pub(super) fn furnish(
        site: Site,
        brought: Brought,
        instruction: &Instruction,
        reaper: Pid,
    ) -> Result<Self, Failure> {
        let identity = Identity::choose(brought.owner(), reaper)?;
        let root = root::furnish(site, brought, instruction, &identity)?;
        Ok(Self { identity, root })
    }

    /// The program, where it is not found under the name that it was given.
    pub(super) fn program(&self) -> Option<&Path> {
        self.root.program.as_deref()
    }

    /// The working directory.
    pub(super) fn cwd(&self) -> &Path {
        &self.root.cwd
    }

    /// In the process that becomes the program: gives up every id and capability that is not the step's.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn give_up_privileges(&self) -> Result<(), Failure> {
        let wrong = |what: &'static str| move |e: rustix::io::Errno| Failure::isolation(what, e);
        if self.identity.is_taken {
            let Identity { uid, gid, .. } = self.identity;
            rustix::thread::set_thread_groups(&[]).map_err(wrong("leave every group"))?;
            rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(wrong("take the step's group"))?;
            rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(wrong("take the step's user"))?;
        }
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).map_err(wrong("drop capabilities"))
    }

    /// Closes what is left open, and asks the kernel what holds.
    ///
    /// # Errors
    /// When something cannot be installed, or reads back differently.
    pub(super) fn close(&self) -> Result<Vec<EffectiveLimit>, Failure> {
        self.check_mounts()?;
        let landlock = landlock::restrict(&self.root.writable, root::DEVICES_WRITTEN)
            .map_err(|e| Failure::isolation("install Landlock", e))?;
        let filter = filter::filter().ok_or_else(|| {
            Failure::isolation(
                "install a system call filter",
                "none is written for this architecture",
            )
        })?;
        kernel::filter_system_calls(filter)
            .map_err(|e| Failure::isolation("install a system call filter", e))?;
        let mut effective = self.read_back(&read("/proc/self/status")?)?;
        effective.push(limit(
            "landlock",
            landlock::YOUNGEST_KNOWN.into(),
            landlock.into(),
        ));
        Ok(effective)
    }

    fn read_back(&self, status: &str) -> Result<Vec<EffectiveLimit>, Failure> {
        let (uid, gid) = (self.identity.uid.as_raw(), self.identity.gid.as_raw());
        let four_times = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
        let none = format!("{:016x}", 0);
        let mut rows = vec![
            ("Uid:", four_times(uid)),
            ("Gid:", four_times(gid)),
            ("NoNewPrivs:", "1".to_owned()),
            ("Seccomp:", FILTERED.to_string()),
        ];
        rows.extend(["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(|row| (row, none.clone())));
        if self.identity.is_taken {
            rows.push(("Groups:", String::new()));
        }
        read_back_rows(status, &rows)?;
        Ok(vec![
            limit("uid", uid.into(), uid.into()),
            limit("capabilities", 0, 0),
            limit("no-new-privs", 1, 1),
            limit("seccomp", FILTERED, FILTERED),
        ])
    }

    /// Every mount is one of ours, lets nobody gain rights, and is read-only unless the step may write there. Where the root was sealed while it
    /// waited, what was mounted then is mounted still, and nothing else but what the step brought.
    fn check_mounts(&self) -> Result<(), Failure> {
        let text = read(seal::MOUNTS)?;
        let mounts: Vec<Mount<'_>> = text.lines().map(Mount::parse).collect();
        let root = &self.root;
        for mount in &mounts {
            let point = mount.point.as_path();
            let is_below =
                |places: &[std::path::PathBuf]| places.iter().any(|place| point.starts_with(place));
            let is_ours = point == Path::new("/") || is_below(&root.places);
            if !is_ours || !mount.has("nosuid") || !(mount.has("ro") || is_below(&root.writable)) {
                let detail = format!("{} is mounted with {}", point.display(), mount.options);
                return Err(Failure::isolation("read back the mounts", detail));
            }
        }
        root.seal
            .as_ref()
            .map_or(Ok(()), |seal| seal.check_mounts(&mounts, &root.brought))
    }
}

/// In the starter: makes what is the same for every step.
pub(super) fn make_ready() {
    let _made = filter::filter();
}

/// In the process that becomes the program: gives up every right that it does not need itself until then.
///
/// # Errors
/// What the kernel says.
pub(super) fn give_up_bounds() -> Result<(), Failure> {
    give_up_bounds_but(CapabilitySet::empty())
}

fn give_up_bounds_but(kept: CapabilitySet) -> Result<(), Failure> {
    let wrong = |what: &'static str| move |e: rustix::io::Errno| Failure::isolation(what, e);
    for capability in 0..CAPABILITIES_MAX {
        let one = CapabilitySet::from_bits_retain(1 << capability);
        if kept.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) if capability > 0 => break,
            Err(e) => return Err(wrong("drop the bounding set")(e)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(wrong("drop ambient capabilities"))
}

/// Compares lines of `/proc/self/status` with what they should say.
pub(super) fn read_back_rows(status: &str, rows: &[(&str, String)]) -> Result<(), Failure> {
    for (name, wanted) in rows {
        let read = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim);
        if read != Some(wanted.as_str()) {
            let read = read.unwrap_or("nothing");
            return Err(Failure::isolation(
                &format!("read back {name}"),
                format!("it is {read}, not {wanted}"),
            ));
        }
    }
    Ok(())
}

pub(super) fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::isolation(&format!("read {path}"), e))
}

fn limit(name: &str, requested: u64, effective: u64) -> EffectiveLimit {
    EffectiveLimit {
        name: name.to_owned(),
        requested,
        effective,
        by: "kernel".to_owned(),
    }
}
