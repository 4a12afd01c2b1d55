//! The new root: a small file system in memory with what programs need, read-only, and the step's own directory and `/tmp` to write in.
//!
//! It is built of what every step gets, and entered; then it gets what is the step's own, and is closed. Between the two may lie a while. What is
//! bound from the host is restricted before it is placed, so there is no moment in which it can be written through. Nothing of the old root is left
//! but what stands here.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::identity::Identity;
use super::seal::Seal;
use crate::kernel;
use crate::wire::{Failure, Instruction, Sight};

/// Where the new root is put together; every Linux has this directory. What is bound was opened before it is covered.
const SITE: &str = "/tmp";
/// The new root has its own.
const TMP: &str = "/tmp";
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
/// What of a root is copied, made again as a link, or bound by its name, below `/`: bound again it might be something else. Devices stay what they are.
pub(crate) const ROOT_SOURCES: [&[&str]; 4] = [TREES, SETTINGS_TREES, SETTINGS, NETWORK_SETTINGS];
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
    /// What of it came with the step.
    pub(super) brought: Vec<PathBuf>,
    /// What it was before the step came, when it had to wait for it.
    pub(super) seal: Option<Seal>,
}

/// A root that was built, with nothing of a step in it.
pub(in crate::shim) struct Site {
    places: Vec<PathBuf>,
    seal: Option<Seal>,
}

/// A part of the host's tree on its way into the new root.
struct Piece {
    tree: OwnedFd,
    place: PathBuf,
    is_directory: bool,
}

/// What a step brings into its root, taken from the host and restricted.
pub(in crate::shim) struct Brought {
    cwd: Found,
    program: Option<PathBuf>,
    pieces: Vec<Piece>,
}

impl Brought {
    /// In a namespace that shows the host's tree.
    ///
    /// # Errors
    /// When the working directory or the program is not there, or not for steps.
    pub(in crate::shim) fn take(instruction: &Instruction) -> Result<Self, Failure> {
        let cwd = Found::directory(&instruction.cwd)?;
        let mut pieces = Vec::new();
        let program = program(instruction)?;
        if let Some(program) = program.as_ref().filter(|program| !comes_anyway(program, &cwd)) {
            let attributes = read_only() | MountAttrFlags::MOUNT_ATTR_NODEV;
            pieces.push(piece(&program.handle, program.path.clone(), false, attributes)?);
        }
        if !cwd.is_replaced() {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            pieces.push(piece(&cwd.handle, cwd.path.clone(), true, attributes)?);
        }
        Ok(Self {
            program: program.map(|program| program.path),
            cwd,
            pieces,
        })
    }

    /// Whose the working directory is; nobody's when the new root has its own there.
    pub(super) fn owner(&self) -> Option<&fs::Metadata> {
        (!self.cwd.is_replaced()).then_some(&self.cwd.owner)
    }
}

/// Something as it was found on the host.
struct Found {
    handle: OwnedFd,
    path: PathBuf,
    owner: fs::Metadata,
}

impl Found {
    fn directory(path: &str) -> Result<Self, Failure> {
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
    fn is_replaced(&self) -> bool {
        self.path == Path::new("/") || self.path == Path::new(TMP)
    }
}

fn own_descriptor(handle: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

impl Site {
    /// Builds the root, and makes it this process's.
    ///
    /// # Errors
    /// When a part of it cannot be had.
    pub(in crate::shim) fn build(network: Sight) -> Result<Self, Failure> {
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
        let settings = read_settings(network == Sight::Host);
        mount_site(network, &settings).map_err(|e| Failure::isolation("make a new root", e))?;
        let mut site = Self {
            places: vec!["/proc".into(), TMP.into()],
            seal: None,
        };
        for piece in pieces {
            site.places.push(place(piece, Path::new(SITE))?);
        }
        pivot().map_err(|e| Failure::isolation("change the root", e))?;
        Ok(site)
    }

    /// Notes what there is, so that [`furnish`] can tell whether anything was changed until then.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(in crate::shim) fn seal(&mut self) -> Result<(), Failure> {
        self.seal = Some(Seal::of(Path::new("/"))?);
        Ok(())
    }
}

/// In the new root: puts what is the step's own into it, and makes it read-only.
///
/// # Errors
/// When a part of it cannot be had, or it is not what it was when it was sealed.
pub(super) fn furnish(
    site: Site,
    brought: Brought,
    instruction: &Instruction,
    identity: &Identity,
) -> Result<Root, Failure> {
    site.seal.as_ref().map_or(Ok(()), Seal::check_entries)?;
    let mut root = Root {
        program: brought.program,
        writable: vec![PathBuf::from(TMP)],
        places: site.places,
        brought: Vec::new(),
        seal: site.seal,
        cwd: brought.cwd.path.clone(),
    };
    if !brought.cwd.is_replaced() {
        root.writable.push(brought.cwd.path);
    }
    settle_in(instruction, identity).map_err(|e| Failure::isolation("make the new root the step's", e))?;
    for piece in brought.pieces {
        root.brought.push(place(piece, Path::new("/"))?);
    }
    root.places.extend(root.brought.iter().cloned());
    close().map_err(|e| Failure::isolation("close the new root", e))?;
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
fn program(instruction: &Instruction) -> Result<Option<Found>, Failure> {
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
    Ok(Some(found))
}

/// It has been found where the root has it in any case.
fn comes_anyway(program: &Found, cwd: &Found) -> bool {
    is_in_trees(&program.path) || (!cwd.is_replaced() && program.path.starts_with(&cwd.path))
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

fn mount_site(network: Sight, settings: &[(&str, Setting)]) -> io::Result<()> {
    let site = Path::new(SITE);
    tmpfs(site, quiet(), "mode=0755,size=16m,nr_inodes=4096")?;
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
    if network != Sight::Host {
        fs::write(site.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    }
    for (name, setting) in settings {
        match setting {
            Setting::File(bytes) => fs::write(site.join(name), bytes)?,
            Setting::Link(target) => std::os::unix::fs::symlink(target, site.join(name))?,
        }
    }
    let closed = quiet() | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("proc", site.join("proc"), "proc", closed, None)?;
    tmpfs(
        &site.join("tmp"),
        quiet(),
        &format!("mode=1777,nr_inodes={TMP_FILES_MAX}"),
    )
}

/// What of the root's own files depends on the step.
fn settle_in(instruction: &Instruction, identity: &Identity) -> io::Result<()> {
    fs::write("/etc/passwd", identity.passwd())?;
    fs::write("/etc/group", identity.group())?;
    let size = std::ffi::CString::new(format!("size={}", instruction.rlimits.memory_bytes))?;
    Ok(rustix::mount::mount_remount(TMP, quiet(), size.as_c_str())?)
}

fn quiet() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV
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

/// Puts a piece where it belongs in the root at `root`; where that is. Its place has no symbolic links: the host said so, and the trees are the host's.
fn place(piece: Piece, root: &Path) -> Result<PathBuf, Failure> {
    let wrong = |e: io::Error| Failure::isolation(&format!("bind {}", piece.place.display()), e);
    let relative = piece.place.strip_prefix("/").map_err(io::Error::other);
    let at = root.join(relative.map_err(wrong)?);
    make_point(&at, piece.is_directory).map_err(wrong)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&piece.tree, c"", CWD, &at, flags).map_err(|e| wrong(e.into()))?;
    Ok(piece.place)
}

fn make_point(at: &Path, is_directory: bool) -> io::Result<()> {
    if is_directory {
        return fs::create_dir_all(at);
    }
    if fs::symlink_metadata(at).is_err() {
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().write(true).create_new(true).open(at)?;
    }
    Ok(())
}

/// Makes the site the root, and lets go of the old one.
fn pivot() -> io::Result<()> {
    std::env::set_current_dir(SITE)?;
    // The old root lands on top of the new one, and is taken off.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

fn close() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    kernel::restrict_mount(root.as_fd(), u64::from(read_only().bits()), false)
}
