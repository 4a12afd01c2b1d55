//! A disk in memory that forgets what was not synced, tears what was half written, and fails where it is told to: for tests, the simulator
//! and swarms. Without a plan it is simply a disk in memory.
//!
//! At a crash every file keeps what was synced and some prefix of the rest, cut at a sector, whose last sector may hold rubbish; of what was
//! written over, each piece is the new or the old; names keep some prefix of the changes since the directory was synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Disk;

/// Bytes that a disk writes at once or not at all.
pub const SECTOR: usize = 512;

/// What goes wrong, and when; counts begin at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The power fails at this operation that changes something: it may take effect in part, and everything after it fails.
    pub crash_at: Option<u64>,
    /// This append and all that follow find no room.
    pub full_at: Option<u64>,
    /// This sync fails, and what it should have made durable is lost.
    pub sync_fails_at: Option<u64>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    next_inode: u64,
    plan: Plan,
    changed: u64,
    appends: u64,
    syncs: u64,
    is_down: bool,
    random: u64,
    free: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    data: Vec<u8>,
    synced: usize,
    /// What stood where something was written over and not synced since.
    before: BTreeMap<usize, Vec<u8>>,
    /// A sync failed: the kernel took the pages for clean, so nothing beyond this becomes durable any more.
    lost: bool,
    reserved: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, u64),
    Drop(String),
    /// Both or neither.
    Swap([(String, u64); 2]),
}

impl SimDisk {
    /// An empty disk whose tearing repeats for a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            next_inode: 1,
            plan: Plan::default(),
            changed: 0,
            appends: 0,
            syncs: 0,
            is_down: false,
            random: seed,
            free: 1 << 40,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from here on; counts start again.
    pub fn set_plan(&self, plan: Plan) {
        let mut state = self.state();
        (state.changed, state.appends, state.syncs) = (0, 0, 0);
        state.plan = plan;
    }

    /// Operations that changed something, appends and syncs since the plan was set.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.changed, state.appends, state.syncs)
    }

    /// Sets what [`Disk::free`] says.
    pub fn set_free(&self, bytes: u64) {
        self.state().free = bytes;
    }

    /// The power fails, and comes back: what was not durable is lost, in whole or in part. Nothing goes wrong after it.
    pub fn crash(&self) {
        let mut state = self.state();
        state.lose();
        state.is_down = false;
        state.plan = Plan::default();
    }

    /// A second disk with the same content, in the same state.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            changes: state.changes.clone(),
            ..*state
        };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Turns one bit of a file, as a failing disk does. `false` when there is no such bit.
    pub fn flip(&self, name: &str, byte: usize, bit: u8) -> bool {
        let mut state = self.state();
        let Some(inode) = state.names.get(name).copied() else {
            return false;
        };
        let slot = state
            .inodes
            .get_mut(&inode)
            .and_then(|inode| inode.data.get_mut(byte));
        slot.is_some_and(|slot| {
            *slot ^= 1 << (bit & 7);
            true
        })
    }
}

impl Inode {
    /// Puts bytes where there are bytes already, and gives back what stood there.
    fn put(&mut self, offset: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let place = self.data.get_mut(offset..offset.checked_add(bytes.len())?)?;
        let old = place.to_vec();
        place.copy_from_slice(bytes);
        Some(old)
    }
}

impl State {
    fn draw(&mut self, below: usize) -> usize {
        // SplitMix64: small, and the same everywhere.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = usize::try_from((z ^ (z >> 31)) >> 16).unwrap_or(0);
        z.checked_rem(below).unwrap_or(0)
    }

    fn lose(&mut self) {
        let kept = self.draw(self.changes.len() + 1);
        for change in std::mem::take(&mut self.changes).into_iter().take(kept) {
            match change {
                Change::Put(name, inode) => drop(self.durable_names.insert(name, inode)),
                Change::Drop(name) => drop(self.durable_names.remove(&name)),
                Change::Swap(both) => self.durable_names.extend(both),
            }
        }
        self.names = self.durable_names.clone();
        let ids: Vec<u64> = self.inodes.keys().copied().collect();
        for id in ids {
            let (length, synced) = self
                .inodes
                .get(&id)
                .map_or((0, 0), |inode| (inode.data.len(), inode.synced));
            let mut keep = synced + self.draw(length.saturating_sub(synced) + 1);
            if keep < length {
                keep = (keep / SECTOR * SECTOR).max(synced);
            }
            self.take_back(id);
            let rubbish = self.draw(4) == 0;
            let from = (keep.saturating_sub(1) / SECTOR * SECTOR).max(synced);
            if let Some(inode) = self.inodes.get_mut(&id) {
                inode.data.truncate(keep);
                if rubbish {
                    inode.data.iter_mut().skip(from).for_each(|byte| *byte = 0xa5);
                }
                (inode.synced, inode.lost) = (keep, false);
            }
        }
        let live: Vec<u64> = self.names.values().copied().collect();
        self.inodes.retain(|id, _| live.contains(id));
    }

    /// Of what was written over, some is lost.
    fn take_back(&mut self, id: u64) {
        let before = self
            .inodes
            .get_mut(&id)
            .map(|inode| std::mem::take(&mut inode.before));
        for (offset, old) in before.unwrap_or_default() {
            let is_lost = self.draw(2) == 0;
            if let Some(inode) = self.inodes.get_mut(&id).filter(|_| is_lost) {
                inode.put(offset, &old);
            }
        }
    }

    /// Counts an operation that changes something; an error when the power is gone, or goes now.
    fn change(&mut self) -> io::Result<()> {
        if self.is_down {
            return Err(down());
        }
        self.changed += 1;
        if self.plan.crash_at == Some(self.changed) {
            self.is_down = true;
        }
        Ok(())
    }

    fn up(&self) -> io::Result<()> {
        if self.is_down { Err(down()) } else { Ok(()) }
    }

    fn inode(&mut self, name: &str) -> io::Result<&mut Inode> {
        let id = self.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        self.inodes
            .get_mut(&id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn put(&mut self, name: &str, id: u64) {
        self.names.insert(name.to_owned(), id);
        self.changes.push(Change::Put(name.to_owned(), id));
    }

    fn named(&self, name: &str) -> io::Result<u64> {
        Ok(*self.names.get(name).ok_or(io::ErrorKind::NotFound)?)
    }

    fn take(&mut self, name: &str) -> Option<u64> {
        let id = self.names.remove(name);
        if id.is_some() {
            self.changes.push(Change::Drop(name.to_owned()));
        }
        id
    }
}

fn down() -> io::Error {
    io::Error::other("the power is gone")
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let id = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(id, Inode::default());
        state.put(name, id);
        state.up()
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.appends += 1;
        let full = state.plan.full_at.is_some_and(|at| state.appends >= at);
        // A disk that fills up takes the first part.
        let taken = if full { bytes.len() / 2 } else { bytes.len() };
        let part = bytes.get(..taken).unwrap_or_default();
        state.inode(name)?.data.extend_from_slice(part);
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.up()
    }

    fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let inode = state.inode(name)?;
        let old = inode.put(offset, bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        inode.before.entry(offset).or_insert(old);
        state.up()
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = state.inode(name)?;
        inode.data.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        inode.synced = inode.synced.min(inode.data.len());
        state.up()
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.syncs += 1;
        let fails = state.plan.sync_fails_at == Some(state.syncs);
        let crashes = state.is_down;
        let inode = state.inode(name)?;
        inode.lost |= fails;
        if fails {
            return Err(io::Error::other("the disk failed to flush"));
        }
        if !inode.lost && !crashes {
            inode.synced = inode.data.len();
            inode.before.clear();
        }
        state.up()
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.syncs += 1;
        if state.plan.sync_fails_at == Some(state.syncs) {
            return Err(io::Error::other("the disk failed to flush"));
        }
        state.up()?;
        state.durable_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let id = state.take(from).ok_or(io::ErrorKind::NotFound)?;
        state.put(to, id);
        state.up()
    }

    fn swap(&self, next: &str, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let (one, other) = (state.named(next)?, state.named(name)?);
        state.names.insert(next.to_owned(), other);
        state.names.insert(name.to_owned(), one);
        let change = Change::Swap([(next.to_owned(), other), (name.to_owned(), one)]);
        state.changes.push(change);
        state.up()
    }

    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.up()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let data = &state.inode(name)?.data;
        let rest = data.get(start.min(data.len())..).unwrap_or_default();
        Ok(rest.get(..max.min(rest.len())).unwrap_or_default().to_vec())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let mut state = self.state();
        state.up()?;
        Ok(state.inode(name)?.data.len() as u64)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.take(name);
        if name == super::super::BALLAST {
            // Room was given back.
            state.plan.full_at = None;
        }
        state.up()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.up()?;
        Ok(state
            .names
            .keys()
            .filter(|name| !name.contains('/'))
            .cloned()
            .collect())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        state.up()?;
        Ok(state.free)
    }

    fn allocate(&self, name: &str, length: u64) -> io::Result<()> {
        self.create(name)?;
        self.state().inode(name)?.reserved = length;
        Ok(())
    }

    fn close(&self, _name: &str) {}

    fn is_memory(&self) -> bool {
        true
    }
}
