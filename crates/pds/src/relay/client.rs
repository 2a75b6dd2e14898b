//! The three questions that a relay is asked. What follows from the answers is decided elsewhere.

use std::time::Duration;

use atproto::{syntax::Did, tid::Tid};
use platform::time::Clock;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::outbound::{self, OutboundError, Reach};

/// Largest answer that is read, bytes. Honest ones have a few hundred.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How long an answer may take. A request to crawl makes the relay ask this server back first, which it gives 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How much of a refusal's text is kept, characters: it goes to the log.
const WORDS_MAX: usize = 200;

/// Why a relay gave no useful answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The relay's address is none.
    #[error("the relay's address is not a URL")]
    Address,
    /// It could not be reached, or broke off.
    #[error("the relay does not answer")]
    Silent(#[source] OutboundError),
    /// It said no.
    #[error("the relay refused with status {status}: {name} {words}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Name of the error.
        name: String,
        /// Its words, shortened.
        words: String,
    },
    /// It said something else than the protocol has.
    #[error("the relay's answer is not understood")]
    Form(#[source] serde_json::Error),
}

impl CallError {
    /// Tells whether it is a refusal of that name.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == wanted)
    }
}

/// What a relay knows of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HostStatus {
    /// The newest of our numbers that it has, some seconds late.
    pub(super) seq: Option<u64>,
    /// The protocol's word; relays may have others.
    pub(super) status: String,
}

/// What a relay knows of a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownRev {
    /// Its newest revision there.
    Rev(Tid),
    /// It has never seen it.
    Nothing,
    /// It does not tell.
    NotTold,
}

/// Asks relays on behalf of one host.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    hostname: String,
}

impl Client {
    /// Prepares to ask for `hostname`.
    pub(super) fn new(hostname: String, clock: Clock) -> Result<Self, OutboundError> {
        Ok(Self { http: outbound::client(Reach::Configured, clock)?, hostname })
    }

    /// Asks a relay to crawl this host.
    pub(super) async fn request_crawl(&self, relay: &str) -> Result<(), CallError> {
        let body = serde_json::json!({ "hostname": self.hostname });
        let request = self.http.post(address(relay, "com.atproto.sync.requestCrawl")).json(&body);
        send(request).await.map(drop)
    }

    /// Asks a relay what it knows of this host.
    pub(super) async fn host_status(&self, relay: &str) -> Result<HostStatus, CallError> {
        let body = self.ask(relay, "com.atproto.sync.getHostStatus", ("hostname", &self.hostname)).await?;
        serde_json::from_slice(&body).map_err(CallError::Form)
    }

    /// Asks a relay for the newest revision that it has of a repo.
    pub(super) async fn repo_rev(&self, relay: &str, did: &Did) -> Result<KnownRev, CallError> {
        let asked = self.ask(relay, "com.atproto.sync.getRepoStatus", ("did", did.as_str()));
        let body = match asked.await {
            Ok(body) => body,
            Err(error) if error.is("RepoNotFound") => return Ok(KnownRev::Nothing),
            Err(error) => return Err(error),
        };
        let answer: Value = serde_json::from_slice(&body).map_err(CallError::Form)?;
        let rev = answer.get("rev").and_then(Value::as_str);
        Ok(rev.and_then(|rev| Tid::parse(rev).ok()).map_or(KnownRev::NotTold, KnownRev::Rev))
    }
}

impl Client {
    async fn ask(&self, relay: &str, method: &str, parameter: (&str, &str)) -> Result<Vec<u8>, CallError> {
        let url = reqwest::Url::parse_with_params(&address(relay, method), [parameter]);
        send(self.http.get(url.map_err(|_| CallError::Address)?)).await
    }
}

fn address(relay: &str, method: &str) -> String {
    format!("{relay}/xrpc/{method}")
}

async fn send(request: RequestBuilder) -> Result<Vec<u8>, CallError> {
    let silent = |error| CallError::Silent(OutboundError::Request(error));
    let response = request.timeout(ANSWER_TIMEOUT).send().await.map_err(silent)?;
    let status = response.status();
    let body = outbound::read_body(response, ANSWER_BYTES_MAX).await.map_err(CallError::Silent)?;
    if status == StatusCode::OK { Ok(body) } else { Err(refusal(status, &body)) }
}

fn refusal(status: StatusCode, body: &[u8]) -> CallError {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| -> String {
        let text = answer.get(name).and_then(Value::as_str).unwrap_or_default();
        text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
    };
    CallError::Refused { status: status.as_u16(), name: text("error"), words: text("message") }
}
