//! Whether the bus answers: a question to the server itself, which every controller may ask. That a connection is open says little: one whose other end is gone
//! stays so for a long time.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind};
use bytes::Bytes;
use writ_protocol::subject;

/// Longest wait for the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks once. A server without streams answers too, by saying that nobody is there.
pub async fn answers(client: &Client) -> bool {
    let asked = client.request(subject::SERVER_INFO, Bytes::new());
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
        Err(_) => false,
    }
}
