//! What the owner or the simulator decides about a PDS, and the limits that follow from it.

use std::{fmt, net::SocketAddr, path::PathBuf};

use atproto::crypto::{PublicKey, SigningKey};
use ipnet::IpNet;

use crate::{
    limits::{PlaceLimits, RateLimits},
    server::client::LOOPBACK,
};

/// Largest blob, bytes. Videos of the common app reach 100 MB (`facts`: the distribution's own default).
pub const BLOB_BYTES_MAX: u64 = 104_857_600;

/// Largest CAR that `importRepo` takes, bytes. A repo of a million records is about 500 MB; beyond this an upload is
/// an attack on the disk rather than an account.
pub const IMPORT_BYTES_MAX: u64 = 1_073_741_824;

/// A setting that no log and no error message may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Gives the text, for its one use.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Another server that calls are passed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its base URL, without a trailing slash.
    pub url: String,
    /// Its DID, without a fragment.
    pub did: String,
}

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// `smtps://user:password@host:465` or `smtp://…:587`; holds the password.
    pub smtp_url: Secret,
    /// The sender's address, perhaps with a name.
    pub from: String,
}

/// Settings of one PDS.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host name without port; `did:web:<hostname>` is the service's DID.
    pub hostname: String,
    /// The base URL that clients and DID documents use, without a trailing slash.
    pub public_url: String,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Where to reach the PLC directory.
    pub plc_url: String,
    /// The directory's lasting name; a data folder belongs to one directory for ever. Its URL, except for a directory
    /// whose port changes from start to start.
    pub plc_identity: String,
    /// Name servers to ask; none means those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Suffixes under which handles are given out, each with its leading dot.
    pub handle_domains: Vec<String>,
    /// Password of `Basic admin:…`; none switches administration by HTTP off.
    pub admin_password: Option<Secret>,
    /// New accounts need an invite code.
    pub invite_required: bool,
    /// How long an account lives for each invite code that it may give away; none gives none away by itself.
    pub invite_interval: Option<std::time::Duration>,
    /// Life before this moment earns no invite codes, microseconds since 1970.
    pub invite_epoch_us: u64,
    /// Signs PLC operations; without it one is made and kept in the data folder.
    pub plc_rotation_key: Option<SigningKey>,
    /// A key of the operator's that every new identity gets before the server's own.
    pub recovery_key: Option<PublicKey>,
    /// Where reading calls go that this server does not answer itself.
    pub appview: Option<Service>,
    /// Where reports go.
    pub report_service: Option<Service>,
    /// Who may take down in the operator's place; nobody but the operator when it is not set.
    pub moderation_service: Option<Service>,
    /// How mail leaves; without it codes are shown on the box.
    pub mail: Option<Mail>,
    /// Relays that are asked to crawl: base URLs without a trailing slash.
    pub crawlers: Vec<String>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Age assurance questions are answered here instead of by the AppView.
    pub age_assurance: bool,
    /// Plain http and loopback peers are allowed.
    pub dev_mode: bool,
    /// Largest blob, bytes.
    pub blob_bytes_max: u64,
    /// Largest imported CAR, bytes.
    pub import_bytes_max: u64,
    /// Rate limits in force.
    pub rate_limits: RateLimits,
    /// Whoever sends it as `x-ratelimit-bypass` is not limited.
    pub rate_limit_bypass_key: Option<Secret>,
    /// Bounds on connections and on what takes long.
    pub places: PlaceLimits,
    /// Where `/metrics` listens; in dev mode it is on the main port for loopback as well.
    pub metrics_address: Option<SocketAddr>,
}

impl Config {
    /// Settings for a computer at a desk: loopback, `.test` handles, plain http.
    #[must_use]
    pub fn local(data_dir: PathBuf, port: u16, plc_url: String) -> Self {
        Self {
            hostname: "localhost".to_owned(),
            public_url: format!("http://localhost:{port}"),
            data_dir,
            plc_identity: plc_url.clone(),
            plc_url,
            dns_servers: Vec::new(),
            handle_domains: vec![".test".to_owned()],
            admin_password: None,
            invite_required: false,
            invite_interval: None,
            invite_epoch_us: 0,
            plc_rotation_key: None,
            recovery_key: None,
            appview: None,
            report_service: None,
            moderation_service: None,
            mail: None,
            crawlers: Vec::new(),
            trusted_proxies: LOOPBACK.to_vec(),
            age_assurance: false,
            dev_mode: true,
            blob_bytes_max: BLOB_BYTES_MAX,
            import_bytes_max: IMPORT_BYTES_MAX,
            rate_limits: RateLimits::default(),
            rate_limit_bypass_key: None,
            places: PlaceLimits::default(),
            metrics_address: None,
        }
    }

    /// The DID under which this server takes and gives tokens.
    #[must_use]
    pub fn service_did(&self) -> String {
        format!("did:web:{}", self.hostname)
    }

    /// Gives each handle domain its leading dot and lower case; owners write them both ways.
    pub(crate) fn normalise(&mut self) {
        for domain in &mut self.handle_domains {
            *domain = format!(".{}", domain.trim_start_matches('.').to_ascii_lowercase());
        }
        while self.public_url.ends_with('/') {
            self.public_url.pop();
        }
    }
}
