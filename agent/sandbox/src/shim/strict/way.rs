//! The way back to a tree of mounts that this process was in.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

use crate::wire::Failure;

/// Handles on a namespace of mounts, and on the root that a process had in it: entering the first alone leads to its outermost root.
pub(in crate::shim) struct Way {
    mounts: OwnedFd,
    root: OwnedFd,
}

impl Way {
    /// To where this process is.
    ///
    /// # Errors
    /// When there is no `/proc` here, or no descriptor left.
    pub(in crate::shim) fn here() -> Result<Self, Failure> {
        let wrong = |e: io::Error| Failure::isolation("hold the mounts", e);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            mounts: File::open("/proc/self/ns/mnt").map_err(wrong)?.into(),
            root: rustix::fs::open("/", flags, Mode::empty()).map_err(|e| wrong(e.into()))?,
        })
    }

    /// The namespace alone: whoever holds it keeps it from ending.
    pub(in crate::shim) fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }

    /// Goes there; the working directory is the root then.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::shim) fn go(&self) -> Result<(), Failure> {
        let wrong = |e| Failure::isolation("go back to the mounts", e);
        let kind = Some(LinkNameSpaceType::Mount);
        rustix::thread::move_into_link_name_space(self.mounts.as_fd(), kind).map_err(wrong)?;
        rustix::process::fchdir(&self.root).map_err(wrong)?;
        rustix::process::chroot(".").map_err(wrong)
    }
}
