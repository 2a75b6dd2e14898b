//! Figures for Prometheus: what is counted while the server runs, and what is looked up when somebody asks.
//!
//! Every label comes from a list that the program knows, so that no caller can make the text grow. Names of accounts and
//! addresses never appear.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use control::status::RelayState;
use platform::Disk;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{app::Shared, error::XrpcError, server::Peer, xrpc::route::Route};

/// Upper ends of the histogram's buckets, seconds: from a read out of memory to a call that waits for another server.
const DURATION_BUCKETS_S: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Statuses that are counted by themselves; others are counted by their class.
const STATUSES: [(u16, &str); 20] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (302, "302"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (429, "429"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What this server asks other servers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outbound {
    /// The PLC directory.
    Plc,
    /// DID documents and handles.
    Identity,
    /// The AppView and other services that calls are passed on to.
    Proxy,
    /// The relays.
    Relay,
    /// Lexicons.
    Lexicon,
}

impl Outbound {
    fn label(self) -> &'static str {
        match self {
            Self::Plc => "plc",
            Self::Identity => "identity",
            Self::Proxy => "proxy",
            Self::Relay => "relay",
            Self::Lexicon => "lexicon",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ToLabel {
    to: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RelayLabel {
    relay: String,
}

type Calls = Family<CallLabels, Counter>;
type Durations = Family<MethodLabel, Histogram, fn() -> Histogram>;

/// All figures of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    calls: Calls,
    durations: Durations,
    /// Methods that this server answers, by path.
    methods: HashMap<String, MethodFigures>,
    proxied: MethodFigures,
    other: MethodFigures,
    outbound_failures: Family<ToLabel, Counter>,
    mails: Counter,
    mail_failures: Counter,
    connections: Gauge,
    connections_refused: Counter,
    stalled: Counter,
    relay_connected: Family<RelayLabel, Gauge>,
    at_scrape: AtScrape,
}

/// Figures that are looked up when somebody asks.
#[derive(Debug, Default)]
struct AtScrape {
    accounts: Gauge,
    subscribers: Gauge,
    last_seq: Gauge,
    database_bytes: Gauge,
    disk_free_bytes: Gauge,
    disk_total_bytes: Gauge,
    writes_refused: Gauge,
    repos_to_repair: Gauge,
    clock_trusted: Gauge,
    clock_error_bound_seconds: Gauge<f64, AtomicU64>,
}

/// The counters of one method, found once and then used without a look-up.
#[derive(Debug)]
struct MethodFigures {
    name: &'static str,
    by_status: [OnceLock<Counter>; STATUSES.len() + CLASSES.len()],
    duration: OnceLock<Histogram>,
}

impl MethodFigures {
    fn new(name: &'static str) -> Self {
        Self { name, by_status: std::array::from_fn(|_| OnceLock::new()), duration: OnceLock::new() }
    }

    fn note(&self, metrics: &Metrics, status: StatusCode, took: Duration) {
        let (place, label) = status_label(status);
        if let Some(cell) = self.by_status.get(place) {
            let labels = || CallLabels { method: self.name, status: label };
            cell.get_or_init(|| metrics.calls.get_or_create_owned(&labels())).inc();
        }
        let label = MethodLabel { method: self.name };
        self.duration
            .get_or_init(|| metrics.durations.get_or_create_owned(&label))
            .observe(took.as_secs_f64());
    }
}

/// A status's place among the counters, and its label.
fn status_label(status: StatusCode) -> (usize, &'static str) {
    let code = status.as_u16();
    if let Some((place, (_, label))) = STATUSES.iter().enumerate().find(|(_, (known, _))| *known == code) {
        return (place, label);
    }
    let class = usize::from((code / 100).clamp(1, 5)) - 1;
    (STATUSES.len() + class, CLASSES.get(class).copied().unwrap_or("5xx"))
}

impl Metrics {
    /// Starts at zero, for the methods that are served.
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut registry = Registry::with_prefix("perch");
        let calls = Calls::default();
        let durations = Durations::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S));
        let outbound_failures = Family::default();
        let (mails, mail_failures) = (Counter::default(), Counter::default());
        let (connections, connections_refused, stalled) =
            (Gauge::default(), Counter::default(), Counter::default());
        let relay_connected = Family::default();
        let at_scrape = AtScrape::default();
        let r = &mut registry;
        r.register("build", "The program's version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        r.register("requests", "Calls answered, by XRPC method and status", calls.clone());
        r.register(
            "request_duration_seconds",
            "Time until the head of the answer, by XRPC method",
            durations.clone(),
        );
        r.register(
            "outbound_failures",
            "Requests to other servers that failed, by what was asked",
            outbound_failures.clone(),
        );
        r.register("mails_sent", "Mails that the mail server took", mails.clone());
        r.register("mail_failures", "Mails that it did not take", mail_failures.clone());
        r.register("connections", "Connections open now", connections.clone());
        r.register(
            "connections_refused",
            "Connections refused because one address had too many",
            connections_refused.clone(),
        );
        r.register(
            "exports_stalled",
            "Repository downloads ended because the reader was too slow",
            stalled.clone(),
        );
        r.register(
            "relay_connected",
            "Whether a relay follows this server (1) or not (0)",
            relay_connected.clone(),
        );
        let a = &at_scrape;
        r.register("accounts", "Accounts hosted here", a.accounts.clone());
        r.register("firehose_subscribers", "Who follows the firehose now", a.subscribers.clone());
        r.register("firehose_seq", "Sequence number of the newest event", a.last_seq.clone());
        r.register("database_bytes", "Size of the database with its log", a.database_bytes.clone());
        r.register("disk_free_bytes", "Room on the data's file system", a.disk_free_bytes.clone());
        r.register("disk_total_bytes", "Size of the data's file system", a.disk_total_bytes.clone());
        r.register(
            "writes_refused",
            "Whether writes are refused for want of room (1)",
            a.writes_refused.clone(),
        );
        r.register(
            "repos_to_repair",
            "Repositories that were signed in the future and wait for their cure",
            a.repos_to_repair.clone(),
        );
        r.register("clock_trusted", "Whether the clock may be signed with (1)", a.clock_trusted.clone());
        r.register(
            "clock_error_bound_seconds",
            "Largest error of the trusted clock",
            a.clock_error_bound_seconds.clone(),
        );
        let methods =
            routes.iter().map(|route| (format!("/xrpc/{}", route.nsid), MethodFigures::new(route.nsid)));
        Self {
            methods: methods.collect(),
            proxied: MethodFigures::new("(proxied)"),
            other: MethodFigures::new("(other)"),
            registry,
            calls,
            durations,
            outbound_failures,
            mails,
            mail_failures,
            connections,
            connections_refused,
            stalled,
            relay_connected,
            at_scrape,
        }
    }

    /// Counts an answered call; `path` is the request's.
    pub(crate) fn call(&self, path: &str, status: StatusCode, took: Duration) {
        let method = self.methods.get(path);
        let method = method.unwrap_or(if path.starts_with("/xrpc/") { &self.proxied } else { &self.other });
        method.note(self, status, took);
    }

    /// Counts a request of ours that another server did not answer, or not usably.
    pub(crate) fn outbound_failed(&self, to: Outbound) {
        self.outbound_failures.get_or_create(&ToLabel { to: to.label() }).inc();
    }

    /// The counter of what [`Metrics::outbound_failed`] counts, for parts that know nothing of each other.
    pub(crate) fn outbound_failures(&self, to: Outbound) -> Counter {
        self.outbound_failures.get_or_create_owned(&ToLabel { to: to.label() })
    }

    /// The counters of mails that the mail server took, and of those that it did not take.
    pub(crate) fn mails(&self) -> (Counter, Counter) {
        (self.mails.clone(), self.mail_failures.clone())
    }

    /// Counts a connection for as long as the answer lives.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts a connection that was not let in.
    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// Counts an export whose reader was too slow.
    pub(crate) fn export_stalled(&self) {
        self.stalled.inc();
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What the figures are looked up from.
#[derive(Clone, Debug)]
struct Source {
    app: Shared,
    disk: Option<Arc<dyn Disk>>,
    /// Whether only loopback, and nothing that passed a proxy, is answered.
    loopback_only: bool,
}

/// The route `/metrics`. On the main port only loopback is answered, and only in dev mode: a reverse proxy on this
/// machine comes from loopback as well.
pub(crate) fn router(app: Shared, disk: Option<Arc<dyn Disk>>, loopback_only: bool) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Source { app, disk, loopback_only })
}

/// Headers that a proxy adds.
const OF_PROXIES: [&str; 4] = ["x-forwarded-for", "x-real-ip", "forwarded", "via"];

async fn metrics(
    State(source): State<Source>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let peer = peer.map(|Extension(Peer(address))| address.to_canonical());
    let near = peer.is_some_and(|address: IpAddr| address.is_loopback());
    if source.loopback_only && (!near || OF_PROXIES.iter().any(|name| headers.contains_key(*name))) {
        let missing = XrpcError::new(StatusCode::NOT_FOUND, "NotFound", "There is nothing at this address");
        return missing.into_response();
    }
    source.look_up().await;
    let mut text = String::new();
    if let Err(e) = encode(&mut text, &source.app.metrics.registry) {
        return XrpcError::internal(e).into_response();
    }
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    response
}

const TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

impl Source {
    /// Brings the figures up to date that nobody counts.
    async fn look_up(&self) {
        let (app, figures) = (&self.app, &self.app.metrics.at_scrape);
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        // What the store does not answer keeps its last figure.
        if let Ok(accounts) = app.store.read(|r| r.count_accounts()).await {
            figures.accounts.set(signed(accounts));
        }
        figures.subscribers.set(i64::try_from(app.subscribers.count()).unwrap_or(i64::MAX));
        figures.last_seq.set(signed(app.store.last_seq()));
        figures.writes_refused.set(i64::from(app.store.is_full()));
        let known = app.relays.known();
        figures.repos_to_repair.set(signed(known.repos_to_repair));
        for relay in &known.relays {
            let follows = matches!(relay.state, RelayState::Active | RelayState::Throttled);
            let label = RelayLabel { relay: relay.name.clone() };
            app.metrics.relay_connected.get_or_create(&label).set(i64::from(follows));
        }
        let now = app.clock.now();
        figures.clock_trusted.set(i64::from(now.is_ok()));
        if let Ok(now) = now {
            // Microseconds up to five seconds are exact in a float.
            let bound_us = u32::try_from(now.error_bound_us()).unwrap_or(u32::MAX);
            figures.clock_error_bound_seconds.set(f64::from(bound_us) / 1e6);
        }
        let (disk, store) = (self.disk.clone(), app.store.clone());
        let measured = tokio::task::spawn_blocking(move || {
            (disk.and_then(|disk| disk.space().ok()), store.database_bytes().ok())
        });
        if let Ok((space, database_bytes)) = measured.await {
            if let Some(space) = space {
                figures.disk_free_bytes.set(signed(space.free_bytes));
                figures.disk_total_bytes.set(signed(space.total_bytes));
            }
            if let Some(bytes) = database_bytes {
                figures.database_bytes.set(signed(bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_a_bounded_set_of_labels() {
        let labels: std::collections::BTreeSet<&str> =
            (100..1000).map(|code| status_label(StatusCode::from_u16(code).unwrap()).1).collect();
        assert!(labels.len() <= STATUSES.len() + CLASSES.len());
        assert_eq!(status_label(StatusCode::OK).1, "200");
        assert_eq!(status_label(StatusCode::IM_A_TEAPOT).1, "4xx");
        for code in 100..1000 {
            let place = status_label(StatusCode::from_u16(code).unwrap()).0;
            assert!(place < STATUSES.len() + CLASSES.len());
        }
    }

    #[test]
    fn unknown_paths_share_two_names() {
        let metrics = Metrics::new(&crate::xrpc::routes());
        for path in ["/xrpc/com.example.a", "/xrpc/com.example.b", "/xrpc/x", "/a", "/b"] {
            metrics.call(path, StatusCode::NOT_FOUND, Duration::from_millis(1));
        }
        metrics.call("/xrpc/com.atproto.server.describeServer", StatusCode::OK, Duration::from_millis(1));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        assert!(text.contains("perch_requests_total{method=\"(proxied)\",status=\"404\"} 3"), "{text}");
        assert!(text.contains("perch_requests_total{method=\"(other)\",status=\"404\"} 2"), "{text}");
        assert!(
            text.contains(
                "perch_requests_total{method=\"com.atproto.server.describeServer\",status=\"200\"} 1"
            )
        );
        assert!(!text.contains("example"), "{text}");
    }
}
