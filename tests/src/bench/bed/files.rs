//! How many files this process has and may have open: ten thousand connections are more than a shell allows by itself.

use std::fs;

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system lets us; servers inherit it.
pub(super) fn allow(needed: u64) -> anyhow::Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let hard = now.maximum.unwrap_or(needed);
    ensure!(
        hard >= needed,
        "{needed} open files are needed and {hard} are allowed; raise the hard limit with `ulimit -Hn {needed}` or use fewer agents"
    );
    let raised = Rlimit {
        current: Some(hard),
        maximum: now.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// How many are open and how many may be, for whoever wonders why a connection fails.
pub fn told() -> String {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let most = getrlimit(Resource::Nofile).current;
    let most = most.map_or_else(|| "any number".to_owned(), |most| most.to_string());
    format!("{open} of {most} files are open")
}
