//! HTTP requests that this server makes: one way to build clients, and the guard against being sent to the inside.
//!
//! TLS checks certificates by our clock: without trusted time there is no https. Redirects are never followed,
//! because each hop would have to pass the guard anew, and system proxies are never used, because they would resolve
//! names on their own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use platform::time::Clock;
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::UnixTime, time_provider::TimeProvider};

/// How long a connection may take, TLS included: a second for each of a few lost packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take, answer included. Callers wait for it in their own request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections that are kept per host: directories are asked in bursts of a few.
const IDLE_PER_HOST_MAX: usize = 2;
/// Idle connections per host of the clients that stream: an app asks for some six things at once when it opens.
const STREAMS_IDLE_MAX: usize = 6;
/// How long an idle connection is kept; each holds some 40 KiB of TLS buffers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const USER_AGENT: &str = concat!("perch/", env!("CARGO_PKG_VERSION"));

/// Whom a client may talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Hosts that the owner named, wherever they are.
    Configured,
    /// Hosts that strangers named: names only, https only, and only addresses of the public internet.
    Public,
}

/// Says why a request could not be made, or its answer not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// The client could not be built.
    #[error("no HTTP client can be made")]
    Build(#[source] reqwest::Error),
    /// The TLS settings do not fit together.
    #[error("no TLS settings can be made")]
    Tls(#[source] rustls::Error),
    /// The other side could not be reached, or broke off.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// The answer is larger than the caller allows.
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge {
        /// The caller's limit.
        bytes_max: usize,
    },
}

/// Builds a client.
pub fn client(reach: Reach, clock: Clock) -> Result<reqwest::Client, OutboundError> {
    builder(reach, clock)?.timeout(REQUEST_TIMEOUT).build().map_err(OutboundError::Build)
}

/// Builds a client whose requests and answers are streams: whoever uses it sets the time limits, and must check with
/// [`may_reach`] an address that is not a name.
pub fn streaming_client(reach: Reach, clock: Clock) -> Result<reqwest::Client, OutboundError> {
    builder(reach, clock)?.pool_max_idle_per_host(STREAMS_IDLE_MAX).build().map_err(OutboundError::Build)
}

/// Says whether a URL of a stranger's may be asked for: https, no user name, and no address of the inside.
///
/// Names are checked when they are resolved; an address literal is never resolved.
#[must_use]
pub fn may_reach(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let anonymous = url.username().is_empty() && url.password().is_none();
    url.scheme() == "https" && anonymous && !host.is_empty() && literal.map_or(true, is_public)
}

fn builder(reach: Reach, clock: Clock) -> Result<reqwest::ClientBuilder, OutboundError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(clock)?)
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT);
    if reach == Reach::Public {
        builder = builder.https_only(true).dns_resolver(PublicOnly);
    }
    Ok(builder)
}

/// Reads an answer's body, no more than `bytes_max` of it.
pub async fn read_body(mut response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, OutboundError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(OutboundError::Request)? {
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(OutboundError::TooLarge { bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// TLS settings with the public roots, judged by our time.
///
/// # Errors
/// When rustls refuses them.
pub(crate) fn tls(clock: Clock) -> Result<ClientConfig, OutboundError> {
    tls_with_roots(clock, RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// [`tls`] with other roots.
///
/// # Errors
/// As [`tls`].
pub(crate) fn tls_with_roots(clock: Clock, roots: RootCertStore) -> Result<ClientConfig, OutboundError> {
    let builder =
        ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(TrustedClock(clock)));
    let builder = builder.with_safe_default_protocol_versions().map_err(OutboundError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Gives TLS the trusted time, or none.
#[derive(Debug)]
struct TrustedClock(Clock);

impl TimeProvider for TrustedClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.0.now().ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now.unix_seconds())))
    }
}

/// Resolves names to addresses of the public internet only.
///
/// The connection is made to an address that passed, so that a name cannot change between check and use.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("the name has no address on the public internet".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Says whether an address is a unicast one of the public internet.
///
/// Follows the IANA special-purpose registries (RFC 6890 and its updates); what can carry an IPv4 address inside
/// (6to4, Teredo, NAT64, mapped) is refused as well, since it could lead inside again.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        [0 | 10 | 127, ..] | [224..=255, ..] => true,
        [100, second, ..] => (64..=127).contains(&second),
        [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..=31).contains(&second),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let special = match address.segments() {
        // Everything that is globally routed lies in 2000::/3.
        [first, ..] if !(0x2000..=0x3fff).contains(&first) => true,
        // 2001::/23 holds Teredo, benchmarking and identifiers; then documentation and 6to4.
        [0x2001, second, ..] => second < 0x0200 || second == 0x0db8,
        [0x2002, ..] => true,
        [0x3fff, second, ..] => second < 0x1000,
        _ => false,
    };
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_inside() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.2.3.4",
            "64:ff9b::1.2.3.4",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1",
            "2a00::1",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn address_literals_and_user_names_are_looked_at_before_asking() {
        for (url, may) in [
            ("https://api.example.com/xrpc/x", true),
            ("https://1.1.1.1:8443/", true),
            ("https://[2606:4700::1]/", true),
            ("http://api.example.com/", false),
            ("https://127.0.0.1/", false),
            ("https://0x7f.1/", false),
            ("https://2130706433/", false),
            ("https://[::1]/", false),
            ("https://[::ffff:10.0.0.1]/", false),
            ("https://169.254.169.254/latest", false),
            ("https://user@api.example.com/", false),
        ] {
            assert_eq!(may_reach(&url.parse().unwrap()), may, "{url}");
        }
    }

    #[tokio::test]
    async fn resolves_no_name_to_the_inside() {
        assert!(PublicOnly.resolve("localhost".parse().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn strangers_hosts_are_asked_by_https_only() {
        let (clock, _) = platform::sim::trusted_clock(1_795_401_296_000_000);
        let client = client(Reach::Public, clock).unwrap();
        assert!(client.get("http://example.com/").send().await.is_err());
    }
}
