//! What happens to disks in a story: the bus's goes back in time, any part's becomes small and full.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use writ_cli::dev::postgres::Cluster;

use super::World;

/// What fills a disk.
const FILLER: &str = "filler";
/// How often a store that moves is copied anew.
const SNAPSHOT_TRIES: u32 = 5;
/// It grows by this much at a time, bytes.
const FILL_STEP: usize = 64 << 10;

impl World {
    /// Keeps a copy of everything that the bus has on its disk. The bus is down for that moment.
    ///
    /// # Errors
    /// When it cannot be copied, or the bus does not come up again.
    pub fn copy_bus(&mut self) -> anyhow::Result<()> {
        self.kill("nats")?;
        copy(&self.bus_store()?, &self.bus_copy())?;
        self.start_part("nats")
    }

    /// Keeps a copy of what the bus has on its disk at this moment, while it runs: what a power failure would leave.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn snapshot_bus(&mut self) -> anyhow::Result<()> {
        let (store, kept) = (self.bus_store()?, self.bus_copy());
        for attempt in 1..=SNAPSHOT_TRIES {
            if kept.exists() {
                fs::remove_dir_all(&kept)?;
            }
            match copy(&store, &kept) {
                // A file that the server removes while it is copied.
                Err(_) if attempt < SNAPSHOT_TRIES => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Puts the copy back: a bus that went back in time.
    ///
    /// # Errors
    /// When there is no copy, or the bus does not come up again.
    pub fn roll_bus_back(&mut self) -> anyhow::Result<()> {
        self.kill("nats")?;
        let store = self.bus_store()?;
        fs::remove_dir_all(&store)?;
        copy(&self.bus_copy(), &store)?;
        self.start_part("nats")
    }

    /// Moves what a part keeps to a small disk of its own, in memory: an agent's state, or everything of `nats` or `postgres`. Needs root.
    ///
    /// # Errors
    /// When it cannot be mounted, or the part does not come up again.
    pub fn shrink_disk(&mut self, part: &str, mebibytes: u32) -> anyhow::Result<()> {
        self.stop(part)?;
        let kept = self.disk(part)?;
        let aside = kept.with_extension("aside");
        copy(&kept, &aside)?;
        let size = format!("size={mebibytes}m,mode=0700");
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "tmpfs", "-o", &size, "writ-story"]).arg(&kept))?;
        self.mounts.push(kept.clone());
        // With the folder's own rights and owner.
        copy(&aside.join("."), &kept)?;
        fs::remove_dir_all(&aside)?;
        self.start_part(part)
    }

    /// Leaves not a byte free on the ledger's small disk, and none of what PostgreSQL has set aside: the next record of its log needs a new file.
    ///
    /// # Errors
    /// As [`World::fill_disk`].
    pub fn fill_ledger_disk(&self) -> anyhow::Result<()> {
        self.fill_disk("postgres")?;
        // It may stand still, or fall over this very word.
        drop(self.db("SELECT pg_switch_wal()"));
        Ok(())
    }

    /// Leaves not a byte free on a part's small disk.
    ///
    /// # Errors
    /// When it has none, or the disk fails otherwise.
    pub fn fill_disk(&self, part: &str) -> anyhow::Result<()> {
        let kept = self.disk(part)?;
        ensure!(self.mounts.contains(&kept), "the disk of {part} is the machine's");
        let mut file = fs::File::create(kept.join(FILLER))?;
        for step in [FILL_STEP, 1] {
            loop {
                match file.write_all(&vec![0; step]) {
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When the disk was not filled.
    pub fn clear_disk(&self, part: &str) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.disk(part)?.join(FILLER))?)
    }

    /// Where a part keeps what it must not lose.
    fn disk(&self, part: &str) -> anyhow::Result<PathBuf> {
        Ok(match part {
            "nats" => self.stack.layout().nats(),
            "postgres" => Cluster::of(self.stack.layout())?.folder().to_path_buf(),
            agent => self.stack.agent_state(agent),
        })
    }

    pub(super) fn unmount(&self) {
        for mount in &self.mounts {
            // What still uses it keeps it until it ends; nothing more can be done about a failure here.
            drop(Command::new("umount").arg("--lazy").arg(mount).status());
        }
    }

    fn bus_store(&self) -> anyhow::Result<PathBuf> {
        Ok(self.stack.bus().context("there is no private bus")?.store())
    }

    fn bus_copy(&self) -> PathBuf {
        self.folder.path().join("bus-copy")
    }
}

pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").arg("-a").args([from, to]))
}

pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
