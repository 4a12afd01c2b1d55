//! Whose ids a program has that is to be run as a user of the host.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::strict;
use crate::spec::User;
use crate::wire::Failure;

/// Takes the user's ids and groups, keeps no right of the agent's, and asks the kernel what holds.
///
/// # Errors
/// When an id cannot be taken, or reads back differently.
pub(super) fn become_it(user: &User) -> Result<(), Failure> {
    let wrong = |what: &'static str| move |e: rustix::io::Errno| Failure::isolation(what, e);
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups).map_err(wrong("take the user's groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(wrong("take the user's group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(wrong("take the user's id"))?;
    let is_root = uid.is_root();
    if !is_root {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        rustix::thread::set_capabilities(None, sets).map_err(wrong("drop capabilities"))?;
    }
    let four_times = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    let mut sorted = user.groups.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let listed: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("Uid:", four_times(user.uid)),
        ("Gid:", four_times(user.gid)),
        ("Groups:", listed.join(" ")),
    ];
    if !is_root {
        let none = "0".repeat(16);
        rows.extend(["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].map(|row| (row, none.clone())));
    }
    strict::read_back_rows(&strict::read("/proc/self/status")?, &rows)
}
