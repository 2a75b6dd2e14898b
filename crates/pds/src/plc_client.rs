//! Talks to the PLC directory: reads documents and logs, hands in operations.
//!
//! What is in an operation, and whether it is valid, is `atproto::plc`'s business. Every request has a time limit, a
//! size limit and few retries; the caller decides what a lasting failure means.

use std::{error::Error as _, time::Duration};

use atproto::{
    did_doc::{DidDocument, DidDocumentError},
    plc::{LogEntry, PlcError, Signed},
    syntax::Did,
};
use platform::time::Clock;
use prometheus_client::metrics::counter::Counter;
use reqwest::{Method, StatusCode, Url};

use crate::outbound::{self, OutboundError, Reach};

/// Largest document or operation that is read, in bytes. An operation has at most 4,000, its document less than twice.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Largest audit log that is read, in bytes. A directory takes at most 100 operations a week for a DID, of 4,000 bytes.
const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of a refusal's text is kept, in bytes: it goes to the log and to the owner.
const MESSAGE_BYTES_MAX: usize = 1024;
/// How often a request is made before giving up.
///
/// Someone waits for the answer: three tries with the pauses below end within the patience of a client (30 s) in the
/// usual case of an immediate failure.
const TRIES_MAX: u32 = 3;
/// Pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(300);

/// Says what became of a request to the directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlcClientError {
    /// The directory's address cannot be used.
    #[error("the PLC directory's address {url:?} is not usable: {why}")]
    BadUrl {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The DID is not a `did:plc` that a directory could know.
    #[error("not a did:plc")]
    NotPlc,
    /// The directory does not know the DID.
    #[error("the PLC directory does not know this DID")]
    NotFound,
    /// The DID was ended by a tombstone.
    #[error("this DID was ended for good")]
    Gone,
    /// The directory understood and said no.
    #[error("the PLC directory refused with status {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The directory's words, shortened.
        message: String,
    },
    /// The directory answered that it cannot answer now.
    #[error("the PLC directory is not available (status {status}); try again later")]
    Unavailable {
        /// HTTP status.
        status: u16,
    },
    /// The directory could not be reached, or its answer was too large.
    #[error("the PLC directory cannot be reached; try again later")]
    Outbound(#[source] OutboundError),
    /// The directory refused, but whether it has the operation already could not be read.
    #[error("the PLC directory does not tell whether it has the operation; try again later")]
    Unclear(#[source] Box<PlcClientError>),
    /// The document is not one, or is another's.
    #[error("the PLC directory gave an unusable document")]
    BadDocument(#[source] DidDocumentError),
    /// The operation is not one.
    #[error("the PLC directory gave an unusable operation")]
    BadOperation(#[source] PlcError),
    /// The log is not one.
    #[error("the PLC directory gave an unusable log")]
    BadLog(#[source] serde_json::Error),
}

impl PlcClientError {
    /// Says whether the directory surely has not acted on the request, because it was never reached.
    ///
    /// Anything else that is not a refusal leaves open whether an operation was taken.
    #[must_use]
    pub fn was_never_sent(&self) -> bool {
        matches!(self, Self::Outbound(OutboundError::Request(cause)) if cause.is_connect())
    }

    /// Says whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Unclear(_) => true,
            Self::Outbound(error) => matches!(error, OutboundError::Request(_)),
            Self::BadUrl { .. }
            | Self::NotPlc
            | Self::NotFound
            | Self::Gone
            | Self::Refused { .. }
            | Self::BadDocument(_)
            | Self::BadOperation(_)
            | Self::BadLog(_) => false,
        }
    }
}

/// A connection to one directory. Copies share it.
#[derive(Clone, Debug)]
pub struct PlcClient {
    http: reqwest::Client,
    /// Without a slash at the end.
    base: String,
    failures: Counter,
}

/// An answer that was read whole.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl PlcClient {
    /// Prepares to talk to a directory; asks it nothing yet.
    ///
    /// # Errors
    /// `BadUrl` unless the address is https, or http to this machine, or http in `dev_mode`.
    pub fn new(url: &str, dev_mode: bool, clock: Clock) -> Result<Self, PlcClientError> {
        let bad = |why| PlcClientError::BadUrl { url: url.to_owned(), why };
        let parsed = Url::parse(url).map_err(|_| bad("not a URL"))?;
        match parsed.scheme() {
            "https" => {}
            "http" if dev_mode || is_this_machine(&parsed) => {}
            "http" => return Err(bad("http is allowed only to this machine; use https")),
            _ => return Err(bad("must begin with https://")),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            return Err(bad("must not hold a user name or a query"));
        }
        let http = outbound::client(Reach::Configured, clock).map_err(PlcClientError::Outbound)?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), failures: Counter::default() })
    }

    /// Counts there how often the directory did not answer usably.
    #[must_use]
    pub(crate) fn counted(self, failures: Counter) -> Self {
        Self { failures, ..self }
    }

    /// The directory's address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Reads a DID's document.
    pub async fn document(&self, did: &Did) -> Result<DidDocument, PlcClientError> {
        let body = self.get(did, "", DOCUMENT_BYTES_MAX).await?;
        DidDocument::parse(did, &body).map_err(PlcClientError::BadDocument)
    }

    /// Reads a DID's newest operation.
    pub async fn last(&self, did: &Did) -> Result<Signed, PlcClientError> {
        let body = self.get(did, "/log/last", DOCUMENT_BYTES_MAX).await?;
        Signed::from_json(&body).map_err(PlcClientError::BadOperation)
    }

    /// Reads all operations of a DID, nullified ones included, oldest first. They are not checked.
    pub async fn audit_log(&self, did: &Did) -> Result<Vec<LogEntry>, PlcClientError> {
        let body = self.get(did, "/log/audit", LOG_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(PlcClientError::BadLog)
    }

    /// Hands in an operation; does nothing if the directory has it already.
    ///
    /// A refusal is only reported when the directory's log was read and does not hold the operation.
    pub async fn submit(&self, did: &Did, operation: &Signed) -> Result<(), PlcClientError> {
        // What the directory would refuse anyway needs no request.
        operation.check_limits().map_err(PlcClientError::BadOperation)?;
        let url = self.address(did, "")?;
        let json = operation.to_json();
        let answer = self.ask(Method::POST, &url, Some(&json), MESSAGE_BYTES_MAX).await?;
        let Err(refused) = accepted(answer) else { return Ok(()) };
        // An answer may have been lost after the directory had taken the operation, perhaps before a restart.
        match self.holds(did, operation).await {
            Ok(true) => {
                tracing::info!("the PLC directory had the operation already: {refused}");
                Ok(())
            }
            Ok(false) => Err(refused),
            // The refusal may mean that the operation is there already.
            Err(cause) => Err(PlcClientError::Unclear(Box::new(cause))),
        }
    }

    /// Hands in an operation that was kept as JSON, as [`PlcClient::submit`] does.
    pub async fn submit_json(&self, did: &Did, json: &[u8]) -> Result<(), PlcClientError> {
        let operation = Signed::from_json(json).map_err(PlcClientError::BadOperation)?;
        self.submit(did, &operation).await
    }

    /// Says whether the directory has the operation, in force.
    async fn holds(&self, did: &Did, operation: &Signed) -> Result<bool, PlcClientError> {
        let cid = operation.cid().to_string();
        match self.audit_log(did).await {
            Ok(log) => Ok(log.iter().any(|entry| entry.cid == cid && !entry.nullified)),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn address(&self, did: &Did, path: &str) -> Result<String, PlcClientError> {
        if did.is_plc() { Ok(format!("{}/{did}{path}", self.base)) } else { Err(PlcClientError::NotPlc) }
    }

    async fn get(&self, did: &Did, path: &str, bytes_max: usize) -> Result<Vec<u8>, PlcClientError> {
        let url = self.address(did, path)?;
        accepted(self.ask(Method::GET, &url, None, bytes_max).await?)
    }

    /// Makes a request, again after a pause when the directory cannot be reached or is not available.
    ///
    /// Of several failures it gives the one after which the directory may have acted, if there is one.
    async fn ask(
        &self,
        method: Method,
        url: &str,
        json: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Answer, PlcClientError> {
        let mut pause = PAUSE;
        let mut worst: Option<PlcClientError> = None;
        for round in 1..=TRIES_MAX {
            match self.ask_once(&method, url, json, bytes_max).await {
                Err(error) if error.is_temporary() => {
                    let cause = error.source().map(ToString::to_string).unwrap_or_default();
                    tracing::debug!("try {round} of {TRIES_MAX} failed: {error}: {cause}");
                    if worst.as_ref().is_none_or(PlcClientError::was_never_sent) {
                        worst = Some(error);
                    }
                }
                done => return done,
            }
            if round < TRIES_MAX {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
        self.failures.inc();
        // There is one after the last round; the variant only names what cannot happen.
        Err(worst.unwrap_or(PlcClientError::Unavailable { status: 0 }))
    }

    async fn ask_once(
        &self,
        method: &Method,
        url: &str,
        json: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Answer, PlcClientError> {
        let mut request = self.http.request(method.clone(), url);
        if let Some(json) = json {
            request = request.header("content-type", "application/json").body(json.to_vec());
        }
        let failed = |error| PlcClientError::Outbound(OutboundError::Request(error));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(PlcClientError::Unavailable { status: status.as_u16() });
        }
        let bytes_max = if status.is_success() { bytes_max } else { MESSAGE_BYTES_MAX };
        let body = match outbound::read_body(response, bytes_max).await {
            // A refusal, or the answer to an operation, counts whatever its text.
            Err(OutboundError::TooLarge { .. }) if bytes_max == MESSAGE_BYTES_MAX => Vec::new(),
            body => body.map_err(PlcClientError::Outbound)?,
        };
        Ok(Answer { status, body })
    }
}

/// Gives the body of a success, or the refusal.
fn accepted(answer: Answer) -> Result<Vec<u8>, PlcClientError> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    let message = message(&answer.body);
    Err(match answer.status {
        StatusCode::GONE => PlcClientError::Gone,
        // The reference answers 404 to both and tells them apart only in words.
        StatusCode::NOT_FOUND if message.contains("not available") => PlcClientError::Gone,
        StatusCode::NOT_FOUND => PlcClientError::NotFound,
        status => PlcClientError::Refused { status: status.as_u16(), message },
    })
}

/// Takes the words out of a refusal: `{"message": "..."}`, or the text itself if it is readable.
fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).collect(),
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
