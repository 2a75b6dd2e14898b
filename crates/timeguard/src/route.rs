//! Notices that this machine has got an address, or another one, so that all servers are asked at once.
//!
//! The supervisor tells it too (`Request::NetworkUp`); this works without one, and for networks that nobody announces.
//! Nothing is sent: the kernel says from which address it would send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::run::Command;

/// Time between looks. 1 s: trust is promised 3 s after the network is up.
const LOOK: Duration = Duration::from_secs(1);

/// Somewhere on the internet: addresses for documentation (RFC 5737, RFC 3849), where nobody is. The port is not used.
const SOMEWHERE_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const SOMEWHERE_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// From which addresses this machine would send to the internet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OwnAddresses {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl OwnAddresses {
    async fn now() -> Self {
        Self {
            v4: own_address(Ipv4Addr::UNSPECIFIED.into(), SOMEWHERE_V4).await,
            v6: own_address(Ipv6Addr::UNSPECIFIED.into(), SOMEWHERE_V6).await,
        }
    }

    /// Tells whether there is an address now that there was not before. Losing one is no news to anybody.
    fn is_new_since(self, before: Self) -> bool {
        (self.v4.is_some() && self.v4 != before.v4) || (self.v6.is_some() && self.v6 != before.v6)
    }
}

/// Asks the kernel which address it would send from; `None` when no route leads there.
async fn own_address(any: IpAddr, somewhere: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(somewhere).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Looks every second, and tells the guard when an address has come, until it is told to stop.
pub async fn watch(commands: mpsc::Sender<Command>, shutdown: CancellationToken) {
    // The guard begins by asking everybody: what is there at the start is no news.
    let mut before = OwnAddresses::now().await;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        let now = OwnAddresses::now().await;
        // When the queue is full the address stays news for the next look.
        if !now.is_new_since(before) || commands.try_send(Command::NetworkUp).is_ok() {
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_comes_or_changes_is_news_and_one_that_goes_is_not() {
        let none = OwnAddresses::default();
        let v4 = |last| OwnAddresses { v4: Some(Ipv4Addr::new(10, 0, 0, last).into()), v6: None };
        let both = OwnAddresses { v6: Some(Ipv6Addr::LOCALHOST.into()), ..v4(1) };
        assert!(v4(1).is_new_since(none) && v4(2).is_new_since(v4(1)) && both.is_new_since(v4(1)));
        assert!(!none.is_new_since(v4(1)) && !v4(1).is_new_since(v4(1)) && !v4(1).is_new_since(both));
    }

    #[tokio::test]
    async fn the_kernel_tells_the_address_that_it_would_send_from() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let here = own_address(Ipv4Addr::UNSPECIFIED.into(), SocketAddr::new(loopback, 9)).await;
        assert_eq!(here, Some(loopback));
    }
}
