//! The evidence that comes over the network: time servers by SNTP and certificates by TLS. It asks, and decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use platform::time::BootClock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::certificates::Hosts;
use crate::names::{Names, Places};
use crate::policy::{CertificateWindow, Kiss, Sample, Server};
use crate::run::{Answer, Evidence};
use crate::sntp::{self, SntpError};

/// How long one address of a server is ahead of the next: longer than an honest round trip, so that a second one is
/// asked only when the first is slow, and short enough for trust within 3 s when the first is dead.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(700);

/// Addresses of one server that are asked for one answer.
const ADDRESSES_ASKED_MAX: usize = 4;

/// Asks servers and hosts on the network.
#[derive(Debug)]
pub struct NetworkEvidence {
    boot: Arc<dyn BootClock>,
    names: Names,
    hosts: Hosts,
    /// UTC that tells the NTP era, microseconds: the floor at the start.
    pivot_us: i64,
}

impl NetworkEvidence {
    /// Joins the clocks, the hosts whose certificates are looked at, and a UTC (microseconds) within 68 years of the
    /// truth.
    #[must_use]
    pub fn new(boot: Arc<dyn BootClock>, hosts: Hosts, pivot_us: i64) -> Self {
        Self { boot, names: Names::default(), hosts, pivot_us }
    }

    /// Asks the addresses one after the other, the next when one fails or is slow, until one gives an answer.
    async fn ask(&self, id: usize, server: &Server, addresses: Vec<SocketAddr>) -> Answer {
        let mut waiting = addresses.into_iter().take(ADDRESSES_ASKED_MAX).peekable();
        let mut asked: JoinSet<(SocketAddr, Result<Sample, SntpError>)> = JoinSet::new();
        let (mut refused, mut failed) = (false, false);
        loop {
            if let Some(address) = waiting.next() {
                let (boot, pivot_us) = (self.boot.clone(), self.pivot_us);
                asked.spawn(async move { (address, sntp::ask(address, boot.as_ref(), pivot_us).await) });
            }
            let done = tokio::select! {
                done = asked.join_next() => done,
                () = sleep(NEXT_ADDRESS_AFTER), if waiting.peek().is_some() => continue,
            };
            match done {
                Some(Ok((address, Ok(sample)))) => {
                    if self.names.answered(id, &server.operator, address) {
                        return Answer::Sample(sample);
                    }
                    let name = &server.name;
                    tracing::warn!(name, %address, "this machine answers for another operator already");
                    failed = true;
                }
                Some(Ok((address, Err(SntpError::Kiss(Kiss::Leave))))) => {
                    tracing::warn!(name = server.name, %address, "the time server asks us to leave");
                    self.names.leave(address);
                    refused = true;
                }
                Some(Ok((address, Err(SntpError::Kiss(Kiss::Slower))))) => {
                    tracing::info!(name = server.name, %address, "the time server asks for fewer questions");
                    return Answer::Kiss(Kiss::Slower);
                }
                Some(Ok((address, Err(error)))) => {
                    tracing::debug!(name = server.name, %address, %error, "no time");
                    failed = true;
                }
                Some(Err(error)) => tracing::error!(%error, "a question ended early"),
                None if waiting.peek().is_some() => {}
                None => break,
            }
        }
        if refused && !failed {
            // The next look-up may know other addresses; when it does not, all have told us to leave.
            return Answer::Kiss(Kiss::Leave);
        }
        self.names.silent(id, &server.name);
        Answer::Silence
    }
}

impl Evidence for NetworkEvidence {
    async fn query(&self, id: usize, server: Server) -> Answer {
        match self.names.places(id, &server, self.boot.as_ref()).await {
            Places::Ask(addresses) => self.ask(id, &server, addresses).await,
            Places::Left => Answer::Kiss(Kiss::Leave),
            Places::Nowhere => Answer::Silence,
        }
    }

    async fn certificates(&self) -> Option<CertificateWindow> {
        self.hosts.window().await
    }

    fn network_changed(&self) {
        self.names.forget();
    }
}
