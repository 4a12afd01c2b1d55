//! Wall clocks that jump under running agents and controllers, by libfaketime. Their programs are started through a script that preloads it; how far a
//! clock is off stands in a file beside the configuration and is read whenever a process asks for the time. The boot clock is left alone, as a machine
//! leaves it alone when somebody sets the wall clock.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use writ_cli::dev::programs;

use super::World;

/// Names the library where it lies in no usual place.
const VARIABLE: &str = "WRIT_FAKETIME";
/// The library that threads may share.
const LIBRARY: &str = "libfaketimeMT.so.1";
/// What is appended to a configuration's name.
const SUFFIX: &str = "clock";
/// Where the library leaves a semaphore and a page for each process that was killed.
const SHARED: &str = "/dev/shm";
const SHARED_NAMES: [&str; 2] = ["faketime_sem_", "faketime_shm_"];

impl World {
    /// Whether clocks can jump here.
    ///
    /// # Errors
    /// Why not.
    pub fn can_jump(&self) -> Result<(), String> {
        self.no_jumps.clone().map_or(Ok(()), Err)
    }

    /// Puts the wall clock of an agent or a controller so many seconds beside the machine's; it counts at once.
    ///
    /// # Errors
    /// When there is no such part, or clocks cannot jump.
    pub fn set_clock(&self, part: &str, seconds: i64) -> anyhow::Result<()> {
        self.can_jump().map_err(anyhow::Error::msg)?;
        let layout = self.stack.layout();
        let agent = layout.agent(part).join("agent.yaml");
        let config = if agent.is_file() {
            agent
        } else {
            layout.root().join(format!("{part}.yaml"))
        };
        let file = config.with_extension(format!("yaml.{SUFFIX}"));
        anyhow::ensure!(file.is_file(), "{part} was not started with a clock of its own");
        // A file that is half written would be a clock that is right.
        let half = file.with_extension("half");
        fs::write(&half, format!("{seconds:+}\n"))?;
        fs::rename(half, file).context("setting a clock")
    }
}

/// Scripts in the place of our programs that start them with a clock that can jump; the folder that they lie in, or why there is none.
pub(super) fn wrap(folder: &Path, wanted: bool) -> Result<PathBuf, String> {
    if !wanted {
        return Err("this world was started with the machine's clock".to_owned());
    }
    let library = library()?;
    write(&folder.join("programs"), &library).map_err(|error| format!("no script can be written: {error:#}"))
}

fn write(folder: &Path, library: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    for name in ["writ-agent", "writ-controller"] {
        let program = std::path::absolute(programs::own(name)?)?;
        let text = script(&program, library);
        let file = folder.join(name);
        fs::write(&file, text)?;
        fs::set_permissions(&file, Permissions::from_mode(0o755))?;
    }
    Ok(folder.to_path_buf())
}

/// The process keeps the script's id. What a killed one of the same id left behind would keep the library from starting.
fn script(program: &Path, library: &Path) -> String {
    let [semaphore, page] = SHARED_NAMES;
    format!(
        r#"#!/bin/sh
clock=
for word; do
  case $word in *.yaml) clock=$word.{SUFFIX} ;; esac
done
if [ -n "$clock" ]; then
  [ -e "$clock" ] || echo +0 > "$clock"
  rm -f {SHARED}/sem.{semaphore}$$ {SHARED}/{page}$$
  export LD_PRELOAD="{library}" FAKETIME_TIMESTAMP_FILE="$clock"
  export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_RESET=1 NO_FAKE_STAT=1
fi
exec "{program}" "$@"
"#,
        library = library.display(),
        program = program.display(),
    )
}

/// Where the library is: named, below `target/parts/`, or installed.
fn library() -> Result<PathBuf, String> {
    let parts = std::env::current_exe().ok().into_iter().flat_map(|exe| {
        let above: Vec<PathBuf> = exe
            .ancestors()
            .map(|folder| folder.join("parts/debian/faketime/usr/lib"))
            .collect();
        above
    });
    let folders = parts.chain([PathBuf::from("/usr/lib")]);
    let installed = folders.filter_map(|folder| {
        let machines = fs::read_dir(folder).ok()?.flatten();
        let mut found = machines.map(|machine| machine.path().join("faketime").join(LIBRARY));
        found.find(|path| path.is_file())
    });
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    named
        .filter(|path| path.is_file())
        .into_iter()
        .chain(installed)
        .next()
        .ok_or_else(|| {
            format!("there is no {LIBRARY}: `cargo xtask parts` brings it, or {VARIABLE} names it")
        })
}

/// Removes what the library left of processes that are no more.
pub(super) fn sweep() {
    for entry in fs::read_dir(SHARED).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let bare = name.trim_start_matches("sem.");
        let pid = SHARED_NAMES.iter().find_map(|prefix| bare.strip_prefix(prefix));
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            // Another world may have been quicker.
            drop(fs::remove_file(entry.path()));
        }
    }
}
