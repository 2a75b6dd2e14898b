//! What this server asks of the DID documents of its own accounts.

use store::Account;

use crate::{app::App, error::XrpcError, identity::IdentityError, store_error::chain};

/// Checks that an account's DID document names this server and the account's key here: without both, nobody on the
/// network would accept what it signs.
///
/// # Errors
/// 400 naming what is missing.
pub(crate) async fn require_here(app: &App, account: &Account) -> Result<(), XrpcError> {
    let document = app.identity.fresh_document(&account.did).await?;
    if document.pds_endpoint() != Some(app.config.public_url.as_str()) {
        return Err(XrpcError::invalid_request(
            "DID document atproto_pds service endpoint does not match PDS public url",
        ));
    }
    let key = app.store.signing_key(&account.did).await?.public_key();
    if document.atproto_key() != Some(key) {
        return Err(XrpcError::invalid_request(
            "DID document verification method does not match expected signing key",
        ));
    }
    Ok(())
}

impl From<IdentityError> for XrpcError {
    fn from(err: IdentityError) -> Self {
        if err.is_not_found() || matches!(err, IdentityError::Method | IdentityError::Host) {
            Self::invalid_request("Could not resolve DID").because(chain(&err))
        } else {
            Self::upstream("The DID's document cannot be had now", chain(&err))
        }
    }
}
