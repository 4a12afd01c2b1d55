//! Hints to agents, and halts and lifts on their way to every agent at once. What is sent here is in the ledger already and comes again with every hello and every
//! manifest, so a lost message only costs time.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use writ_protocol::nats::UserKey;
use writ_protocol::subject;

/// Longest wait until the server has what was sent.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends control messages.
#[derive(Clone, Debug)]
pub struct Control {
    client: Client,
}

impl Control {
    /// Over a connection in CORE.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Gives agents a hint to say hello now: the answer has news for them. A hint says nothing else, and whoever misses it says hello soon anyway.
    pub async fn hint(&self, agents: &[UserKey]) {
        let send = async {
            for agent in agents {
                let sent = self.client.publish(subject::control(agent), Bytes::new()).await;
                sent.map_err(|error| error.to_string())?;
            }
            self.client.flush().await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(PATIENCE, send).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error, "hints not sent; agents learn of it with their next hello");
            }
            Err(_) => tracing::warn!("hints not sent in time; agents learn of it with their next hello"),
        }
    }

    /// Sends a halt's or lift's envelope to every agent; each decides by itself whether it is meant.
    pub async fn publish(&self, envelope: Vec<u8>) {
        let send = async {
            self.client
                .publish(subject::CONTROL_ALL, Bytes::from(envelope))
                .await
                .map_err(|error| error.to_string())?;
            self.client.flush().await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(PATIENCE, send).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error,
                "control message not sent; agents learn of it with their next hello"
            ),
            Err(_) => {
                tracing::warn!("control message not sent in time; agents learn of it with their next hello");
            }
        }
    }
}
