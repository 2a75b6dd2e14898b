//! What all handlers share: settings, store, clock, keys and counters. It decides nothing itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use atproto::{
    syntax::{AtIdentifier, Did},
    tid::Tid,
};
use platform::time::{Clock, TrustedTime};
use store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    account_creation::Creations,
    auth::{jwt::SessionKeys, password::Passwords},
    codes::Codes,
    config::Config,
    date::DateHeader,
    error::XrpcError,
    firehose::Subscribers,
    identity::Resolver,
    lexicons::Registry,
    limits::{self, Limiter, places::Places},
    mail::Mailer,
    metrics::Metrics,
    plc_client::PlcClient,
    proxy::Upstreams,
};

/// One PDS while it runs.
#[derive(Debug)]
pub(crate) struct App {
    /// What the owner decided.
    pub(crate) config: Config,
    /// The only clock.
    pub(crate) clock: Clock,
    /// All durable state.
    pub(crate) store: Store,
    /// Makes and checks session tokens.
    pub(crate) sessions: SessionKeys,
    /// Hashes passwords.
    pub(crate) passwords: Passwords,
    /// Counts calls.
    pub(crate) limiter: Limiter,
    /// Bounds what one address may hold at a time.
    pub(crate) places: Places,
    /// Figures for Prometheus.
    pub(crate) metrics: Arc<Metrics>,
    /// Speaks to the PLC directory.
    pub(crate) plc: PlcClient,
    /// Finds DID documents.
    pub(crate) identity: Resolver,
    /// Sends mail.
    pub(crate) mailer: Arc<Mailer>,
    /// Makes and takes one-time codes.
    pub(crate) codes: Codes,
    /// Passes calls on to other servers.
    pub(crate) upstreams: Upstreams,
    /// The types of record that are known.
    pub(crate) lexicons: Registry,
    /// Sign-ups under way.
    pub(crate) creations: Creations,
    /// Counts the firehose's subscribers.
    pub(crate) subscribers: Subscribers,
    /// What is known of the relays.
    pub(crate) relays: crate::relay::Board,
    /// Ends everything.
    pub(crate) shutdown: CancellationToken,
    /// Tasks that outlive their request; awaited at the end.
    pub(crate) tasks: TaskTracker,
    /// Makes `Date` headers.
    pub(crate) date: DateHeader,
    /// Makes record keys.
    pub(crate) record_keys: RecordKeys,
    /// When a record was last written, UTC microseconds; 0 for not since start.
    pub(crate) last_write_us: AtomicU64,
}

impl App {
    /// The trusted time.
    ///
    /// # Errors
    /// 503 `ClockUntrusted`.
    pub(crate) fn now(&self) -> Result<TrustedTime, XrpcError> {
        Ok(self.clock.now()?)
    }

    /// Takes a write's points from the account's hour and day.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn take_write_points(
        &self,
        did: &Did,
        points: u32,
    ) -> Result<Option<limits::Standing>, XrpcError> {
        let hour = self.limiter.take(limits::WRITES_HOUR, did.as_str(), points)?;
        self.limiter.take(limits::WRITES_DAY, did.as_str(), points)?;
        Ok(hour)
    }

    /// Checks that `repo`, a DID or handle of the input, is the signed-in account's own.
    ///
    /// # Errors
    /// 401 for another's repo, 400 when there is none of that name.
    pub(crate) async fn own_repo(&self, repo: &str, signed_in: &Did) -> Result<(), XrpcError> {
        // The usual case costs one comparison: clients name the repo by the DID they signed in with.
        if repo == signed_in.as_str() {
            return Ok(());
        }
        let id = crate::input::field("repo", repo, AtIdentifier::parse)?;
        let account = self.account(&id).await?;
        match account {
            Some(account) if account.did == *signed_in => Ok(()),
            Some(_) => Err(XrpcError::auth_required("Authentication Required")),
            None => Err(XrpcError::forbidden("AccountNotFound", format!("Could not find repo: {repo}"))),
        }
    }

    /// The signed-in account, unless the operator has hidden it: a token may be older than the hold.
    ///
    /// # Errors
    /// 403 `AccountNotFound`, 401 `AccountTakedown`.
    pub(crate) async fn free_account(&self, did: &Did) -> Result<store::Account, XrpcError> {
        let account = self.account(&AtIdentifier::Did(did.clone())).await?;
        let account = account.ok_or(store::StoreError::AccountNotFound)?;
        match account.hold {
            Some(_) => Err(store::StoreError::AccountInactive { status: account.status }.into()),
            None => Ok(account),
        }
    }

    /// Finds a hosted account by DID or handle.
    ///
    /// # Errors
    /// 500 when the store fails.
    pub(crate) async fn account(&self, id: &AtIdentifier) -> Result<Option<store::Account>, XrpcError> {
        let id = id.clone();
        let found = self.store.read(move |r| match &id {
            AtIdentifier::Did(did) => r.account_by_did(did),
            AtIdentifier::Handle(handle) => r.account_by_handle(handle),
        });
        Ok(found.await?)
    }
}

/// Makes record keys that grow, also when two are asked for in one microsecond.
#[derive(Debug)]
pub(crate) struct RecordKeys {
    last_us: AtomicU64,
    clock_id: u16,
}

impl RecordKeys {
    /// Begins with a random clock id, as the TID specification advises.
    ///
    /// # Errors
    /// The system's reason for giving no random bytes.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 2];
        getrandom::fill(&mut bytes)?;
        Ok(Self { last_us: AtomicU64::new(0), clock_id: u16::from_le_bytes(bytes) & 0x3ff })
    }

    /// The next key: `now`, or one microsecond past the last.
    pub(crate) fn next(&self, now: TrustedTime) -> Tid {
        let now = now.unix_micros();
        // The closure never refuses.
        let last = self
            .last_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last.saturating_add(1))));
        let us = now.max(last.unwrap_or(0).saturating_add(1));
        Tid::from_micros(us, self.clock_id)
    }
}

/// The state type of the router.
pub(crate) type Shared = Arc<App>;
