//! Calls that are passed on to other servers in the name of an account.

pub(crate) mod methods;

use atproto::{
    crypto::SigningKey,
    syntax::{AtIdentifier, Did},
};

use crate::{app::App, error::XrpcError};

/// The key by which a hosted account speaks to other servers.
///
/// # Errors
/// 403 `AccountNotFound` for a token that outlived its account.
pub(crate) async fn signing_key(app: &App, did: &Did) -> Result<SigningKey, XrpcError> {
    if app.account(&AtIdentifier::Did(did.clone())).await?.is_none() {
        return Err(XrpcError::forbidden("AccountNotFound", "Account not found"));
    }
    Ok(app.store.signing_key(did).await?)
}
