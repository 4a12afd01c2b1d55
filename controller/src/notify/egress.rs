//! Where notices may go. A receiver's name is asked for at every try, and the connection goes to an address that was looked at here: a name that
//! means something else a moment later leads nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where clouds that are not on the link itself answer with their hosts' secrets.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Refuses a host of which any address may not be reached, and one that has none.
pub(super) fn check(host: &str, found: &[SocketAddr], allow_link_local: bool) -> Result<(), String> {
    if found.is_empty() {
        return Err(format!("{host} has no address"));
    }
    match found
        .iter()
        .find(|address| is_forbidden(address.ip(), allow_link_local))
    {
        None => Ok(()),
        Some(address) => Err(format!(
            "{host} is {}, where nothing is sent: it is an address of the link itself, of many hosts, of none, or where a cloud keeps secrets",
            address.ip()
        )),
    }
}

fn is_forbidden(address: IpAddr, allow_link_local: bool) -> bool {
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() {
        return true;
    }
    let is_link = match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    is_broadcast || ((is_link || METADATA.contains(&address)) && !allow_link_local)
}

/// Whether all of these are this host itself.
pub(super) fn is_here(found: &[SocketAddr]) -> bool {
    found
        .iter()
        .all(|address| address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().expect("an address"), 443)
    }

    #[test]
    fn the_link_itself_and_metadata_are_refused_in_every_spelling_unless_they_are_allowed() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "100.100.100.200",
            "fd00:ec2::254",
        ] {
            assert!(check("h", &[at("192.0.2.1"), at(text)], false).is_err(), "{text}");
            assert!(check("h", &[at(text)], true).is_ok(), "{text}");
        }
        for text in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:0.0.0.0",
        ] {
            assert!(check("h", &[at(text)], true).is_err(), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"] {
            assert!(check("h", &[at(text)], false).is_ok(), "{text}");
        }
        assert!(check("h", &[], true).is_err());
        assert!(is_here(&[at("127.0.0.1"), at("::1"), at("::ffff:127.0.0.2")]));
        assert!(!is_here(&[at("127.0.0.1"), at("10.0.0.1")]));
    }
}
