//! Whether a network is there, and under which addresses this machine is on it.
//!
//! Plain data, and the trait that reads it and tells of changes.

use std::net::IpAddr;
use std::time::Duration;

use crate::DeviceError;

/// One link with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel name, such as `eth0`, `wlan0`.
    pub name: String,
    /// True for Wi-Fi.
    pub wireless: bool,
    /// A cable is in and the other end answers, or Wi-Fi is joined.
    pub carrier: bool,
    /// Its addresses, IPv4 first, without those that reach only the link itself (169.254/16, fe80::/10).
    pub addresses: Vec<IpAddr>,
}

/// The network as it is now. Loopback is not part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// The links, cables before Wi-Fi, each by name.
    pub links: Vec<Link>,
    /// A default route exists, for IPv4 or IPv6: the world may be reached.
    pub has_route: bool,
}

impl NetworkState {
    /// Gives all addresses, the one to show first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.links.iter().filter(|link| link.carrier).flat_map(|link| link.addresses.iter().copied())
    }

    /// Tells whether there is an address and a way out.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.has_route && self.addresses().next().is_some()
    }

    /// Tells whether the world should be asked anew, coming from `before`: the network came up, or it is another one.
    #[must_use]
    pub fn came_up(&self, before: &Self) -> bool {
        let is_new = self.addresses().any(|address| before.addresses().all(|old| old != address));
        self.is_up() && (!before.is_up() || is_new)
    }
}

/// Reads the network and tells of changes.
pub trait Network: Send + std::fmt::Debug {
    /// Reads it as it is now.
    ///
    /// # Errors
    /// When the system does not tell.
    fn state(&mut self) -> Result<NetworkState, DeviceError>;

    /// Waits until something about links, addresses or routes changed, or `limit` is over; zero looks without waiting.
    /// Tells whether something changed: read [`Network::state`] then.
    ///
    /// # Errors
    /// When the system cannot be listened to.
    fn wait_change(&mut self, limit: Duration) -> Result<bool, DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(addresses: &[&str], carrier: bool, has_route: bool) -> NetworkState {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        NetworkState {
            links: vec![Link { name: "eth0".to_owned(), wireless: false, carrier, addresses }],
            has_route,
        }
    }

    #[test]
    fn up_means_an_address_and_a_way_out() {
        assert!(state(&["192.168.1.7"], true, true).is_up());
        assert!(!state(&["192.168.1.7"], false, true).is_up());
        assert!(!state(&["192.168.1.7"], true, false).is_up());
        assert!(!state(&[], true, true).is_up());
    }

    #[test]
    fn coming_up_and_moving_to_another_network_are_told_and_losing_an_address_is_not() {
        let down = NetworkState::default();
        let here = state(&["192.168.1.7", "2001:db8::7"], true, true);
        assert!(here.came_up(&down));
        assert!(!here.came_up(&here));
        assert!(state(&["10.0.0.9"], true, true).came_up(&here));
        assert!(!state(&["192.168.1.7"], true, true).came_up(&here));
        assert!(!down.came_up(&here));
    }
}
