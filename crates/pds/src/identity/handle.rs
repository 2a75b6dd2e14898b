//! Finds out which DID a handle stands for, by DNS and by https at the same time.
//!
//! Source: atproto specification "Handle", section "Handle Resolution". Whether the DID claims the handle, too, is for
//! the caller to check. DNS is preferred where both answer; records that name different DIDs are no answer at all.

use atproto::syntax::{Did, Handle};

use super::{Resolver, cache::Found, dns::DnsError};
use crate::outbound::{self, OutboundError};

/// Label under which a handle's TXT record lies.
const TXT_LABEL: &str = "_atproto";
/// What the text of such a record begins with.
const TXT_PREFIX: &str = "did=";
/// Largest answer to a question for a handle's DID, in bytes: a DID of 2,048 and white space.
const ANSWER_BYTES_MAX: usize = 2_176;

/// Says why it cannot be found out now whom a handle stands for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// Neither way gave an answer, and DNS at least may give one later.
    #[error("neither DNS nor the handle's host could be asked")]
    Unanswered(#[source] DnsError),
    /// DNS has no record, and the host, which may have one, could not be asked.
    #[error("the handle's host could not be asked")]
    Host(#[source] OutboundError),
    /// The host answered that it cannot answer now.
    #[error("the handle's host is not available (status {status})")]
    Unavailable {
        /// HTTP status.
        status: u16,
    },
    /// This server is ending.
    #[error("this server is ending")]
    Ending,
}

/// What DNS says of a handle.
enum ByDns {
    Did(Did),
    /// Records that name several DIDs.
    Ambiguous,
    Nothing,
}

impl Resolver {
    /// Gives the DID that a handle stands for, perhaps of some minutes ago; of up to an hour ago while nobody answers.
    pub async fn resolve_handle(&self, handle: &Handle) -> Option<Did> {
        let found = self.lock_handles().get(handle, self.clock.boottime_ns());
        if let Found::Fresh(did) = found {
            return did;
        }
        match (self.fresh_handle(handle).await, found) {
            (Ok(did), _) => did,
            (Err(error), Found::Stale(did)) => {
                tracing::debug!(handle = handle.as_str(), "an old answer is used: {error}");
                did
            }
            (Err(error), _) => {
                tracing::debug!(handle = handle.as_str(), "a handle cannot be resolved: {error}");
                // Nobody answers: not asked again at once, however often strangers name it.
                self.lock_handles().put_briefly(handle, None, self.clock.boottime_ns());
                None
            }
        }
    }

    /// Gives the DID that a handle stands for now; none when it surely stands for none.
    ///
    /// # Errors
    /// [`HandleError`] when that cannot be found out now.
    pub async fn fresh_handle(&self, handle: &Handle) -> Result<Option<Did>, HandleError> {
        if handle.is_reserved() && !self.dev_mode {
            return Ok(None);
        }
        let did = self.ask_for_handle(handle).await?;
        let now_ns = self.clock.boottime_ns();
        match &did {
            Some(_) => self.lock_handles().put(handle, did.clone(), now_ns),
            None => self.lock_handles().put_briefly(handle, None, now_ns),
        }
        Ok(did)
    }

    /// Gives the texts of a name's TXT records, such as `_lexicon.example.com`; empty when there are none.
    ///
    /// # Errors
    /// [`DnsError`] when that cannot be found out now.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        self.dns.txt(name).await
    }

    async fn ask_for_handle(&self, handle: &Handle) -> Result<Option<Did>, HandleError> {
        let by_https = self.handle_by_https(handle);
        let by_dns = self.handle_by_dns(handle);
        tokio::pin!(by_https, by_dns);
        // Both begin at once; https is only waited for when DNS knows nothing.
        let (by_dns, early) = tokio::select! {
            biased;
            by_dns = &mut by_dns => (by_dns, None),
            by_https = &mut by_https => (by_dns.await, Some(by_https)),
        };
        match by_dns {
            Ok(ByDns::Did(did)) => return Ok(Some(did)),
            Ok(ByDns::Ambiguous) => return Ok(None),
            Ok(ByDns::Nothing) | Err(_) => {}
        }
        let by_https = match early {
            Some(by_https) => by_https,
            None => by_https.await,
        };
        match (by_https, by_dns) {
            (Ok(Some(did)), _) => Ok(Some(did)),
            (_, Err(error)) => Err(HandleError::Unanswered(error)),
            (by_https, _) => by_https,
        }
    }

    async fn handle_by_dns(&self, handle: &Handle) -> Result<ByDns, DnsError> {
        let texts = self.dns.txt(&format!("{TXT_LABEL}.{handle}")).await?;
        let mut dids = texts.iter().filter_map(|text| Did::parse(text.strip_prefix(TXT_PREFIX)?.trim()).ok());
        let Some(did) = dids.next() else { return Ok(ByDns::Nothing) };
        Ok(if dids.all(|other| other == did) { ByDns::Did(did) } else { ByDns::Ambiguous })
    }

    async fn handle_by_https(&self, handle: &Handle) -> Result<Option<Did>, HandleError> {
        let _place = self.places.acquire().await.map_err(|_| HandleError::Ending)?;
        let url = format!("{}://{handle}/.well-known/atproto-did", self.handle_scheme);
        let response = match self.web.get(url).send().await {
            Ok(response) => response,
            // A name without a host, or one inside, will not have one in a moment either.
            Err(error) if error.is_connect() => return Ok(None),
            Err(error) => return Err(HandleError::Host(OutboundError::Request(error))),
        };
        let status = response.status();
        if status.is_server_error() {
            return Err(HandleError::Unavailable { status: status.as_u16() });
        }
        if !status.is_success() {
            return Ok(None);
        }
        match outbound::read_body(response, ANSWER_BYTES_MAX).await {
            Ok(body) => Ok(std::str::from_utf8(&body).ok().and_then(|text| Did::parse(text.trim()).ok())),
            Err(OutboundError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(HandleError::Host(error)),
        }
    }
}
