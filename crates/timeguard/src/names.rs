//! Addresses of the servers' names: looked up, kept for a while, and given out in the order in which to ask them.
//!
//! All addresses of a name have their turn: the one that answered last is asked first, those that told us to leave
//! never again. It decides nothing about time.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::time::BootClock;
use tokio::time::timeout;

use crate::policy::Server;

/// The port of NTP (RFC 5905 section 7.2).
pub const NTP_PORT: u16 = 123;

/// How long the addresses of a name are used, nanoseconds: an hour. The system's resolver does not say how long they are
/// good for; what stops answering is looked up sooner.
const NAME_LIFE_NS: u64 = 3_600_000_000_000;

/// How long a look-up is awaited: a resolver that is slower will be asked again.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

/// Addresses of one name that are kept. A pool gives four of each kind; a hostile resolver could give hundreds.
const ADDRESSES_MAX: usize = 8;

/// Addresses that told us to leave and are remembered: far more than an honest list of servers has.
const LEFT_MAX: usize = 256;

/// Splits `host`, `host:port`, `1.2.3.4:port` or `[2001:db8::1]:port` into host and port. `None` for what is none of
/// these.
#[must_use]
pub fn host_and_port(name: &str, default_port: u16) -> Option<(String, u16)> {
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return Some((address.to_string(), default_port));
    }
    if let Ok(address) = name.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port()));
    }
    let (host, port) = match name.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (name, default_port),
    };
    // RFC 1123 section 2.1: letters, digits, hyphens and dots, 253 at most.
    let label = |label: &str| {
        let fits = (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
        fits && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    let bare = host.strip_suffix('.').unwrap_or(host);
    (bare.len() <= 253 && bare.split('.').all(label)).then(|| (host.to_owned(), port))
}

/// What is known about the addresses of names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Counts the networks: what was looked up in an older one is not kept.
    network: u64,
    names: HashMap<String, Looked>,
    left: HashSet<SocketAddr>,
    /// The address that last answered for each server, and who runs it.
    answering: HashMap<usize, (SocketAddr, String)>,
}

#[derive(Clone, Debug)]
struct Looked {
    at_ns: u64,
    addresses: Vec<SocketAddr>,
}

/// Where to ask a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// At these addresses, in this order.
    Ask(Vec<SocketAddr>),
    /// All addresses told us to leave.
    Left,
    /// The name leads nowhere now.
    Nowhere,
}

impl Names {
    /// Gives where to ask a server, looking its name up when that is due.
    pub(crate) async fn places(&self, id: usize, server: &Server, boot: &dyn BootClock) -> Places {
        let now_ns = boot.boottime_ns();
        let (network, fresh) = {
            let known = self.lock();
            let looked = known.names.get(&server.name);
            let fresh = looked.filter(|looked| now_ns.saturating_sub(looked.at_ns) < NAME_LIFE_NS);
            (known.network, fresh.map(|looked| looked.addresses.clone()))
        };
        let addresses = match fresh {
            Some(addresses) => addresses,
            None => match look_up(&server.name).await {
                Some(addresses) => {
                    let mut known = self.lock();
                    if known.network == network {
                        let looked = Looked { at_ns: now_ns, addresses: addresses.clone() };
                        known.names.insert(server.name.clone(), looked);
                    }
                    addresses
                }
                None => return Places::Nowhere,
            },
        };
        let known = self.lock();
        let mut wanted: Vec<SocketAddr> =
            addresses.into_iter().filter(|address| !known.left.contains(address)).collect();
        if wanted.is_empty() {
            return Places::Left;
        }
        if let Some((last, _)) = known.answering.get(&id) {
            wanted.sort_by_key(|address| address != last);
        }
        Places::Ask(wanted)
    }

    /// Notes that an address answered for a server. False when it answers for another operator's server already: one
    /// machine has one vote, whatever names lead to it.
    pub(crate) fn answered(&self, id: usize, operator: &str, address: SocketAddr) -> bool {
        let mut known = self.lock();
        let taken = |(other, (at, by)): (&usize, &(SocketAddr, String))| {
            *other != id && *at == address && by != operator
        };
        if known.answering.iter().any(taken) {
            return false;
        }
        known.answering.insert(id, (address, operator.to_owned()));
        true
    }

    /// Notes that no address of a server answered: its name is looked up before the next question.
    pub(crate) fn silent(&self, id: usize, name: &str) {
        let mut known = self.lock();
        known.names.remove(name);
        known.answering.remove(&id);
    }

    /// Notes that an address told us to leave.
    pub(crate) fn leave(&self, address: SocketAddr) {
        let mut known = self.lock();
        if known.left.len() < LEFT_MAX {
            known.left.insert(address);
        }
    }

    /// Forgets what an older network's resolver said.
    pub(crate) fn forget(&self) {
        let mut known = self.lock();
        known.network += 1;
        known.names.clear();
        known.answering.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(name: &str) -> Option<Vec<SocketAddr>> {
    let (host, port) = host_and_port(name, NTP_PORT)?;
    let found = timeout(LOOKUP_WAIT, tokio::net::lookup_host((host.as_str(), port))).await;
    match found {
        Ok(Ok(addresses)) => {
            let mut unique: Vec<SocketAddr> = Vec::new();
            for address in addresses {
                if !unique.contains(&address) && unique.len() < ADDRESSES_MAX {
                    unique.push(address);
                }
            }
            (!unique.is_empty()).then_some(unique)
        }
        Ok(Err(error)) => {
            tracing::debug!(name, %error, "a time server's name leads nowhere");
            None
        }
        Err(_) => {
            tracing::debug!(name, "the resolver does not answer");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use platform::sim::SimClock;

    use super::*;

    fn server(name: &str) -> Server {
        Server { name: name.to_owned(), operator: "o".to_owned() }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_and_ports_are_read() {
        let read = |name| host_and_port(name, 123);
        assert_eq!(read("time.example"), Some(("time.example".to_owned(), 123)));
        assert_eq!(read("time.example:1123"), Some(("time.example".to_owned(), 1_123)));
        assert_eq!(read("192.0.2.1"), Some(("192.0.2.1".to_owned(), 123)));
        assert_eq!(read("192.0.2.1:99"), Some(("192.0.2.1".to_owned(), 99)));
        assert_eq!(read("2001:db8::1"), Some(("2001:db8::1".to_owned(), 123)));
        assert_eq!(read("[2001:db8::1]:99"), Some(("2001:db8::1".to_owned(), 99)));
        for wrong in
            ["", "a b", "time.example:0", "time.example:x", "-a.example", "a..b", "http://a", "[::1", "ü"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_one_that_answered_is_asked_first_and_one_that_said_leave_never() {
        let (names, boot) = (Names::default(), SimClock::manual(1));
        let given = vec![address("192.0.2.1:123"), address("192.0.2.2:123"), address("192.0.2.3:123")];
        let looked = Looked { at_ns: boot.boottime_ns(), addresses: given.clone() };
        names.lock().names.insert("t.example".to_owned(), looked);
        assert_eq!(names.places(0, &server("t.example"), &boot).await, Places::Ask(given.clone()));
        assert!(names.answered(0, "o", given[2]));
        let expected = vec![given[2], given[0], given[1]];
        assert_eq!(names.places(0, &server("t.example"), &boot).await, Places::Ask(expected));
        for gone in &given {
            names.leave(*gone);
        }
        assert_eq!(names.places(0, &server("t.example"), &boot).await, Places::Left);
    }

    #[tokio::test]
    async fn names_are_looked_up_again_when_old_silent_or_in_a_new_network() {
        let (names, boot) = (Names::default(), SimClock::manual(1));
        let stale = Looked { at_ns: boot.boottime_ns(), addresses: vec![address("192.0.2.9:123")] };
        let fresh = Places::Ask(vec![address("127.0.0.1:123")]);
        let asked = server("127.0.0.1");
        let remember = || names.lock().names.insert(asked.name.clone(), stale.clone());
        remember();
        assert_ne!(names.places(0, &asked, &boot).await, fresh);
        names.silent(0, &asked.name);
        assert_eq!(names.places(0, &asked, &boot).await, fresh);
        remember();
        names.forget();
        assert_eq!(names.places(0, &asked, &boot).await, fresh);
        remember();
        boot.advance(Duration::from_nanos(NAME_LIFE_NS));
        assert_eq!(names.places(0, &asked, &boot).await, fresh);
    }

    #[test]
    fn one_machine_speaks_for_one_operator() {
        let names = Names::default();
        let machine = address("192.0.2.1:123");
        assert!(names.answered(0, "one", machine));
        assert!(names.answered(0, "one", machine));
        assert!(names.answered(1, "one", machine), "the same operator's second name");
        assert!(!names.answered(2, "other", machine));
        names.silent(0, "t");
        names.silent(1, "t");
        assert!(names.answered(2, "other", machine));
    }
}
