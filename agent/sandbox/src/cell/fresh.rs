//! Whether the host is still what a cell was made from: a root that was built before a step may be told from one that would be built for it now.
//!
//! What is bound shows every change by itself. What is copied, what is linked, and which mounts there are does not.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

use crate::clock::timespec;
use crate::shim::ROOT_SOURCES;

/// The host as it was looked at once.
#[derive(Debug)]
pub(super) struct Host {
    sources: Vec<Option<Source>>,
    /// The kernel marks it when anything is mounted or taken off.
    mounts: File,
}

/// What tells one file from another, or from itself when it was written.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    inode: (u64, u64),
    mode: u32,
    /// Size and time of change of what is copied.
    content: Option<(u64, i64, i64)>,
}

impl Source {
    fn of(there: &Metadata) -> Self {
        let content = !there.is_dir();
        Self {
            inode: (there.dev(), there.ino()),
            mode: there.mode(),
            content: content.then(|| (there.size(), there.ctime(), there.ctime_nsec())),
        }
    }
}

impl Host {
    /// # Errors
    /// When this process cannot see its mounts.
    pub(super) fn look() -> io::Result<Self> {
        let host = Self {
            mounts: File::open("/proc/self/mountinfo")?,
            sources: sources(Path::new("/")),
        };
        // What was marked before is of no interest.
        let _before = host.has_new_mounts();
        Ok(host)
    }

    pub(super) fn is_unchanged(&self) -> bool {
        !self.has_new_mounts() && sources(Path::new("/")) == self.sources
    }

    fn has_new_mounts(&self) -> bool {
        let mut fds = [PollFd::new(&self.mounts, PollFlags::PRI)];
        !matches!(poll(&mut fds, Some(&timespec(0))), Ok(0))
    }
}

/// A link counts for itself, and where it is read through, so does what it leads to.
fn sources(root: &Path) -> Vec<Option<Source>> {
    let all = ROOT_SOURCES.iter().flat_map(|names| names.iter());
    let there = all.flat_map(|name| {
        let path = root.join(name);
        let link = fs::symlink_metadata(&path).ok();
        let is_read = name.starts_with("etc/") && link.as_ref().is_some_and(Metadata::is_symlink);
        [link, is_read.then(|| fs::metadata(&path).ok()).flatten()]
    });
    there.map(|there| there.as_ref().map(Source::of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_linked_or_exchanged_is_seen_and_what_is_bound_may_change() {
        let host = tempfile::tempdir().expect("makes a directory");
        let at = |name: &str| host.path().join(name);
        for directory in ["usr", "usr/bin", "opt", "etc", "run"] {
            fs::create_dir(at(directory)).expect("makes a directory");
        }
        std::os::unix::fs::symlink("usr/bin", at("bin")).expect("links");
        std::os::unix::fs::symlink("../run/resolv", at("etc/resolv.conf")).expect("links");
        fs::write(at("etc/hosts"), "a").expect("writes");
        let look = || sources(host.path());
        let before = look();
        fs::write(at("usr/bin/new"), "x").expect("writes");
        fs::create_dir(at("usr/new")).expect("makes a directory");
        assert_eq!(look(), before, "a tree is bound, and shows it");
        let changes: [(&str, &dyn Fn() -> io::Result<()>); 5] = [
            ("copied", &|| fs::write(at("etc/hosts"), "ab")),
            ("behind a link", &|| fs::write(at("run/resolv"), "name")),
            ("come", &|| fs::create_dir(at("lib"))),
            ("exchanged", &|| {
                fs::rename(at("opt"), at("old")).and_then(|()| fs::create_dir(at("opt")))
            }),
            ("a tree instead of a link", &|| {
                fs::remove_file(at("bin")).and_then(|()| fs::create_dir(at("bin")))
            }),
        ];
        for (what, change) in changes {
            let before = look();
            change().expect(what);
            assert_ne!(look(), before, "{what}");
        }
        assert!(Host::look().expect("looks").is_unchanged());
    }
}
