//! Ports of a private stack: free now, and not of those that the system gives to outgoing connections.
//!
//! A server that is killed and started again needs its port back. Clients that call a dead port of this machine are given ports of the outgoing
//! range one after the other, sooner or later that very one, and are then connected with themselves: the server cannot listen any more.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::Context as _;

/// Lowest port that is chosen: above those that well-known services use.
const LOWEST: u16 = 10_000;
/// Ports that are tried before any port will do.
const TRIES: usize = 64;
/// Where the kernel says which ports outgoing connections are given.
const OUTGOING: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The kernel's default, where it does not say.
const OUTGOING_LOWEST: u16 = 32_768;

/// A port that nobody listens on at this moment.
///
/// # Errors
/// When the system has none.
pub fn free() -> anyhow::Result<u16> {
    let range = LOWEST..outgoing_lowest();
    for _ in 0..TRIES {
        if let Some(port) = drawn(&range)?.filter(|port| is_free(*port)) {
            return Ok(port);
        }
    }
    // Outgoing connections may have everything here; then any port is better than none.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    Ok(listener.local_addr().context("finding a free port")?.port())
}

/// Whether a port can be listened on.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn outgoing_lowest() -> u16 {
    let text = fs::read_to_string(OUTGOING).unwrap_or_default();
    let lowest = text.split_whitespace().next().and_then(|port| port.parse().ok());
    lowest.unwrap_or(OUTGOING_LOWEST)
}

/// A port of a range by chance, so that stacks that come up together do not choose the same; none of an empty range.
fn drawn(range: &Range<u16>) -> anyhow::Result<Option<u16>> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let width = u32::from(range.end.saturating_sub(range.start));
    let Some(offset) = u32::from_le_bytes(bytes).checked_rem(width) else {
        return Ok(None);
    };
    Ok(Some(range.start.saturating_add(u16::try_from(offset)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_and_outgoing_connections_do_not_get_it() {
        let range = LOWEST..outgoing_lowest();
        for _ in 0..100 {
            let port = free().unwrap();
            // A machine may give outgoing connections everything.
            assert!(range.is_empty() || range.contains(&port), "{port}");
        }
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
    }

    #[test]
    fn every_port_of_a_range_can_be_drawn_and_none_of_an_empty_one() {
        let drawn_ones: std::collections::BTreeSet<u16> = (0..400)
            .filter_map(|_| drawn(&(10_000..10_008)).unwrap())
            .collect();
        assert_eq!(
            drawn_ones.into_iter().collect::<Vec<_>>(),
            (10_000..10_008).collect::<Vec<_>>()
        );
        for end in [10_000, 1_024] {
            assert_eq!(drawn(&Range { start: 10_000, end }).unwrap(), None);
        }
    }
}
