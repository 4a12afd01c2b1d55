//! The proof that the bus is a cache: every agent's manifest on the bus is compared with the ledger, page by page, and what is behind is
//! marked dirty, so that the relay repairs it.

use async_nats::Client;
use writ_protocol::id::AgentId;

use super::deliver;
use super::port::{DeskError, Place, Walk};

/// Agents of one page.
pub const PAGE: usize = 500;

/// What one page showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Agents that were compared.
    pub compared: usize,
    /// Agents whose manifest on the bus was missing or behind; they are dirty now.
    pub behind: usize,
    /// Agents whose manifest on the bus is newer than the ledger's: the ledger went back, or signed while we looked.
    pub ahead: usize,
    /// Agents for whom the bus did not answer; the next walk asks again.
    pub unanswered: usize,
    /// The bus has no stream: make the streams and mark everything dirty.
    pub bus_is_empty: bool,
    /// Where the next page begins; none when the walk is done.
    pub next: Option<AgentId>,
}

/// Compares one page of agents.
///
/// # Errors
/// When the desk fails; begin the page again.
pub async fn page(client: &Client, desk: &impl Walk, after: Option<AgentId>) -> Result<Seen, DeskError> {
    let places = desk.places(after, PAGE).await?;
    let keys: Vec<_> = places.iter().map(|place| place.key.clone()).collect();
    let mut seen = Seen {
        next: places
            .last()
            .filter(|_| places.len() >= PAGE)
            .map(|place| place.agent),
        ..Seen::default()
    };
    let mut behind = Vec::new();
    for (Place { agent, at, .. }, held) in places.iter().zip(deliver::held_by(client, &keys).await) {
        match held {
            Ok(Some(held)) => {
                seen.compared += 1;
                seen.ahead += usize::from(held > *at);
                if held < *at {
                    behind.push(*agent);
                }
            }
            Ok(None) => {
                seen.compared += 1;
                behind.push(*agent);
            }
            Err(error) => {
                seen.unanswered += 1;
                seen.bus_is_empty |= matches!(error, writ_chassis::nats::RequestError::NoResponders);
            }
        }
    }
    seen.behind = behind.len();
    if !behind.is_empty() {
        desk.mark_dirty(&behind).await?;
    }
    Ok(seen)
}
