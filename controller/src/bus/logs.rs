//! Live logs: passed on to whoever looks, never kept. A slow reader loses lines and is told how many.

use async_nats::Client;
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use writ_chassis::lifecycle::LifecycleHandle;
use writ_protocol::id::OrderId;
use writ_protocol::limits::LOG_MESSAGE_BYTES_MAX;
use writ_protocol::subject;

/// Lines held for the slowest reader.
const HELD_MAX: usize = 1_024;

/// One piece of live output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    /// The order that it belongs to, as its agent says.
    pub order: Option<OrderId>,
    /// The message.
    pub json: String,
}

#[derive(Deserialize)]
struct Line {
    order: String,
}

impl LogMessage {
    /// Says that a reader was too slow.
    pub fn lost(count: u64) -> Self {
        Self {
            order: None,
            json: serde_json::json!({ "lost": count }).to_string(),
        }
    }

    /// Whether it belongs to an order.
    pub fn is_of(&self, order: &OrderId) -> bool {
        self.order.as_ref() == Some(order)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LOG_MESSAGE_BYTES_MAX {
            return None;
        }
        // Read and written again: what an agent sends must not be able to end an event and begin another.
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let line: Line = serde::Deserialize::deserialize(&value).ok()?;
        Some(Self {
            order: Some(line.order.parse().ok()?),
            json: value.to_string(),
        })
    }
}

/// Where readers come.
#[derive(Clone, Debug)]
pub struct Logs {
    sender: Sender<LogMessage>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            sender: channel(HELD_MAX).0,
        }
    }
}

impl Logs {
    /// A reader of everything from now on.
    pub fn subscribe(&self) -> Receiver<LogMessage> {
        self.sender.subscribe()
    }

    /// Passes messages on until the process stops.
    ///
    /// # Errors
    /// When the bus cannot be subscribed to.
    pub async fn run(self, client: Client, life: LifecycleHandle) -> Result<(), async_nats::SubscribeError> {
        let mut messages = client.subscribe(subject::LOG_FILTER).await?;
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = life.stopping() => return Ok(()),
            };
            let Some(message) = message else { return Ok(()) };
            if self.sender.receiver_count() > 0
                && let Some(line) = LogMessage::parse(&message.payload)
            {
                // Nobody listening any more is no error.
                drop(self.sender.send(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_order_and_cannot_break_an_event() {
        let order = OrderId::from_uuid(uuid::Uuid::from_u128(7));
        let bytes = format!("{{\n\n\"order\":\"{order}\",\"text\":\"a\\nevent: x\"}}");
        let line = LogMessage::parse(bytes.as_bytes()).expect("parses");
        assert!(line.is_of(&order));
        assert!(!line.json.contains('\n'));
        assert!(LogMessage::parse(b"{}").is_none());
        assert!(LogMessage::parse(&vec![b' '; LOG_MESSAGE_BYTES_MAX + 1]).is_none());
    }
}
