//! What this server asks of the DID documents of its own accounts.

use store::Account;

use crate::{
    app::App, error::XrpcError, identity::IdentityError, identity_change, rotation_key, store_error::chain,
};

/// Checks that an account's DID document names this server and the account's key here: without both, nobody on the
/// network would accept what it signs. In the PLC directory this server's rotation key must stand, too, or it could
/// change no handle.
///
/// # Errors
/// 400 naming what is missing.
pub(crate) async fn require_here(app: &App, account: &Account) -> Result<(), XrpcError> {
    let (endpoint, document_key) = if account.did.is_plc() {
        let last = app.plc.last(&account.did).await.map_err(IdentityError::Plc)?;
        let state = last.state().ok_or_else(identity_change::tombstoned)?;
        if !rotation_key::is_among(app, &state.rotation_keys).await? {
            return Err(XrpcError::invalid_request("Server rotation key not included in PLC DID data"));
        }
        (state.pds_endpoint().map(str::to_owned), state.atproto_key())
    } else {
        let document = app.identity.fresh_document(&account.did).await?;
        (document.pds_endpoint().map(str::to_owned), document.atproto_key())
    };
    if endpoint.as_deref() != Some(app.config.public_url.as_str()) {
        return Err(XrpcError::invalid_request(
            "DID document atproto_pds service endpoint does not match PDS public url",
        ));
    }
    let key = app.store.signing_key(&account.did).await?.public_key();
    if document_key != Some(key) {
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
