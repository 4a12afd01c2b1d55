//! Who a strict step is: never root, and with root's agent nobody else that runs on the host either.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Gid, Pid, Uid};

use crate::wire::Failure;

/// Ids of steps begin here, and go on with the process id of the step's reaper, which no other step has at the time. No distribution, container
/// tool or service manager gives out ids of this range by itself.
const FIRST_OWN: u32 = 1_900_000_000;
/// Taken where the agent's own user namespace has no id of that range.
const NOBODY: u32 = 65_534;

/// The ids of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// The agent is root, so the ids are taken and not merely kept.
    pub(super) is_taken: bool,
}

impl Identity {
    /// The agent's own ids when it is not root. Otherwise those of the owner of the step's working directory, so that it can be prepared; and
    /// an id of the step's own when that is root, or when there is no such directory.
    ///
    /// # Errors
    /// When the agent's user namespace knows no id to take.
    pub(super) fn choose(owner: Option<&Metadata>, reaper: Pid) -> Result<Self, Failure> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if !uid.is_root() {
            return Ok(Self {
                uid,
                gid,
                is_taken: false,
            });
        }
        let known = known("/proc/self/uid_map")?.both(&known("/proc/self/gid_map")?);
        let owner = owner.map(|owner| (owner.uid(), owner.gid()));
        let (uid, gid) = choose(owner, reaper, |id| known.holds(id)).ok_or_else(|| {
            Failure::isolation(
                "take an id for the step",
                "this user namespace has no id to give but root",
            )
        })?;
        Ok(Self {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            is_taken: true,
        })
    }

    /// What the step reads in `/etc/passwd`: itself, and no name of the host.
    pub(super) fn passwd(&self) -> String {
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        format!("root:x:0:0::/:/usr/sbin/nologin\nstep:x:{uid}:{gid}::/tmp:/usr/sbin/nologin\n")
    }

    /// The same for `/etc/group`.
    pub(super) fn group(&self) -> String {
        format!("root:x:0:\nstep:x:{}:\n", self.gid.as_raw())
    }
}

fn choose(owner: Option<(u32, u32)>, reaper: Pid, is_known: impl Fn(u32) -> bool) -> Option<(u32, u32)> {
    if let Some((uid, gid)) = owner.filter(|&(uid, _)| uid != 0 && is_known(uid)) {
        let gid = if gid != 0 && is_known(gid) { gid } else { uid };
        return is_known(gid).then_some((uid, gid));
    }
    let own = FIRST_OWN.saturating_add(reaper.as_raw_nonzero().get().unsigned_abs());
    [own, NOBODY]
        .into_iter()
        .find(|&id| is_known(id))
        .map(|id| (id, id))
}

/// The ids that a user namespace knows.
struct Known(Vec<(u32, u32)>);

impl Known {
    fn parse(map: &str) -> Self {
        let range = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let (first, _outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some((first.ok()?, count.ok()?))
        };
        Self(map.lines().filter_map(range).collect())
    }

    fn holds(&self, id: u32) -> bool {
        self.0
            .iter()
            .any(|&(first, count)| id >= first && id - first < count)
    }

    /// What both know.
    fn both(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        for &(first, count) in &self.0 {
            for &(other_first, other_count) in &other.0 {
                let start = first.max(other_first);
                let end = first
                    .saturating_add(count)
                    .min(other_first.saturating_add(other_count));
                if start < end {
                    both.push((start, end - start));
                }
            }
        }
        Self(both)
    }
}

fn known(path: &str) -> Result<Known, Failure> {
    let map = std::fs::read_to_string(path).map_err(|e| Failure::isolation(&format!("read {path}"), e))?;
    Ok(Known::parse(&map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_its_directorys_owner_or_an_id_of_its_own_and_never_root() {
        let reaper = Pid::from_raw(77).expect("a number");
        let everything = |_| true;
        assert_eq!(
            choose(Some((1_000, 1_001)), reaper, everything),
            Some((1_000, 1_001))
        );
        assert_eq!(
            choose(Some((1_000, 0)), reaper, everything),
            Some((1_000, 1_000)),
            "never root's group"
        );
        for owner in [None, Some((0, 0)), Some((0, 1_000))] {
            assert_eq!(
                choose(owner, reaper, everything),
                Some((FIRST_OWN + 77, FIRST_OWN + 77))
            );
        }
        let few = Known::parse("         0     100000      65536\n");
        assert_eq!(choose(None, reaper, |id| few.holds(id)), Some((NOBODY, NOBODY)));
        assert_eq!(
            choose(Some((70_000, 5)), reaper, |id| few.holds(id)),
            Some((NOBODY, NOBODY))
        );
        assert_eq!(choose(None, reaper, |id| id == 0), None);
        let both = few.both(&Known::parse("0 0 10\n20 20 5\n"));
        assert_eq!(both.0, [(0, 10), (20, 5)]);
    }
}
