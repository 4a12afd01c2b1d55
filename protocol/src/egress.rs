//! Egress: where a step may reach on the network, as its plan names it, and what the agent's record says of each attempt.
//!
//! One text form for destinations, read strictly, so that a reviewer and an agent never understand two things by one word.

mod record;
mod special;

use std::fmt;
// The addresses themselves are numbers: nothing here reaches a network.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use record::{CONNECTIONS_MAX, Connection, Egress, HostPolicy, PolicyWord, REASON_BYTES_MAX};
pub use special::special;

/// Most destinations that one step names.
pub const DESTINATIONS_MAX: usize = 64;
/// Longest name of a host, bytes.
pub const HOST_BYTES_MAX: usize = 253;
/// Longest part of a host's name between two dots, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// What stands before a network, so that nobody writes one without meaning to.
const NETWORK_WORD: &str = "cidr:";

/// One destination that a plan names: a host or hosts, and one port.
///
/// Text: `example.com:443` one name, `.example.com:443` every name below it and not itself, `192.0.2.7:80` and `[2001:db8::7]:80` one address,
/// `cidr:10.1.0.0/16:443` and `cidr:[fd00::/8]:443` every address of a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Destination {
    hosts: Hosts,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Hosts {
    Name(String),
    /// With the dot that it begins with.
    Below(String),
    Address(IpAddr),
    Network(IpAddr, u8),
}

/// Whom a program wants to reach, as it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name in lower case, which is no address in disguise.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct DestinationError {
    /// What is wrong with it, in words.
    pub rule: String,
}

impl Destination {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`DestinationError`] for everything that is not exactly one of the forms, a second spelling of one included.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let read = match text.strip_prefix(NETWORK_WORD) {
            Some(rest) => Self::network(rest)?,
            None => Self::host(text)?,
        };
        if read.to_string() == text {
            Ok(read)
        } else {
            Err(wrong(format!("it is written `{read}`")))
        }
    }

    fn host(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = split_port(text)?;
        let hosts = match host.strip_prefix('.') {
            Some(name) => match Host::parse(name)? {
                Host::Name(name) => Hosts::Below(format!(".{name}")),
                Host::Address(_) => return Err(wrong("there is nothing below an address")),
            },
            None => match Host::parse(host)? {
                Host::Name(name) => Hosts::Name(name),
                Host::Address(address) => Hosts::Address(address),
            },
        };
        Ok(Self { hosts, port })
    }

    fn network(rest: &str) -> Result<Self, DestinationError> {
        let (network, port) = split_port(rest)?;
        let network = network
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(network);
        let (address, length) = network
            .split_once('/')
            .ok_or_else(|| wrong("a network ends with `/` and the length of its prefix"))?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong("a network begins with an address"))?;
        let length: u8 = length
            .parse()
            .map_err(|_| wrong("the length of the prefix is no number"))?;
        if length > bits_of(address) {
            return Err(wrong(format!(
                "a prefix of this kind of address has at most {} bits",
                bits_of(address)
            )));
        }
        if first_of(address, length) != address {
            return Err(wrong(format!(
                "the network of this length begins with {}",
                first_of(address, length)
            )));
        }
        Ok(Self {
            hosts: Hosts::Network(address, length),
            port,
        })
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it stands for this host, as it was said, and port. A name is never compared with an address.
    pub fn is(&self, host: &Host, port: u16) -> bool {
        match (host, &self.hosts) {
            (Host::Name(name), Hosts::Name(own)) => port == self.port && name == own,
            (Host::Name(name), Hosts::Below(suffix)) => {
                port == self.port && name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (Host::Address(address), _) => self.names_address(*address, port),
            (Host::Name(_), Hosts::Address(_) | Hosts::Network(..)) => false,
        }
    }

    /// Whether it names this very address, or a network that holds it. Addresses that are not of the public network are only in networks
    /// that are all of one special kind: `cidr:0.0.0.0/0:443` does not name the host itself.
    pub fn names_address(&self, address: IpAddr, port: u16) -> bool {
        if port != self.port {
            return false;
        }
        match &self.hosts {
            Hosts::Address(own) => own.to_canonical() == address.to_canonical(),
            Hosts::Network(first, length) => {
                let address = address.to_canonical();
                let holds = bits_of(*first) == bits_of(address) && first_of(address, *length) == *first;
                let ends = [*first, last_of(*first, *length)];
                let kind = special::range(address);
                holds && (kind.is_none() || ends.iter().all(|end| special::range(*end) == kind))
            }
            Hosts::Name(_) | Hosts::Below(_) => false,
        }
    }

    /// The one address that it names, if it names one.
    pub const fn address(&self) -> Option<IpAddr> {
        match &self.hosts {
            Hosts::Address(address) => Some(*address),
            Hosts::Name(_) | Hosts::Below(_) | Hosts::Network(..) => None,
        }
    }

    /// The one name that it names, if it names one.
    pub fn name(&self) -> Option<&str> {
        match &self.hosts {
            Hosts::Name(name) => Some(name),
            Hosts::Address(_) | Hosts::Below(_) | Hosts::Network(..) => None,
        }
    }
}

impl Host {
    /// Reads a host: an address, an IPv6 one in brackets, or a name.
    ///
    /// # Errors
    /// [`DestinationError`] for what is neither, and for what one resolver takes for a name and another for an address, such as `127.1`.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner
                .strip_suffix(']')
                .ok_or_else(|| wrong("a bracket is not closed"))?;
            let address: Ipv6Addr = inner
                .parse()
                .map_err(|_| wrong("in brackets stands no IPv6 address"))?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        if name.is_empty() || name.len() > HOST_BYTES_MAX {
            return Err(wrong(format!("a host's name has 1 to {HOST_BYTES_MAX} bytes")));
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !name.split('.').all(is_label) {
            return Err(wrong(
                "a host's name is made of letters, digits and `-`, in parts divided by single dots",
            ));
        }
        // Old resolvers read numbers in all forms as addresses.
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong(
                "the last part of a host's name does not begin with a digit",
            ));
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.hosts {
            Hosts::Name(name) | Hosts::Below(name) => write!(f, "{name}:{port}"),
            Hosts::Address(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Hosts::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Hosts::Network(IpAddr::V4(first), length) => write!(f, "{NETWORK_WORD}{first}/{length}:{port}"),
            Hosts::Network(IpAddr::V6(first), length) => write!(f, "{NETWORK_WORD}[{first}/{length}]:{port}"),
        }
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl TryFrom<String> for Destination {
    type Error = DestinationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

/// Divides `host:port`; the port is a plain number from 1.
///
/// # Errors
/// [`DestinationError`] when either is missing.
pub fn split_port(text: &str) -> Result<(&str, u16), DestinationError> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| wrong("the port is missing"))?;
    let is_plain =
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    match port.parse::<u16>() {
        Ok(port) if is_plain => Ok((host, port)),
        _ => Err(wrong("the port is no number from 1 to 65535")),
    }
}

const fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first address of the network of this length that holds an address.
fn first_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(length.into()))
                .unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(length.into()))
                .unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// The last address of a network.
fn last_of(first: IpAddr, length: u8) -> IpAddr {
    match first {
        IpAddr::V4(first) => {
            let rest = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            Ipv4Addr::from_bits(first.to_bits() | rest).into()
        }
        IpAddr::V6(first) => {
            let rest = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            Ipv6Addr::from_bits(first.to_bits() | rest).into()
        }
    }
}

fn wrong(rule: impl Into<String>) -> DestinationError {
    DestinationError { rule: rule.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Destination {
        Destination::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_form_stands_for_what_it_says_and_for_nothing_else() {
        for (text, host_text, port, wanted) in [
            ("example.com:443", "example.com", 443, true),
            ("example.com:443", "EXAMPLE.com", 443, true),
            ("example.com:443", "example.com", 80, false),
            ("example.com:443", "a.example.com", 443, false),
            ("example.com:443", "badexample.com", 443, false),
            (".example.com:443", "a.b.example.com", 443, true),
            (".example.com:443", "example.com", 443, false),
            (".example.com:443", "badexample.com", 443, false),
            (".example.com:443", "example.com.evil.org", 443, false),
            ("127.0.0.1:80", "127.0.0.1", 80, true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]", 80, true),
            ("127.0.0.1:80", "localhost", 80, false),
            ("127.0.0.1:80", "127.0.0.2", 80, false),
            ("[::1]:80", "[::1]", 80, true),
            ("[::1]:80", "[0:0:0::1]", 80, true),
            ("cidr:10.1.0.0/16:443", "10.1.2.3", 443, true),
            ("cidr:10.1.0.0/16:443", "10.2.2.3", 443, false),
            ("cidr:[fd00::/8]:443", "[fd12::1]", 443, true),
            ("cidr:[fd00::/8]:443", "10.1.2.3", 443, false),
            ("cidr:0.0.0.0/0:443", "93.184.215.14", 443, true),
            ("cidr:0.0.0.0/0:443", "169.254.169.254", 443, false),
            ("cidr:0.0.0.0/0:443", "10.0.0.1", 443, false),
            ("cidr:8.0.0.0/6:443", "10.0.0.1", 443, false),
            ("cidr:[::/0]:443", "[::1]", 443, false),
        ] {
            assert_eq!(
                read(text).is(&host(host_text), port),
                wanted,
                "{text} and {host_text}:{port}"
            );
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:080",
            ":80",
            "..:80",
            ".:80",
            "*.example.com:443",
            "example..com:443",
            "example.com.:443",
            "-a.com:80",
            "a-.com:80",
            "a b:80",
            "exämple.com:80",
            "EXAMPLE.com:443",
            "127.1:80",
            "0x7f.0.0.1:80",
            "2130706433:80",
            "127.0.0.01:80",
            "::1:80",
            "[::1:80",
            "[0::1]:80",
            "[127.0.0.1]:80",
            ".127.0.0.1:80",
            "10.0.0.0/8:80",
            "cidr:10.0.0.0:80",
            "cidr:10.1.0.0/8:80",
            "cidr:10.0.0.0/33:80",
            "cidr:fd00::/8:80",
            "cidr:[fd00::/129]:80",
            "cidr:[10.0.0.0/8]:80",
            "cidr:10.0.0.0/08:80",
            "http://example.com:80",
            "user@example.com:80",
        ] {
            assert!(Destination::parse(text).is_err(), "{text:?} went through");
        }
        assert!(
            Host::parse(&format!("{}a", "a.".repeat(127))).is_err(),
            "too long"
        );
        assert!(Host::parse(&"a".repeat(64)).is_err(), "a part that is too long");
    }
}
