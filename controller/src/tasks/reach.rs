//! Asks the bus whether it is there, again and again.

use std::time::Duration;

use super::{TaskError, Tasks};
use crate::bus::reach;

pub(super) const NAME: &str = "bus.reach";
/// Pause between an answer, or its absence, and the next question.
const ASK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    loop {
        if reach::answers(&tasks.client).await {
            tasks.hearing.note();
        }
        if !tasks.pause(ASK_EVERY).await {
            return Ok(());
        }
    }
}
