//! What is done to a machine: its disk, its connection, and its healing.

use std::sync::Arc;
use std::time::Duration;

use writ_agent::journal::disk::Disk as _;
use writ_agent::journal::disk::sim::{Plan, SimDisk};
use writ_agent::journal::segment;
use writ_agent::link::Incoming;

use super::Host;
use crate::sim::world::{World, lock};

impl Host {
    /// What goes wrong with its disk from here on.
    pub fn plan_disk(&self, plan: Plan) {
        let mut state = lock(&self.state);
        // One that has failed and was not noticed yet stays failed.
        state.is_armed |= plan.crash_at.is_some();
        state.is_suspect |= plan.sync_fails_at.is_some();
        state.disk.set_plan(plan);
    }

    /// What its disk says is free.
    pub fn set_free(&self, bytes: u64) {
        lock(&self.state).disk.set_free(bytes);
    }

    /// A bit of a file turns; whether there was one.
    pub fn rot(&self, world: &World, draw: u64) -> bool {
        let mut state = lock(&self.state);
        let Ok(names) = state.disk.list() else {
            return false;
        };
        let files: Vec<&String> = names
            .iter()
            .filter(|n| segment::index_of(n).is_some() || n.starts_with("meta"))
            .collect();
        let Some(name) = files.get(
            usize::try_from(draw)
                .unwrap_or(0)
                .checked_rem(files.len())
                .unwrap_or(0),
        ) else {
            return false;
        };
        let length = state.disk.length(name).unwrap_or(0);
        let byte = (draw >> 8).checked_rem(length).unwrap_or(0);
        state.is_suspect = true;
        let is_turned = state.disk.flip(
            name,
            usize::try_from(byte).unwrap_or(0),
            u8::try_from(draw >> 3 & 7).unwrap_or(0),
        );
        world.note(format_args!(
            "host {}: a bit of {name} turns at {byte}: {is_turned}",
            self.number
        ));
        is_turned
    }

    /// A copy of its disk as it is.
    pub fn keep_disk(&self) -> SimDisk {
        lock(&self.state).disk.copy()
    }

    /// Puts an older disk in. The process must be dead.
    pub fn put_back(&self, disk: SimDisk) {
        lock(&self.state).disk = disk;
    }

    /// Cuts it from the bus or joins it.
    pub fn cut(&self, world: &World, is_cut: bool) {
        let mut state = lock(&self.state);
        if state.is_cut == is_cut {
            return;
        }
        state.is_cut = is_cut;
        world.note(format_args!("host {}: cut from the bus {is_cut}", self.number));
        let word = if is_cut {
            Incoming::Disconnected
        } else {
            Incoming::Connected
        };
        if let Some(life) = &state.life {
            let _full = life.incoming.try_send(word);
        }
    }

    /// Whether it is cut from the bus.
    pub fn is_cut(&self) -> bool {
        lock(&self.state).is_cut
    }

    /// Everything is well again; a copy of another machine is taken away.
    pub fn heal(self: &Arc<Self>, world: &Arc<World>) {
        {
            let mut state = lock(&self.state);
            state.disk.set_plan(Plan::default());
            state.disk.set_free(1 << 40);
            (state.dies_at, state.down_until) = (None, Duration::ZERO);
            self.clock.set_wrong(0);
        }
        self.cut(world, false);
        self.start(world);
    }
}
