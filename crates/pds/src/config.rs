//! What the owner or the simulator decides about a PDS, and the limits that follow from it.

use std::path::PathBuf;

use crate::limits::RateLimits;

/// Largest blob, bytes. Videos of the common app reach 100 MB (`facts`: the distribution's own default).
pub const BLOB_BYTES_MAX: u64 = 104_857_600;

/// Largest CAR that `importRepo` takes, bytes. A repo of a million records is about 500 MB; beyond this an upload is
/// an attack on the disk rather than an account.
pub const IMPORT_BYTES_MAX: u64 = 1_073_741_824;

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
    /// Suffixes under which handles are given out, each with its leading dot.
    pub handle_domains: Vec<String>,
    /// Password of `Basic admin:…`; none switches administration by HTTP off.
    pub admin_password: Option<String>,
    /// Plain http and loopback peers are allowed.
    pub dev_mode: bool,
    /// Largest blob, bytes.
    pub blob_bytes_max: u64,
    /// Largest imported CAR, bytes.
    pub import_bytes_max: u64,
    /// Rate limits in force.
    pub rate_limits: RateLimits,
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
            handle_domains: vec![".test".to_owned()],
            admin_password: None,
            dev_mode: true,
            blob_bytes_max: BLOB_BYTES_MAX,
            import_bytes_max: IMPORT_BYTES_MAX,
            rate_limits: RateLimits::default(),
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
