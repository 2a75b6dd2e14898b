//! The identities of the kind `did:web` that this server gives out itself: `did:web:` and a handle under its domains.
//!
//! Their documents are not kept but written when they are asked for, from what the account is now. Such an identity
//! lives as long as this server has its domain; `docs/identity.md` says so to those who consider one.

use atproto::{
    did_doc::DidDocument,
    plc::State,
    syntax::{Did, Handle},
};
use store::{Store, StoreError};

/// Knows which identities those are.
#[derive(Clone, Debug)]
pub struct Hosted {
    store: Store,
    /// Each with its leading dot.
    handle_domains: Vec<String>,
    public_url: String,
}

impl Hosted {
    /// Prepares to answer for the accounts of `store`.
    #[must_use]
    pub fn new(store: Store, handle_domains: Vec<String>, public_url: String) -> Self {
        Self { store, handle_domains, public_url }
    }

    /// Says whether `did` is an identity that only this server can give out, whether it has or not.
    #[must_use]
    pub fn gives_out(&self, did: &Did) -> bool {
        let host = did.as_str().strip_prefix("did:web:").and_then(|host| Handle::parse(host).ok());
        host.is_some_and(|host| self.handle_domains.iter().any(|domain| host.as_str().ends_with(domain)))
    }

    /// Writes the document of an identity that was given out; none if there is no such account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn document(&self, did: &Did) -> Result<Option<DidDocument>, StoreError> {
        if !self.gives_out(did) {
            return Ok(None);
        }
        let wanted = did.clone();
        let Some(account) = self.store.read(move |r| r.account_by_did(&wanted)).await? else {
            return Ok(None);
        };
        let key = self.store.signing_key(did).await?.public_key();
        let state = State::for_account(&[], &key, &account.handle, &self.public_url);
        Ok(Some(DidDocument::from_plc(did, &state)))
    }
}
