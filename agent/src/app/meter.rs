//! The meter of the step under way: read a few times a second, with nothing but this host needed for it.

use std::time::Duration;

use super::{Agent, AppError};
use crate::core::Input;

/// Between two readings. With the age of what is read, what a step uses is known here at most 0.7 s later: a step that uses up its grant is
/// asked to end within the second.
const METER_EVERY: Duration = Duration::from_millis(250);

impl Agent {
    /// Tells the rules what the step under way has used, if that is due.
    pub(super) async fn meter(&mut self) -> Result<(), AppError> {
        // An inline executor has no thread to look at: its steps take no time of their own.
        let Some((order_id, index)) = self.core.under_way().filter(|_| !self.executor.is_inline()) else {
            self.timers.meter_at = None;
            return Ok(());
        };
        let now = self.now().boot;
        if now < *self.timers.meter_at.get_or_insert(now.plus(METER_EVERY)) {
            return Ok(());
        }
        self.timers.meter_at = Some(now.plus(METER_EVERY));
        match self.executor.used(order_id) {
            Some(usage) => {
                let reading = Input::Metered {
                    order_id,
                    index,
                    usage,
                };
                self.feed(vec![reading]).await
            }
            None => Ok(()),
        }
    }
}
