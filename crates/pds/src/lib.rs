//! The personal data server: XRPC routes, sessions, account life cycle, identity and firehose.
//!
//! It keeps nothing durable of its own (that is `store`), reads no clock but the one it is given, and knows no hardware.
//! Whatever signs or checks a token asks the clock for a trusted time first, and answers 503 `ClockUntrusted` without
//! one; public reads go on.

mod account_creation;
mod app;
mod auth;
mod codes;
pub mod config;
mod date;
mod documents;
mod drain;
pub mod error;
mod firehose;
mod handles;
pub mod identity;
mod identity_change;
mod input;
mod invites;
mod lexicons;
pub mod limits;
pub mod mail;
mod metrics;
mod mime;
pub mod outbound;
pub mod plc_client;
mod proxy;
mod relay;
mod rotation_key;
mod server;
pub mod settings;
mod status;
mod store_error;
mod upkeep;
mod xrpc;

use std::{
    ffi::CStr,
    sync::{Arc, atomic::AtomicU64},
};

use control::{PdsStatus, status::PdsState};
use platform::{CodeScreen, Disk, time::Clock};
use store::{Files, OpenError, Store, StoreError};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use config::Config;
pub use server::{Acceptor, Plain};

use crate::{
    account_creation::Creations,
    app::{App, RecordKeys},
    auth::{jwt::SessionKeys, password::Passwords},
    codes::Codes,
    date::DateHeader,
    firehose::Subscribers,
    identity::{Hosted, Resolver},
    limits::{Limiter, places::Places},
    mail::Mailer,
    metrics::{Metrics, Outbound},
    plc_client::PlcClient,
    server::Door,
};

/// Name of the secret that signs session tokens.
const SESSION_SECRET: &str = "session-jwt";

/// What the PDS needs from the box.
#[derive(Clone, Debug)]
pub struct Platform {
    /// The only clock.
    pub clock: Clock,
    /// The disk under the data folder, if its room is to be watched.
    pub disk: Option<Arc<dyn Disk>>,
    /// The screen and button that show one-time codes while no mail server is set.
    pub codes: Option<Arc<dyn CodeScreen>>,
    /// Whether the network is up: relays are asked anew when it comes back. None takes it for granted.
    pub network: Option<watch::Receiver<bool>>,
    /// Rings when the owner wants repos healed that were signed in the future, whatever the relays say.
    pub heal: Option<Arc<Notify>>,
    /// Where the store's files lie; none takes the system's disks.
    pub storage: Option<Storage>,
}

/// A file layer of its own for the store: the crash test keeps one that forgets what was not synced.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Blobs, keys and the lock.
    pub files: Arc<dyn Files>,
    /// Name of the SQLite VFS over the same files.
    pub vfs: &'static CStr,
}

impl Platform {
    /// A box of which only the clock, and perhaps the disk, can be told.
    #[must_use]
    pub fn new(clock: Clock, disk: Option<Arc<dyn Disk>>) -> Self {
        Self { clock, disk, codes: None, network: None, heal: None, storage: None }
    }
}

/// Why the PDS did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The data folder belongs to another PLC directory.
    #[error(
        "this data folder belongs to the PLC directory {remembered}, not to {asked}; start with the former, or use another data folder"
    )]
    OtherPlc {
        /// The one it belongs to.
        remembered: String,
        /// The one that was asked for.
        asked: String,
    },
    /// The store cannot be opened.
    #[error("the data folder cannot be opened")]
    Open(#[source] OpenError),
    /// The store fails at the start or the end.
    #[error("{doing} failed")]
    Store {
        /// The operation.
        doing: &'static str,
        /// The store's reason.
        #[source]
        source: StoreError,
    },
    /// The server's secret has not 32 bytes.
    #[error("the secret of session tokens is damaged; remove it, and everybody has to sign in again")]
    Secret,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The client of the PLC directory cannot be made.
    #[error("the PLC directory cannot be used")]
    Plc(#[source] plc_client::PlcClientError),
    /// The client for other servers cannot be made.
    #[error("other servers cannot be asked")]
    Outbound(#[source] outbound::OutboundError),
    /// The mail settings cannot be used.
    #[error("mail cannot be sent with these settings")]
    Mail(#[source] mail::MailSettingsError),
    /// The address of the figures cannot be listened on.
    #[error("cannot listen on {address} for /metrics (metrics_address)")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A blocking task died.
    #[error("a task died")]
    Task(#[source] tokio::task::JoinError),
}

/// Names of the procedures that this server answers itself; those that depend on a setting too.
#[must_use]
pub fn procedures() -> Vec<&'static str> {
    let routes = xrpc::routes().into_iter();
    routes.filter(|route| route.kind == xrpc::route::Kind::Procedure).map(|route| route.nsid).collect()
}

/// Runs a PDS on `listener` until `shutdown`; `status` says `Serving` once it answers.
///
/// # Errors
/// [`RunError`]; nothing is served then.
pub async fn run(
    config: Config,
    platform: Platform,
    listener: TcpListener,
    status: watch::Sender<PdsStatus>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    run_with(Plain, config, platform, listener, status, shutdown).await
}

/// [`run`], speaking HTTP on the streams that `acceptor` makes of the connections.
///
/// # Errors
/// As [`run`].
pub async fn run_with<A: Acceptor>(
    acceptor: A,
    mut config: Config,
    platform: Platform,
    listener: TcpListener,
    status: watch::Sender<PdsStatus>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    config.normalise();
    // Bound before the store is opened: a taken port is the likelier mistake.
    let metrics_listener = metrics_listener(&config).await?;
    let store = open(&config, &platform).await?;
    let disk = platform.disk.clone();
    let care = platform.clone();
    let app = assemble(config, platform, store.clone(), shutdown.clone()).await?;
    let door = Door { places: app.places.clone(), metrics: Arc::clone(&app.metrics) };
    let mut router = xrpc::router(Arc::clone(&app));
    if app.config.dev_mode {
        router = router.merge(metrics::router(Arc::clone(&app), disk.clone(), true));
    }
    if let Some(listener) = metrics_listener {
        let figures = metrics::router(Arc::clone(&app), disk.clone(), false);
        app.tasks.spawn(server::serve(listener, Plain, figures, door.clone(), shutdown.clone()));
    }
    app.tasks.spawn(account_creation::resume(Arc::clone(&app)));
    app.tasks.spawn(upkeep::keep(Arc::clone(&app)));
    app.tasks.spawn(mail::keep(Arc::clone(&app)));
    app.tasks.spawn(relay::keep(Arc::clone(&app), care));
    app.tasks.spawn(status::keep(Arc::clone(&app), status.clone()));
    tracing::info!(url = app.config.public_url, "serving");
    server::serve(listener, acceptor, router, door, shutdown).await;
    app.tasks.close();
    if tokio::time::timeout(TASKS_END, app.tasks.wait()).await.is_err() {
        tracing::warn!("{} tasks did not end in time", app.tasks.len());
    }
    status.send_modify(|s| s.state = PdsState::Stopped { why: "The server was stopped.".to_owned() });
    store.close().await.map_err(|source| RunError::Store { doing: "closing the store", source })
}

/// How long tasks may take to end after the last connection; the longest of them waits for the PLC directory.
const TASKS_END: std::time::Duration = std::time::Duration::from_secs(12);

async fn metrics_listener(config: &Config) -> Result<Option<TcpListener>, RunError> {
    let Some(address) = config.metrics_address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|source| RunError::Metrics { address, source })
}

async fn open(config: &Config, platform: &Platform) -> Result<Store, RunError> {
    let mut settings =
        store::Config::new(config.data_dir.clone(), config.plc_identity.clone(), platform.clock.clone());
    settings.disk = platform.disk.clone();
    if let Some(storage) = &platform.storage {
        settings.files = Arc::clone(&storage.files);
        settings.vfs = Some(storage.vfs);
    }
    settings.limits.blob_bytes_max = config.blob_bytes_max;
    settings.limits.import_bytes_max = config.import_bytes_max;
    let opened = tokio::task::spawn_blocking(move || Store::open(settings)).await.map_err(RunError::Task)?;
    let store = opened.map_err(|e| match e {
        OpenError::OtherPlc { stored, asked } => RunError::OtherPlc { remembered: stored, asked },
        other => RunError::Open(other),
    })?;
    if let Some(given_up) = store.given_up() {
        tracing::warn!(
            from = given_up.from,
            to = given_up.to,
            "the disk with later data was given up: numbers go on after all that it can have sent, and every account is \
             announced anew as soon as the clock is trusted"
        );
    }
    Ok(store)
}

async fn assemble(
    config: Config,
    platform: Platform,
    store: Store,
    shutdown: CancellationToken,
) -> Result<Arc<App>, RunError> {
    let clock = platform.clock;
    let secret = store.secret(SESSION_SECRET, None).await;
    let secret =
        secret.map_err(|source| RunError::Store { doing: "reading the secret of session tokens", source })?;
    let secret: &[u8; 32] = secret.as_slice().try_into().map_err(|_| RunError::Secret)?;
    let metrics = Metrics::new(&xrpc::routes());
    let plc = PlcClient::new(&config.plc_url, config.dev_mode, clock.clone()).map_err(RunError::Plc)?;
    let plc = plc.counted(metrics.outbound_failures(Outbound::Plc));
    let hosted = Hosted::new(store.clone(), config.handle_domains.clone(), config.public_url.clone());
    let identity = Resolver::new(plc.clone(), config.dev_mode, config.dns_servers.clone(), clock.clone())
        .map_err(RunError::Outbound)?
        .with_hosted(hosted)
        .counted(metrics.outbound_failures(Outbound::Identity));
    let (mails, mail_failures) = metrics.mails();
    let mailer = Mailer::new(config.mail.as_ref(), clock.clone(), config.hostname.clone())
        .map_err(RunError::Mail)?
        .counted(mails, mail_failures);
    let mailer = Arc::new(mailer);
    Ok(Arc::new(App {
        codes: Codes::new(store.clone(), Arc::clone(&mailer), platform.codes, config.hostname.clone()),
        mailer,
        sessions: SessionKeys::new(secret, config.service_did()),
        passwords: Passwords::default(),
        limiter: Limiter::new(config.rate_limits, clock.clone()),
        places: Places::new(config.places, config.trusted_proxies.clone()),
        metrics: Arc::new(metrics),
        identity,
        plc,
        upstreams: proxy::Upstreams::new(clock.clone()).map_err(RunError::Outbound)?,
        lexicons: lexicons::Registry::new(config.dev_mode, clock.clone()).map_err(RunError::Outbound)?,
        creations: Creations::default(),
        subscribers: Subscribers::default(),
        relays: relay::Board::default(),
        record_keys: RecordKeys::new().map_err(RunError::Random)?,
        last_write_us: AtomicU64::new(0),
        tasks: TaskTracker::new(),
        date: DateHeader::default(),
        config,
        clock,
        store,
        shutdown,
    }))
}
