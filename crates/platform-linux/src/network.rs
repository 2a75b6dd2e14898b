//! Links, addresses and routes, and netlink's word that they changed.
//!
//! Netlink only wakes: the state is then read whole, so that a lost message does no harm.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use platform::{DeviceError, Link, Network, NetworkState};

/// Groups of rtnetlink that are listened to: links, addresses and routes of IPv4 and IPv6 (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// The network of this network namespace.
#[derive(Debug)]
pub struct LinuxNetwork {
    socket: OwnedFd,
    sys: PathBuf,
    proc: PathBuf,
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> DeviceError {
    move |errno| DeviceError::new("network", operation, errno.into())
}

impl LinuxNetwork {
    /// Opens a socket that hears of changes.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open() -> Result<Self, DeviceError> {
        let failed = failed("listen for changes");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .map_err(&failed)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).map_err(&failed)?;
        Ok(Self { socket, sys: PathBuf::from("/sys"), proc: PathBuf::from("/proc/thread-self") })
    }

    /// Takes away all that waits in the socket; tells whether there was anything.
    fn drain(&self) -> Result<bool, DeviceError> {
        let mut message = [0; 8192];
        let mut any = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                // Lost messages are a change too.
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EAGAIN) => return Ok(any),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("listen for changes")(errno)),
            }
        }
    }
}

impl AsFd for LinuxNetwork {
    /// Readable when something changed, for who waits for several things at once.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Network for LinuxNetwork {
    fn state(&mut self) -> Result<NetworkState, DeviceError> {
        let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for entry in nix::ifaddrs::getifaddrs().map_err(failed("list addresses"))? {
            if entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK) {
                continue;
            }
            let addresses = found.entry(entry.interface_name).or_default();
            let address = entry.address.and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            });
            addresses.extend(address.filter(|address| reaches_beyond_the_link(*address)));
        }
        let mut links: Vec<_> =
            found.into_iter().map(|(name, addresses)| link(&self.sys, name, addresses)).collect();
        links.sort_by_key(|link| link.wireless);
        Ok(NetworkState { links, has_route: has_route(&self.proc) })
    }

    fn wait_change(&mut self, limit: Duration) -> Result<bool, DeviceError> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => Ok(false),
            Ok(_) => self.drain(),
            Err(errno) => Err(failed("listen for changes")(errno)),
        }
    }
}

fn reaches_beyond_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback() && !v6.is_unspecified(),
    }
}

fn link(sys: &Path, name: String, mut addresses: Vec<IpAddr>) -> Link {
    let folder = sys.join("class/net").join(&name);
    // An address of IPv4 is what people type.
    addresses.sort_by_key(IpAddr::is_ipv6);
    Link {
        wireless: folder.join("wireless").exists() || folder.join("phy80211").exists(),
        carrier: std::fs::read_to_string(folder.join("carrier")).is_ok_and(|text| text.trim() == "1"),
        name,
        addresses,
    }
}

/// Looks for a default route in the kernel's tables.
fn has_route(proc: &Path) -> bool {
    let lines = |name: &str| std::fs::read_to_string(proc.join("net").join(name)).unwrap_or_default();
    let v4 = lines("route").lines().skip(1).any(is_default_v4);
    v4 || lines("ipv6_route").lines().any(is_default_v6)
}

/// Reads a line of `/proc/net/route`: name, destination, gateway, flags, use, use, metric, mask, all in hexadecimal.
fn is_default_v4(line: &str) -> bool {
    const UP: u32 = 1;
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, "00000000", _, flags, _, _, _, "00000000", ..] = fields.as_slice() else { return false };
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0)
}

/// Reads a line of `/proc/net/ipv6_route`: destination, its length, ..., flags, name. The kernel always has one on `lo`
/// that refuses.
fn is_default_v6(line: &str) -> bool {
    const UP: u32 = 1;
    const REJECT: u32 = 0x200;
    let fields: Vec<_> = line.split_whitespace().collect();
    let [destination, "00", _, _, _, _, _, _, flags, name] = fields.as_slice() else { return false };
    let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
    destination.bytes().all(|digit| digit == b'0') && *name != "lo" && flags & UP != 0 && flags & REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_known_in_both_tables() {
        assert!(is_default_v4("eth0\t00000000\t0101A8C0\t0003\t0\t0\t1002\t00000000\t0\t0\t0"));
        assert!(!is_default_v4("eth0\t0001A8C0\t00000000\t0001\t0\t0\t1002\t00FFFFFF\t0\t0\t0"));
        let zeros = "0".repeat(32);
        let v6 = |flags: &str, name: &str| {
            is_default_v6(&format!(
                "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 {flags} {name}"
            ))
        };
        assert!(v6("00450003", "eth0"));
        assert!(!v6("00200200", "lo"));
        assert!(!v6("00000203", "eth0"));
    }

    #[test]
    fn a_link_is_read_from_sysfs() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("class/net/wlan0");
        std::fs::create_dir_all(folder.join("wireless")).unwrap();
        std::fs::write(folder.join("carrier"), "1\n").unwrap();
        let addresses = vec!["2001:db8::1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let link = link(dir.path(), "wlan0".to_owned(), addresses);
        assert!(link.wireless && link.carrier);
        assert_eq!(link.addresses[0].to_string(), "10.0.0.2");
    }

    #[test]
    fn addresses_of_the_link_alone_do_not_count() {
        for (address, counts) in [
            ("192.168.1.2", true),
            ("169.254.7.7", false),
            ("127.0.0.1", false),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(reaches_beyond_the_link(address.parse().unwrap()), counts, "{address}");
        }
    }

    #[test]
    fn the_network_of_this_machine_is_read_and_a_quiet_one_is_waited_for_no_longer_than_asked() {
        let mut network = LinuxNetwork::open().unwrap();
        network.state().unwrap();
        // Others may change it meanwhile: what counts is that the call comes back.
        network.wait_change(Duration::from_millis(20)).unwrap();
    }

    #[test]
    fn a_cable_an_address_and_a_route_are_heard_of_and_read() {
        let ip = |words: &str| {
            let done = std::process::Command::new("ip").args(words.split(' ')).output().unwrap();
            assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
        };
        // A network of this thread alone; it goes with the thread.
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut network = LinuxNetwork::open().unwrap();
            assert!(!network.wait_change(Duration::ZERO).unwrap());
            assert_eq!(network.state().unwrap(), NetworkState::default());
            ip("link add v0 type veth peer name v1");
            ip("link set v1 up");
            ip("link set v0 up");
            assert!(network.wait_change(Duration::from_secs(10)).unwrap());
            ip("addr add 192.0.2.7/24 dev v0");
            ip("route add default via 192.0.2.1");
            assert!(network.wait_change(Duration::from_secs(10)).unwrap());
            let state = network.state().unwrap();
            assert!(state.has_route);
            let link = state.links.iter().find(|link| link.name == "v0").unwrap();
            assert_eq!(link.addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
            ip("addr del 192.0.2.7/24 dev v0");
            assert!(network.wait_change(Duration::from_secs(10)).unwrap());
            assert!(!network.state().unwrap().has_route);
        });
        thread.join().unwrap();
    }
}
