//! Addresses that are not of the public network: nobody reaches them by a name, and nobody reaches them at all unless a plan names them.

use core::net::IpAddr;

/// What kind of special address this is, in words; `None` for one of the public network. Forms of an IPv4 address in IPv6 are special too:
/// where they lead is a gateway's decision.
pub fn special(address: IpAddr) -> Option<&'static str> {
    range(address).map(|(_, what)| what)
}

/// The special range that holds an address: its number among those of its kind, and what it is.
pub(super) fn range(address: IpAddr) -> Option<(usize, &'static str)> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            let rows: [(u32, u32, &'static str); 14] = [
                (0x7f00_0000, 8, "loopback"),
                (0x0a00_0000, 8, "private"),
                (0xac10_0000, 12, "private"),
                (0xc0a8_0000, 16, "private"),
                (0xa9fe_0000, 16, "link-local"),
                (0x6440_0000, 10, "carrier-grade NAT"),
                (0x0000_0000, 8, "reserved"),
                (0xc000_0000, 24, "reserved"),
                (0xc000_0200, 24, "documentation"),
                (0xc633_6400, 24, "documentation"),
                (0xcb00_7100, 24, "documentation"),
                (0xc612_0000, 15, "benchmarking"),
                (0xe000_0000, 4, "multicast"),
                (0xf000_0000, 4, "reserved"),
            ];
            rows.into_iter()
                .enumerate()
                .find(|(_, (first, length, _))| (bits ^ first) >> (32 - length) == 0)
                .map(|(number, (.., what))| (number, what))
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let rows: [(u128, u32, &'static str); 12] = [
                (1, 128, "loopback"),
                (0xfc00 << 112, 7, "private"),
                (0xfec0 << 112, 10, "private"),
                (0xfe80 << 112, 10, "link-local"),
                (0xff00 << 112, 8, "multicast"),
                (0x2001_0db8 << 96, 32, "documentation"),
                (0x2002 << 112, 16, "translated"),
                (0x2001_0000 << 96, 32, "translated"),
                (0x0064_ff9b << 96, 96, "translated"),
                (0x0064_ff9b_0001 << 80, 48, "translated"),
                (0x0100 << 112, 64, "reserved"),
                (0, 8, "reserved"),
            ];
            rows.into_iter()
                .enumerate()
                .find(|(_, (first, length, _))| (bits ^ first) >> (128 - length) == 0)
                .map(|(number, (.., what))| (number, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_known() {
        for (text, wanted) in [
            ("127.9.9.9", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("10.0.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.0.1", "private"),
            ("fd12::1", "private"),
            ("169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("100.127.0.1", "carrier-grade NAT"),
            ("0.0.0.0", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "reserved"),
            ("224.0.0.1", "multicast"),
            ("64:ff9b::7f00:1", "translated"),
            ("2002:7f00:1::", "translated"),
        ] {
            assert_eq!(special(text.parse().expect("an address")), Some(wanted), "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert_eq!(special(text.parse().expect("an address")), None, "{text}");
        }
    }
}
