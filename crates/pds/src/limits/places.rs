//! Places: how much of what takes long, or costs memory while it lasts, one client address may hold at a time.
//!
//! Rates are bounded elsewhere; a caller that is slow rather than frequent is bounded here. The addresses of trusted
//! proxies have no bound of their own: what comes from there unmarked is this machine, or everybody.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;

use super::network_of;
use crate::{error::XrpcError, server::client::is_in};

/// Bounds on what one address, or all together, may hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Connections of all. Each idle one costs some 20 KiB; the kernel's queue holds further ones back.
    pub connections: usize,
    /// Connections of one address. A household of apps and browsers has a few dozen; eight such are all there are.
    pub connections_per_address: u32,
    /// Requests under way of one address behind a proxy, where connections tell nothing.
    pub requests_per_address: u32,
    /// Exports of whole repositories of one address, of the 32 that the store makes at a time.
    pub exports_per_address: u32,
    /// Firehose subscriptions of one address, of the 64 that there are. A relay has one, perhaps two while it restarts.
    pub subscribers_per_address: u32,
    /// A connection that takes nothing of what is sent to it for so long is cut. A reader at 1 KiB/s makes room in its
    /// window once a minute at the worst.
    pub stall: Duration,
    /// How fast an export must be taken on the average, bytes per second: half of what the slowest honest line does.
    pub export_bytes_per_s_min: u64,
    /// How long an export may be slower than that at its beginning.
    pub export_grace: Duration,
}

impl Default for PlaceLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 128,
            requests_per_address: 64,
            exports_per_address: 8,
            subscribers_per_address: 8,
            stall: Duration::from_secs(300),
            export_bytes_per_s_min: 512,
            export_grace: Duration::from_secs(120),
        }
    }
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// A connection.
    Connection,
    /// A request that came through a proxy.
    Request,
    /// An export of a whole repository.
    Export,
    /// A firehose subscription.
    Subscription,
}

/// The places of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: PlaceLimits,
    unbounded: Vec<IpNet>,
    /// Holds what is taken and nothing else, so that it is no larger than all bounds together.
    taken: Mutex<HashMap<(What, u64), u32>>,
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place(Option<(Places, What, u64)>);

/// One address holds all places that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this address holds as many places as one may")]
pub(crate) struct Full;

/// Seconds after which a caller without a place may ask again.
const RETRY_AFTER_S: u32 = 30;

impl From<Full> for XrpcError {
    fn from(_full: Full) -> Self {
        Self::new(
            axum::http::StatusCode::TOO_MANY_REQUESTS,
            "RateLimitExceeded",
            "Too many of these at a time from your address; wait until one has ended",
        )
        .retry_after(RETRY_AFTER_S)
    }
}

impl Places {
    /// Starts with all places free. Addresses in `unbounded` are not counted.
    pub(crate) fn new(limits: PlaceLimits, unbounded: Vec<IpNet>) -> Self {
        Self(Arc::new(Inner { limits, unbounded, taken: Mutex::default() }))
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> PlaceLimits {
        self.0.limits
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`Full`]: the address, or the IPv6 /64 around it, has as many as one may.
    pub(crate) fn take(&self, what: What, address: IpAddr) -> Result<Place, Full> {
        if is_in(&self.0.unbounded, address.to_canonical()) {
            return Ok(Place(None));
        }
        let limits = &self.0.limits;
        let most = match what {
            What::Connection => limits.connections_per_address,
            What::Request => limits.requests_per_address,
            What::Export => limits.exports_per_address,
            What::Subscription => limits.subscribers_per_address,
        };
        let network = network_of(address);
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry((what, network)).or_insert(0);
        if *count >= most {
            if *count == 0 {
                taken.remove(&(what, network));
            }
            return Err(Full);
        }
        *count += 1;
        drop(taken);
        Ok(Place(Some((self.clone(), what, network))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, what, network)) = self.0.take() else { return };
        let mut taken = places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&(what, network)) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&(what, network));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_gets_its_places_and_frees_them_by_dropping() {
        let limits = PlaceLimits { exports_per_address: 2, ..PlaceLimits::default() };
        let places = Places::new(limits, vec!["127.0.0.0/8".parse().unwrap()]);
        let first = places.take(What::Export, ip("192.0.2.1")).unwrap();
        let second = places.take(What::Export, ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(places.take(What::Export, ip("192.0.2.1")).unwrap_err(), Full);
        assert!(places.take(What::Subscription, ip("192.0.2.1")).is_ok(), "each kind counts alone");
        assert!(places.take(What::Export, ip("192.0.2.2")).is_ok(), "each address counts alone");
        drop(first);
        let third = places.take(What::Export, ip("192.0.2.1")).unwrap();
        drop((second, third));
        assert!(places.0.taken.lock().unwrap().is_empty(), "nothing is left behind");
        let _many: Vec<Place> =
            (0..10).map(|_| places.take(What::Export, ip("127.0.0.1")).unwrap()).collect();
    }

    #[test]
    fn one_home_on_ipv6_is_one_address() {
        let limits = PlaceLimits { connections_per_address: 1, ..PlaceLimits::default() };
        let places = Places::new(limits, Vec::new());
        let _place = places.take(What::Connection, ip("2001:db8::1")).unwrap();
        assert!(places.take(What::Connection, ip("2001:db8::2")).is_err());
        assert!(places.take(What::Connection, ip("2001:db8:0:1::1")).is_ok());
    }
}
