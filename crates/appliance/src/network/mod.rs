//! What DHCP gave each interface, as our script wrote it down.
//!
//! Parsing only; whoever answers DHCP wrote the values, so that each is checked to be an address.

pub mod watch;

use std::net::IpAddr;

/// The script that udhcpc calls; the supervisor writes it into its run folder at every start.
pub const UDHCPC_SCRIPT: &str = include_str!("udhcpc.sh");

/// The file in the run folder that tells the PDS of the network ([`control::status::NetworkWord`]).
pub const NETWORK_FILE: &str = "network/state.json";

/// Largest lease that is read, bytes.
pub const LEASE_BYTES_MAX: u64 = 4096;

/// Time servers of one lease that are taken: they have one vote together, so that more only cost packets.
pub const SERVERS_MAX: usize = 4;

/// What DHCP gave one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Option<IpAddr>,
    /// The time servers that the network names (option 42).
    pub time_servers: Vec<IpAddr>,
}

impl Lease {
    /// Reads what the script wrote. What is no address is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut lease = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("ip") => lease.address = words.next().and_then(|word| word.parse().ok()),
                Some("ntp") => {
                    lease.time_servers =
                        words.filter_map(|word| word.parse().ok()).take(SERVERS_MAX).collect();
                }
                _ => {}
            }
        }
        lease
    }
}

/// Tells whether an interface is to be looked after: not loopback, and with a name that can be a file's.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    // IFNAMSIZ of linux/if.h is 16 with the end.
    plain
        && (1..=15).contains(&name.len())
        && ["eth", "en", "wlan", "wl", "usb"].iter().any(|kind| name.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_addresses_and_nothing_else() {
        let lease = Lease::parse("ip 192.168.1.20\nntp 192.168.1.1 $(reboot) fe80::1 ntp.evil.example\n");
        assert_eq!(lease.address, Some([192, 168, 1, 20].into()));
        assert_eq!(lease.time_servers, [IpAddr::from([192, 168, 1, 1]), "fe80::1".parse().unwrap()]);
        assert_eq!(Lease::parse("ip \nntp \nmore"), Lease::default());
        let many = format!("ntp {}", "10.0.0.1 ".repeat(50));
        assert_eq!(Lease::parse(&many).time_servers.len(), SERVERS_MAX);
    }

    #[test]
    fn only_cables_and_wireless_are_looked_after() {
        assert!(["eth0", "end0", "wlan0", "enxb827eb000000"].iter().all(|name| is_ours(name)));
        assert!(
            !["lo", "docker0", "eth0.5", "../eth0", "", "eth012345678901234"]
                .iter()
                .any(|name| is_ours(name))
        );
    }

    #[test]
    fn the_script_hands_the_lease_over_and_runs_nothing_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let (script, bin) = (folder.path().join("udhcpc.sh"), folder.path().join("bin"));
        std::fs::write(&script, UDHCPC_SCRIPT).unwrap();
        std::fs::create_dir(&bin).unwrap();
        let log = folder.path().join("ip.log");
        std::fs::write(bin.join("ip"), format!("#!/bin/sh\necho \"$*\" >>'{}'\n", log.display())).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(bin.join("ip"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let call = |event: &str| {
            let done = std::process::Command::new("/bin/sh")
                .arg(&script)
                .arg(event)
                .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
                .env("PERCH_RUN", folder.path())
                .envs([("interface", "eth0"), ("ip", "10.0.2.15"), ("mask", "24"), ("router", "10.0.2.2")])
                .envs([("dns", "10.0.2.3"), ("ntpsrv", "10.0.2.4 $(touch evil) ;reboot")])
                .current_dir(folder.path())
                .status();
            assert!(done.unwrap().success());
        };
        call("bound");
        let lease = std::fs::read_to_string(folder.path().join("eth0.lease")).unwrap();
        assert_eq!(Lease::parse(&lease).time_servers, [IpAddr::from([10, 0, 2, 4])]);
        assert_eq!(Lease::parse(&lease).address, Some([10, 0, 2, 15].into()));
        assert!(!folder.path().join("evil").exists());
        let resolv = std::fs::read_to_string(folder.path().join("resolv.conf")).unwrap();
        assert_eq!(resolv, "nameserver 10.0.2.3\n");
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("-4 addr replace 10.0.2.15/24 dev eth0"), "{said}");
        assert!(said.contains("-4 route replace default via 10.0.2.2 dev eth0"), "{said}");
        call("deconfig");
        assert!(!folder.path().join("eth0.lease").exists());
    }
}
