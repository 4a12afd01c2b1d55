//! Has the kernel tell of changes: inotify on what plans describe, on the directories it is in, and on those above.
//!
//! The directories tell that something came, went or was renamed, so a file that is replaced is seen, and a directory above it that is moved away.
//! What is there tells that it was written or got other rights, through whatever name. When something came or went the kernel is asked again before
//! anybody is told, so that who looks then misses nothing that comes after. What the kernel could not keep is told as [`Noticed::missed`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::places::{Concerned, Places};

/// How long a change waits for others of the same write, so that a look finds the whole of it.
const GATHER: Duration = Duration::from_millis(2);
/// Bytes read at once.
const BUFFER: usize = 16 << 10;

/// What directories tell: entries come and go, and the directory itself.
const FOLDER: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::MASK_ADD);
/// What the thing itself tells.
const ITSELF: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::MASK_ADD);
/// After these the paths may lead elsewhere.
const MOVES: ReadFlags = ReadFlags::CREATE
    .union(ReadFlags::DELETE)
    .union(ReadFlags::MOVED_FROM)
    .union(ReadFlags::MOVED_TO)
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);

/// What the kernel told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// What it concerns.
    pub concerned: Concerned,
    /// There was more than the kernel could keep: it may concern anything.
    pub missed: bool,
}

/// A path that matters.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Changes of what is there.
    itself: Concerned,
    /// Entries that come and go, by name.
    entries: BTreeMap<OsString, Concerned>,
    /// Any entry that comes or goes.
    inside: Concerned,
}

/// What the kernel is asked to tell, and what that concerns.
#[derive(Debug)]
pub struct Eyes {
    kernel: AsyncFd<OwnedFd>,
    nodes: BTreeMap<PathBuf, Node>,
    /// Which paths a number of the kernel's stands for.
    armed: BTreeMap<i32, BTreeSet<PathBuf>>,
    /// Paths that the kernel had no room for.
    refused: usize,
}

impl Eyes {
    /// Closed eyes: nothing is asked for yet. To be called within a runtime.
    ///
    /// # Errors
    /// What the kernel says, for instance that this user has too many already.
    pub fn open() -> io::Result<Self> {
        let kernel = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor has the caller promise that the descriptor stays the same, which an owned one does by itself"
        )]
        let kernel = AsyncFd::new(kernel)?;
        Ok(Self {
            kernel,
            nodes: BTreeMap::new(),
            armed: BTreeMap::new(),
            refused: 0,
        })
    }

    /// Has the kernel tell of these places and of no others. Gives everything that they concern: it may have changed before.
    pub fn set(&mut self, places: &Places) -> Noticed {
        self.nodes.clear();
        let mut all = Noticed::default();
        for (path, place) in places.iter() {
            let node = self.nodes.entry(path.to_path_buf()).or_default();
            add(&mut node.itself, &place.itself);
            add(&mut node.inside, &place.inside);
            add(&mut all.concerned, &place.itself);
            add(&mut all.concerned, &place.inside);
            let mut below = path;
            while let (Some(above), Some(name)) = (below.parent(), below.file_name()) {
                let node = self.nodes.entry(above.to_path_buf()).or_default();
                let entry = node.entries.entry(name.to_owned()).or_default();
                add(entry, &place.itself);
                add(entry, &place.inside);
                below = above;
            }
        }
        self.arm();
        all
    }

    /// How many paths the kernel had no room for.
    pub const fn refused(&self) -> usize {
        self.refused
    }

    /// Waits until the kernel tells of something that concerns somebody. May be dropped at any time; nothing is lost.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn noticed(&mut self) -> io::Result<Noticed> {
        loop {
            let mut ready = self.kernel.readable().await?;
            tokio::time::sleep(GATHER).await;
            // Before the reading, which goes on until there is nothing: what comes after it makes ready again.
            ready.clear_ready();
            let noticed = self.read()?;
            if noticed.missed || !noticed.concerned.is_empty() {
                return Ok(noticed);
            }
        }
    }

    fn read(&mut self) -> io::Result<Noticed> {
        let (mut noticed, mut has_moved) = (Noticed::default(), false);
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(self.kernel.get_ref(), &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                (noticed.missed, has_moved) = (true, true);
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let is_ours = self.concerns(event.wd(), name, &mut noticed.concerned);
            has_moved |= flags.intersects(MOVES) && is_ours;
        }
        if has_moved {
            self.arm();
        }
        Ok(noticed)
    }

    /// Adds what a change concerns, and says whether it concerns anything.
    fn concerns(&self, number: i32, name: Option<&OsStr>, to: &mut Concerned) -> bool {
        let mut is_ours = false;
        for node in self
            .armed
            .get(&number)
            .into_iter()
            .flatten()
            .filter_map(|path| self.nodes.get(path))
        {
            let Some(name) = name else {
                is_ours = true;
                [&node.itself, &node.inside]
                    .into_iter()
                    .chain(node.entries.values())
                    .for_each(|concerned| add(to, concerned));
                continue;
            };
            is_ours |= !node.inside.is_empty();
            add(to, &node.inside);
            if let Some(entry) = node.entries.get(name) {
                is_ours = true;
                add(to, entry);
            }
        }
        is_ours
    }

    /// Asks the kernel for every path as it leads now, and lets go of what none leads to any more.
    fn arm(&mut self) {
        let (mut armed, mut refused) = (BTreeMap::<i32, BTreeSet<PathBuf>>::new(), 0);
        for (path, node) in &self.nodes {
            let has_entries = !node.entries.is_empty() || !node.inside.is_empty();
            let asked = [(has_entries, FOLDER), (!node.itself.is_empty(), ITSELF)];
            for (_, flags) in asked.into_iter().filter(|(wanted, _)| *wanted) {
                match inotify::add_watch(self.kernel.get_ref(), path, flags) {
                    Ok(number) => drop(armed.entry(number).or_default().insert(path.clone())),
                    Err(Errno::NOSPC | Errno::NOMEM) => refused += 1,
                    // Not there, or not for us: what is above tells when that changes.
                    Err(_) => {}
                }
            }
        }
        for number in self.armed.keys().filter(|number| !armed.contains_key(number)) {
            // It may be gone with what it was of.
            let _gone = inotify::remove_watch(self.kernel.get_ref(), *number);
        }
        (self.armed, self.refused) = (armed, refused);
    }
}

fn add(to: &mut Concerned, more: &Concerned) {
    for (project, which) in more {
        match to.get_mut(project) {
            Some(known) => known.extend(which),
            None => drop(to.insert(project.clone(), which.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
