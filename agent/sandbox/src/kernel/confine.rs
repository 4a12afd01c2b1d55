//! The calls by which a process gives up rights for good: read-only mounts, Landlock, seccomp. Policy is not here, only the calls.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The first form of the kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Adds attributes (`MOUNT_ATTR_*`) to the mount that a descriptor stands for; with `below`, to all that is mounted in it too.
///
/// # Errors
/// What the kernel says; before Linux 5.12 there is no such call.
#[expect(unsafe_code, reason = "rustix has no mount_setattr")]
pub(crate) fn restrict_mount(mount: BorrowedFd<'_>, attributes: u64, below: bool) -> io::Result<()> {
    let wanted = MountAttributes {
        set: attributes,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if below { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, the structure is live and its true size is given; the kernel only reads both.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const wanted,
            size_of::<MountAttributes>(),
        )
    };
    answer(done).map(|_zero| ())
}

/// The kernel's `struct landlock_ruleset_attr`, as long as version 6 of its interface knows it.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scopes: u64,
}

/// The kernel's `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Version of the Landlock interface; 0 where the kernel has none or it is switched off.
#[expect(unsafe_code, reason = "neither std, libc nor rustix offers Landlock")]
pub(crate) fn landlock_version() -> u32 {
    let ask_version: libc::c_uint = 1;
    let nothing = std::ptr::null::<Ruleset>();
    // SAFETY: with this flag the kernel reads no structure.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, ask_version) };
    u32::try_from(version).unwrap_or(0)
}

/// A new Landlock ruleset that governs these rights on files and, from version 6 on, these scopes.
///
/// # Errors
/// What the kernel says.
#[expect(unsafe_code, reason = "neither std, libc nor rustix offers Landlock")]
pub(crate) fn landlock_ruleset(version: u32, files: u64, scopes: u64) -> io::Result<OwnedFd> {
    let ruleset = Ruleset {
        files,
        network: 0,
        scopes,
    };
    // An older kernel takes a longer structure only when the rest is zero: it is given what it knows.
    let size = match version {
        0..=3 => 8,
        4..=5 => 16,
        _ => size_of::<Ruleset>(),
    };
    let flags: libc::c_uint = 0;
    // SAFETY: the structure is live and at least `size` long; the kernel only reads it.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, flags) };
    let made = answer(made)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Allows rights on what is at and below `parent`.
///
/// # Errors
/// What the kernel says.
#[expect(unsafe_code, reason = "neither std, libc nor rustix offers Landlock")]
pub(crate) fn landlock_allow(ruleset: &OwnedFd, parent: BorrowedFd<'_>, allowed: u64) -> io::Result<()> {
    let rule = PathBeneath {
        allowed,
        parent: parent.as_raw_fd(),
    };
    let (path_beneath, flags): (libc::c_uint, libc::c_uint) = (1, 0);
    // SAFETY: the structure is live and of the type that this kind of rule has; the kernel only reads it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            path_beneath,
            &raw const rule,
            flags,
        )
    };
    answer(done).map(|_zero| ())
}

/// Puts this thread and all that comes of it under a ruleset, for good.
///
/// # Errors
/// What the kernel says.
#[expect(unsafe_code, reason = "neither std, libc nor rustix offers Landlock")]
pub(crate) fn landlock_restrict(ruleset: &OwnedFd) -> io::Result<()> {
    let flags: libc::c_uint = 0;
    // SAFETY: no memory is passed; what it does to this thread is what the caller wants.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_restrict_self,
            ruleset.as_fd().as_raw_fd(),
            flags,
        )
    };
    answer(done).map(|_zero| ())
}

/// Puts this thread and all that comes of it under a system call filter, for good.
///
/// # Errors
/// What the kernel says: a program that is wrong, or new privileges that are still possible.
#[expect(unsafe_code, reason = "rustix does not take filters")]
pub(crate) fn filter_system_calls(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: filter.as_ptr().cast_mut(),
    };
    let (set_filter, flags): (libc::c_uint, libc::c_uint) = (libc::SECCOMP_SET_MODE_FILTER, 0);
    // SAFETY: the structure and the program are live, the length is the program's; the kernel only reads them, `cast_mut` is for the type.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, set_filter, flags, &raw const program) };
    answer(done).map(|_zero| ())
}

fn answer(returned: libc::c_long) -> io::Result<i32> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(returned).map_err(|_| io::Error::other("the kernel's answer is strange"))
}
