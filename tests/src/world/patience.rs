//! The one way in which a story waits: for something that becomes true, within a named time.

use std::time::Duration;

use anyhow::bail;
use writ_cli::clock::Deadline;

/// For what takes a round or two between processes.
pub const SHORT: Duration = Duration::from_secs(15);
/// For what begins with a process that starts, a connection that comes back, or a lease that runs out.
pub const LONG: Duration = Duration::from_secs(45);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// Looks until there is something to see, and gives it.
///
/// # Errors
/// When there is nothing within `patience`; `what` names what was waited for.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Deadline::after(patience);
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if deadline.is_over() {
            bail!("waited {patience:?} in vain: {what}");
        }
        std::thread::sleep(LOOK);
    }
}
