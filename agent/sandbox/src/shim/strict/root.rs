//! The new root: a small file system in memory with what programs need, read-only, and the step's own directory and `/tmp` to write in.
//!
//! What is bound from the host is opened before the new root covers anything, so no name is looked up twice, and is restricted before it is placed,
//! so there is no moment in which it can be written through. Nothing of the old root is left but what stands here.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::identity::Identity;
use crate::kernel;
use crate::wire::{Failure, Instruction, Sight};

/// Where the new root is put together; every Linux has this directory, and it is covered by a `/tmp` of the step's own in any case.
const SITE: &str = "/tmp";
/// Trees of programs and what they load. A link of this name is made again, as merged systems have it for all but `usr`.
const TREES: &[&str] = &["usr", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Trees of `/etc` that programs look into and that hold no secrets.
const SETTINGS_TREES: &[&str] = &[
    "etc/alternatives",
    "etc/ssl/certs",
    "etc/pki/tls/certs",
    "etc/pki/ca-trust/extracted",
];
/// Files of `/etc` of the same kind; they are copied.
const SETTINGS: &[&str] = &[
    "etc/ld.so.cache",
    "etc/nsswitch.conf",
    "etc/localtime",
    "etc/timezone",
    "etc/protocols",
    "etc/services",
    "etc/ssl/openssl.cnf",
];
/// Those that tell of the host's network.
const NETWORK_SETTINGS: &[&str] = &["etc/hosts", "etc/resolv.conf"];
/// Larger ones are left out.
const SETTING_BYTES_MAX: u64 = 1 << 20;
/// Devices that hold nothing of the host.
const DEVICES: &[&str] = &["dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom"];
/// Those that may be written; the modes of the others say so too, and Landlock does not.
pub(super) const DEVICES_WRITTEN: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];
const LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/shm", "/tmp"),
    ("var/tmp", "/tmp"),
    ("etc/mtab", "/proc/self/mounts"),
    ("etc/os-release", "../usr/lib/os-release"),
];
const DIRECTORIES: &[&str] = &[
    "dev", "etc", "etc/ssl", "proc", "run", "tmp", "var", "var/lib", "home", "root",
];
/// What a working directory cannot be in: these show the kernel and the machine.
const NOT_FOR_STEPS: &[&str] = &["/proc", "/sys", "/dev"];
/// Files and directories of a step's `/tmp`.
const TMP_FILES_MAX: u32 = 65_536;

/// What was built.
pub(super) struct Root {
    /// The working directory, without symbolic links.
    pub(super) cwd: PathBuf,
    /// The program where it is a file of its own, outside of the trees.
    pub(super) program: Option<PathBuf>,
    /// Where the step may write.
    pub(super) writable: Vec<PathBuf>,
    /// Everything that is mounted, or mounted below.
    pub(super) places: Vec<PathBuf>,
}

/// A part of the host's tree on its way into the new root.
struct Piece {
    tree: OwnedFd,
    place: PathBuf,
    is_directory: bool,
}

/// The working directory as it was found on the host.
pub(super) struct Found {
    handle: OwnedFd,
    path: PathBuf,
    pub(super) owner: fs::Metadata,
}

impl Found {
    /// # Errors
    /// When there is no such directory, or it is not for steps.
    pub(super) fn directory(path: &str) -> Result<Self, Failure> {
        let found = Self::open(path, OFlags::DIRECTORY).map_err(|e| Failure::start(path, e))?;
        if NOT_FOR_STEPS.iter().any(|not| found.path.starts_with(not)) {
            return Err(Failure::isolation(
                &format!("use {path} as working directory"),
                "the new root has no part of the host's /proc, /sys and /dev",
            ));
        }
        Ok(found)
    }

    fn open(path: &str, flags: OFlags) -> io::Result<Self> {
        let handle = fs::File::from(rustix::fs::open(
            path,
            OFlags::PATH | OFlags::CLOEXEC | flags,
            Mode::empty(),
        )?);
        let owner = handle.metadata()?;
        let handle = OwnedFd::from(handle);
        Ok(Self {
            path: rustix::fs::readlinkat(CWD, own_descriptor(&handle), Vec::new()).map(|text| {
                PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(
                    text.into_bytes(),
                ))
            })?,
            handle,
            owner,
        })
    }

    /// Whether the new root has its own there.
    pub(super) fn is_replaced(&self) -> bool {
        self.path == Path::new("/") || self.path == Path::new(SITE)
    }
}

fn own_descriptor(handle: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// Builds the root, and makes it this process's.
///
/// # Errors
/// When a part of it cannot be had.
pub(super) fn enter(instruction: &Instruction, cwd: Found, identity: &Identity) -> Result<Root, Failure> {
    let mut root = Root {
        cwd: cwd.path.clone(),
        program: None,
        writable: vec![PathBuf::from("/tmp")],
        places: vec!["/proc".into(), "/tmp".into()],
    };
    let mut pieces = Vec::new();
    for name in TREES.iter().chain(SETTINGS_TREES) {
        let path = Path::new("/").join(name);
        if fs::symlink_metadata(&path).is_ok_and(|there| there.is_dir()) {
            let attributes = read_only() | MountAttrFlags::MOUNT_ATTR_NODEV;
            pieces.push(piece_of(&path, true, attributes)?);
        }
    }
    for name in DEVICES {
        let attributes = read_only() | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        pieces.push(piece_of(&Path::new("/").join(name), false, attributes)?);
    }
    pieces.extend(program_piece(instruction, &cwd, &mut root)?);
    if !cwd.is_replaced() {
        root.writable.push(cwd.path.clone());
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        pieces.push(piece(&cwd.handle, cwd.path, true, attributes)?);
    }
    let settings = read_settings(instruction.network == Sight::Host);
    mount_site(instruction, identity, &settings).map_err(|e| Failure::isolation("make a new root", e))?;
    for piece in pieces {
        place(&piece).map_err(|e| Failure::isolation(&format!("bind {}", piece.place.display()), e))?;
        root.places.push(piece.place);
    }
    pivot().map_err(|e| Failure::isolation("change the root", e))?;
    Ok(root)
}

fn read_only() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID
}

fn piece_of(path: &Path, is_directory: bool, attributes: MountAttrFlags) -> Result<Piece, Failure> {
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let handle = handle.map_err(|e| Failure::isolation(&format!("open {}", path.display()), e))?;
    piece(&handle, path.to_path_buf(), is_directory, attributes)
}

fn piece(
    handle: &OwnedFd,
    place: PathBuf,
    is_directory: bool,
    attributes: MountAttrFlags,
) -> Result<Piece, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let wrong = |e| Failure::isolation(&format!("copy the mount of {}", place.display()), e);
    let tree = rustix::mount::open_tree(handle, c"", flags).map_err(|e| wrong(e.into()))?;
    kernel::restrict_mount(tree.as_fd(), attributes.bits().into(), true).map_err(wrong)?;
    Ok(Piece {
        tree,
        place,
        is_directory,
    })
}

/// A program that is named by its path and is in none of the trees comes along alone.
fn program_piece(instruction: &Instruction, cwd: &Found, root: &mut Root) -> Result<Option<Piece>, Failure> {
    let Some(named) = instruction.argv.first().filter(|name| name.starts_with('/')) else {
        return Ok(None);
    };
    if is_in_trees(Path::new(named)) {
        return Ok(None);
    }
    let found = Found::open(named, OFlags::empty()).map_err(|e| Failure::start(named, e))?;
    if !found.owner.is_file() {
        return Err(Failure::start(named, "it is no file"));
    }
    root.program = Some(found.path.clone());
    let comes_anyway = is_in_trees(&found.path) || (!cwd.is_replaced() && found.path.starts_with(&cwd.path));
    if comes_anyway {
        return Ok(None);
    }
    let attributes = read_only() | MountAttrFlags::MOUNT_ATTR_NODEV;
    piece(&found.handle, found.path, false, attributes).map(Some)
}

fn is_in_trees(path: &Path) -> bool {
    path.strip_prefix("/")
        .is_ok_and(|path| TREES.iter().any(|tree| path.starts_with(tree)))
}

/// A file of `/etc` as the new root gets it.
enum Setting {
    File(Vec<u8>),
    Link(PathBuf),
}

fn read_settings(network: bool) -> Vec<(&'static str, Setting)> {
    let of_network = if network { NETWORK_SETTINGS } else { &[] };
    let read = |name: &&'static str| {
        let path = Path::new("/").join(name);
        // The zone of the clock is a link into a tree that comes along.
        if let Ok(target) = fs::read_link(&path)
            && target.starts_with("/usr")
        {
            return Some((*name, Setting::Link(target)));
        }
        let small =
            fs::metadata(&path).is_ok_and(|there| there.is_file() && there.len() <= SETTING_BYTES_MAX);
        // A program does without what the host does not have.
        let bytes = small.then(|| fs::read(&path).ok()).flatten()?;
        Some((*name, Setting::File(bytes)))
    };
    SETTINGS.iter().chain(of_network).filter_map(read).collect()
}

fn mount_site(
    instruction: &Instruction,
    identity: &Identity,
    settings: &[(&str, Setting)],
) -> io::Result<()> {
    let (site, quiet) = (Path::new(SITE), MountFlags::NOSUID | MountFlags::NODEV);
    tmpfs(site, quiet, "mode=0755,size=16m,nr_inodes=4096")?;
    for directory in DIRECTORIES {
        fs::create_dir(site.join(directory))?;
    }
    for (link, target) in LINKS {
        std::os::unix::fs::symlink(target, site.join(link))?;
    }
    for tree in TREES {
        if let Ok(target) = fs::read_link(Path::new("/").join(tree)) {
            std::os::unix::fs::symlink(target, site.join(tree))?;
        }
    }
    fs::write(site.join("etc/passwd"), identity.passwd())?;
    fs::write(site.join("etc/group"), identity.group())?;
    if instruction.network != Sight::Host {
        fs::write(site.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    }
    for (name, setting) in settings {
        match setting {
            Setting::File(bytes) => fs::write(site.join(name), bytes)?,
            Setting::Link(target) => std::os::unix::fs::symlink(target, site.join(name))?,
        }
    }
    let closed = quiet | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("proc", site.join("proc"), "proc", closed, None)?;
    let bytes = instruction.rlimits.memory_bytes;
    tmpfs(
        &site.join("tmp"),
        quiet,
        &format!("mode=1777,size={bytes},nr_inodes={TMP_FILES_MAX}"),
    )
}

fn tmpfs(at: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount(
        "tmpfs",
        at,
        "tmpfs",
        flags,
        options.as_c_str(),
    )?)
}

/// Puts a piece where it belongs. Its place has no symbolic links: the host said so, and the trees are the host's.
fn place(piece: &Piece) -> io::Result<()> {
    let relative = piece.place.strip_prefix("/").map_err(io::Error::other)?;
    let at = Path::new(SITE).join(relative);
    if piece.is_directory {
        fs::create_dir_all(&at)?;
    } else if fs::symlink_metadata(&at).is_err() {
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().write(true).create_new(true).open(&at)?;
    }
    rustix::mount::move_mount(
        &piece.tree,
        c"",
        CWD,
        &at,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}

/// Makes the site read-only and the root, and lets go of the old one.
fn pivot() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let site = rustix::fs::open(SITE, flags, Mode::empty())?;
    kernel::restrict_mount(site.as_fd(), u64::from(read_only().bits()), false)?;
    std::env::set_current_dir(SITE)?;
    // The old root lands on top of the new one, and is taken off.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}
