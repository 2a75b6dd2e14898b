//! Finds out what a DID says: its keys, its handle, its server.
//!
//! Documents of strangers come from hosts that strangers name, so that requests go only to the public internet, are
//! small and end soon. Nothing that is read here is trusted beyond what the DID's own owner may say about itself.

mod cache;
mod dns;
mod handle;
mod hosted;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use atproto::{
    did_doc::{DidDocument, DidDocumentError},
    service_jwt::{Claims, Expected, ServiceJwtError, Unverified},
    syntax::{Did, Handle},
};
use platform::time::{Clock, TrustedTime};
use prometheus_client::metrics::counter::Counter;
use reqwest::StatusCode;
use tokio::sync::Semaphore;

use self::{
    cache::{Cache, DOCUMENTS, Found, HANDLES},
    dns::TxtLookup,
};
pub use self::{dns::DnsError, handle::HandleError, hosted::Hosted};
use crate::{
    outbound::{self, OutboundError, Reach},
    plc_client::{PlcClient, PlcClientError},
};

/// Largest document of a `did:web` that is read, in bytes; PLC documents are held to the same.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Requests for identities at once. Strangers can cause them; more wait.
const REQUESTS_MAX: usize = 16;

/// Says why a DID's document could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The method is neither `plc` nor `web`.
    #[error("DIDs of this method are not supported")]
    Method,
    /// A `did:web` has a path, or names a host that no stranger's document may be fetched from.
    #[error("this did:web names no host of the public internet")]
    Host,
    /// The PLC directory did not give it.
    #[error("the document could not be had from the PLC directory")]
    Plc(#[source] PlcClientError),
    /// The host did not give it.
    #[error("the document could not be had from its host")]
    Outbound(#[source] OutboundError),
    /// The host answered something else.
    #[error("the document's host answered with status {status}")]
    Status {
        /// HTTP status.
        status: u16,
    },
    /// The host gave no document of this DID.
    #[error("the document's host gave an unusable document")]
    BadDocument(#[source] DidDocumentError),
    /// An identity that only this server could give out, and has not.
    #[error("this server has no such account")]
    NotHere,
    /// The account that this server gave it to cannot be read.
    #[error("the account cannot be read")]
    Store(#[source] store::StoreError),
    /// It was not found a moment ago.
    #[error("there was no such DID a moment ago")]
    NotFoundLately,
    /// This server is ending.
    #[error("this server is ending")]
    Ending,
}

impl IdentityError {
    /// Says whether the DID surely does not exist (any more).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Plc(error) => matches!(error, PlcClientError::NotFound | PlcClientError::Gone),
            Self::Status { status } => *status == StatusCode::NOT_FOUND.as_u16(),
            Self::NotHere | Self::NotFoundLately => true,
            Self::Method
            | Self::Host
            | Self::Outbound(_)
            | Self::BadDocument(_)
            | Self::Store(_)
            | Self::Ending => false,
        }
    }

    /// Says whether the same question may be answered later.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Plc(error) => error.is_temporary(),
            Self::Outbound(_) => true,
            Self::Status { status } => *status >= 500,
            Self::Method
            | Self::Host
            | Self::BadDocument(_)
            | Self::NotHere
            | Self::NotFoundLately
            | Self::Store(_)
            | Self::Ending => false,
        }
    }
}

/// Says why a service token does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceTokenError {
    /// The token itself is at fault.
    #[error(transparent)]
    Token(#[from] ServiceJwtError),
    /// The issuer's document could not be had.
    #[error("the issuer's key could not be found")]
    Identity(#[from] IdentityError),
    /// The issuer's document has no usable key.
    #[error("the issuer's document has no key to check the token with")]
    NoKey,
}

/// What a checked service token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceToken {
    /// The account that made it.
    pub issuer: Did,
    /// All that it says.
    pub claims: Claims,
}

/// Finds documents and remembers them for a while.
#[derive(Debug)]
pub struct Resolver {
    plc: PlcClient,
    web: reqwest::Client,
    dev_mode: bool,
    clock: Clock,
    /// Answers for the identities that this server gives out.
    hosted: Option<Hosted>,
    /// None stands for a DID that its source does not know.
    documents: Mutex<Cache<Did, Option<Arc<DidDocument>>>>,
    /// None stands for a handle of nobody.
    handles: Mutex<Cache<Handle, Option<Did>>>,
    dns: TxtLookup,
    /// `https`; tests have hosts without certificates.
    handle_scheme: &'static str,
    places: Semaphore,
    /// The directory's own places: strangers' slow hosts must not keep this server's accounts waiting.
    plc_places: Semaphore,
    failures: Counter,
}

impl Resolver {
    /// Prepares to ask; asks nothing yet. In `dev_mode` documents may come from this machine and over http. DNS is
    /// asked at `dns_servers`; none means those of the system.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        plc: PlcClient,
        dev_mode: bool,
        dns_servers: Vec<SocketAddr>,
        clock: Clock,
    ) -> Result<Self, OutboundError> {
        let reach = if dev_mode { Reach::Configured } else { Reach::Public };
        Ok(Self {
            plc,
            web: outbound::client(reach, clock.clone())?,
            dev_mode,
            hosted: None,
            documents: Mutex::new(Cache::new(DOCUMENTS)),
            handles: Mutex::new(Cache::new(HANDLES)),
            dns: TxtLookup::new(dns_servers, clock.clone()),
            handle_scheme: "https",
            clock,
            places: Semaphore::new(REQUESTS_MAX),
            plc_places: Semaphore::new(REQUESTS_MAX),
            failures: Counter::default(),
        })
    }

    /// Lets this server's own accounts be asked here and not over the network.
    #[must_use]
    pub fn with_hosted(self, hosted: Hosted) -> Self {
        Self { hosted: Some(hosted), ..self }
    }

    /// Says whether `did` is an identity that only this server can give out, whether it has or not.
    #[must_use]
    pub fn gives_out(&self, did: &Did) -> bool {
        self.hosted.as_ref().is_some_and(|hosted| hosted.gives_out(did))
    }

    /// Counts there how often a document of the web could not be read.
    #[must_use]
    pub(crate) fn counted(self, failures: Counter) -> Self {
        Self { failures, ..self }
    }

    /// Gives a DID's document, perhaps of a few minutes ago; of up to an hour ago while its source fails.
    pub async fn document(&self, did: &Did) -> Result<Arc<DidDocument>, IdentityError> {
        let found = self.cached(did);
        if let Found::Fresh(document) = found {
            return document.ok_or(IdentityError::NotFoundLately);
        }
        match (self.fresh_document(did).await, found) {
            (Err(error), Found::Stale(Some(document))) if error.is_temporary() => Ok(document),
            (Err(error), _) if error.is_not_found() => {
                self.lock().put_briefly(did, None, self.clock.boottime_ns());
                Err(error)
            }
            (result, _) => result,
        }
    }

    /// Gives a DID's document as it is now.
    pub async fn fresh_document(&self, did: &Did) -> Result<Arc<DidDocument>, IdentityError> {
        let places = if did.is_plc() { &self.plc_places } else { &self.places };
        let _place = places.acquire().await.map_err(|_| IdentityError::Ending)?;
        let document = Arc::new(match did.method() {
            "plc" => self.plc.document(did).await.map_err(IdentityError::Plc)?,
            "web" if self.gives_out(did) => self.hosted_document(did).await?,
            "web" => self.web_document(did).await.inspect_err(|_| {
                self.failures.inc();
            })?,
            _ => return Err(IdentityError::Method),
        });
        self.lock().put(did, Some(Arc::clone(&document)), self.clock.boottime_ns());
        Ok(document)
    }

    /// Forgets what is known of a DID, because it has just been changed.
    pub fn forget(&self, did: &Did) {
        self.lock().forget(did);
    }

    /// Checks a service token against its issuer's key.
    ///
    /// A key that does not fit is looked up once more, because it may have been changed; but not if it was looked up
    /// within the last half minute, so that bad tokens cannot make this server ask for ever.
    pub async fn verify_service_token(
        &self,
        token: &str,
        expected: &Expected<'_>,
        now: TrustedTime,
    ) -> Result<ServiceToken, ServiceTokenError> {
        let token = Unverified::parse(token)?;
        let issuer = token.issuer();
        // Only the account itself or a labeler's own key makes tokens; others have no key in a document.
        let key_name = match token.issuer_service() {
            None => "atproto",
            Some("atproto_labeler") => "atproto_label",
            Some(_) => return Err(ServiceTokenError::NoKey),
        };
        let document = self.document(issuer).await?;
        let key = document.key(key_name).ok_or(ServiceTokenError::NoKey)?;
        let mut checked = token.verify(&key, expected, now).cloned();
        let may_be_old = matches!(checked, Err(ServiceJwtError::Signature(_) | ServiceJwtError::Algorithm));
        if may_be_old && !self.lock().is_just_asked(issuer, self.clock.boottime_ns()) {
            let document = self.fresh_document(issuer).await?;
            let key = document.key(key_name).ok_or(ServiceTokenError::NoKey)?;
            checked = token.verify(&key, expected, now).cloned();
        }
        Ok(ServiceToken { issuer: issuer.clone(), claims: checked? })
    }

    async fn hosted_document(&self, did: &Did) -> Result<DidDocument, IdentityError> {
        let Some(hosted) = &self.hosted else { return Err(IdentityError::NotHere) };
        hosted.document(did).await.map_err(IdentityError::Store)?.ok_or(IdentityError::NotHere)
    }

    async fn web_document(&self, did: &Did) -> Result<DidDocument, IdentityError> {
        let url = web_address(did, self.dev_mode).ok_or(IdentityError::Host)?;
        let failed = |error| IdentityError::Outbound(OutboundError::Request(error));
        let response = self.web.get(url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(IdentityError::Status { status: response.status().as_u16() });
        }
        let body =
            outbound::read_body(response, DOCUMENT_BYTES_MAX).await.map_err(IdentityError::Outbound)?;
        DidDocument::parse(did, &body).map_err(IdentityError::BadDocument)
    }

    fn cached(&self, did: &Did) -> Found<Option<Arc<DidDocument>>> {
        self.lock().get(did, self.clock.boottime_ns())
    }

    /// Takes the documents; no lock is held while waiting for anything.
    fn lock(&self) -> MutexGuard<'_, Cache<Did, Option<Arc<DidDocument>>>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the handles, as [`Self::lock`].
    fn lock_handles(&self) -> MutexGuard<'_, Cache<Handle, Option<Did>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the address of a `did:web`'s document.
///
/// The protocol allows a host name only: no path, no address literal, a port only for a computer at a desk.
fn web_address(did: &Did, dev_mode: bool) -> Option<String> {
    let host = did.as_str().strip_prefix("did:web:")?;
    if dev_mode && let Some(port) = host.strip_prefix("localhost") {
        let port: u16 = if port.is_empty() { 80 } else { port.strip_prefix("%3A")?.parse().ok()? };
        return Some(format!("http://localhost:{port}/.well-known/did.json"));
    }
    // A handle is a host name of at least two parts whose last is not a number.
    let host = Handle::parse(host).ok()?;
    (dev_mode || !host.is_reserved()).then(|| format!("https://{host}/.well-known/did.json"))
}
