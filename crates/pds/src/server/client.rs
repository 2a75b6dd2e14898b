//! Who calls: the other end of the connection, or whom a trusted proxy names. Pure.
//!
//! `X-Forwarded-For` is read from the right, where the nearest proxy wrote, and only as far as trusted addresses go:
//! the first untrusted one is the client. What stands further left was written by strangers. `Forwarded` (RFC 7239)
//! is not read: no proxy of the usual ones writes it unasked, and two headers could contradict each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// This machine.
pub(crate) const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies in a row whose words are read; real chains have two or three.
const HOPS_MAX: usize = 16;

/// Whether an address lies in one of the networks.
pub(crate) fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The client's address: `peer`, or whom the trusted proxies between name.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_in(trusted, peer) {
        return peer;
    }
    let lines = headers.get_all(FORWARDED_FOR);
    let mut address = peer;
    // Several lines are one list, in their order.
    let entries = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.take(HOPS_MAX) {
        // What is no address was not written by a proxy that we could trust: the last one that we know is the client.
        let Some(named) = std::str::from_utf8(entry).ok().and_then(parse) else { break };
        address = named;
        if !is_in(trusted, named) {
            break;
        }
    }
    address
}

/// Reads `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` and `[2001:db8::1]:4711`.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse::<IpAddr>().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|a| a.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    const TRUSTED: [&str; 3] = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"];

    #[test]
    fn a_strangers_header_counts_for_nothing() {
        assert_eq!(of("203.0.113.9", &["198.51.100.1"], &TRUSTED), "203.0.113.9");
        assert_eq!(of("127.0.0.1", &["198.51.100.1"], &[]), "127.0.0.1");
    }

    #[test]
    fn the_header_is_read_from_the_right_through_trusted_hops_only() {
        assert_eq!(of("127.0.0.1", &["198.51.100.1"], &TRUSTED), "198.51.100.1");
        assert_eq!(
            of("127.0.0.1", &["6.6.6.6, 198.51.100.1"], &TRUSTED),
            "198.51.100.1",
            "forged on the left"
        );
        assert_eq!(of("127.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.7"], &TRUSTED), "198.51.100.1");
        assert_eq!(of("127.0.0.1", &["6.6.6.6", "198.51.100.1"], &TRUSTED), "198.51.100.1", "two lines");
        assert_eq!(
            of("127.0.0.1", &["10.0.0.8, 10.0.0.7"], &TRUSTED),
            "10.0.0.8",
            "all inside: the furthest"
        );
        assert_eq!(of("127.0.0.1", &[], &TRUSTED), "127.0.0.1");
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for nonsense in ["unknown", "", "localhost", "1.2.3.4.5", "6.6.6.6 7.7.7.7", "_secret"] {
            assert_eq!(of("127.0.0.1", &[nonsense], &TRUSTED), "127.0.0.1", "{nonsense}");
            assert_eq!(of("127.0.0.1", &[&format!("6.6.6.6, {nonsense}, 10.0.0.7")], &TRUSTED), "10.0.0.7");
        }
        let long = ["10.0.0.1"; 40].join(",");
        assert_eq!(of("127.0.0.1", &[&format!("6.6.6.6,{long}")], &TRUSTED), "10.0.0.1");
    }

    #[test]
    fn all_spellings_of_an_address_are_one() {
        assert_eq!(of("::ffff:127.0.0.1", &["::ffff:198.51.100.1"], &TRUSTED), "198.51.100.1");
        assert_eq!(of("127.0.0.1", &["198.51.100.1:4711"], &TRUSTED), "198.51.100.1");
        assert_eq!(of("127.0.0.1", &["[2001:db8::1]:4711"], &TRUSTED), "2001:db8::1");
        assert_eq!(of("fd00::1", &["[2001:db8::1]"], &TRUSTED), "2001:db8::1");
    }
}
