//! The key with which this server signs PLC operations of its accounts.
//!
//! It is the owner's own when the settings name one, else one that is made once and kept in the data folder. Identities
//! that were made before the settings named one still know the other, so that both sign.

use atproto::{crypto::SigningKey, didkey};

use crate::{app::App, error::XrpcError};

/// Name of the secret with the key of the data folder.
const SECRET: &str = "plc-rotation";

/// The key that identities get now.
///
/// # Errors
/// 500 when the data folder's key cannot be read or made.
pub(crate) async fn current(app: &App) -> Result<SigningKey, XrpcError> {
    if let Some(key) = &app.config.plc_rotation_key {
        return Ok(key.clone());
    }
    parse(app.store.secret(SECRET, Some(new_key_bytes)).await?)
}

/// Whether one of `keys`, `did:key` texts, is this server's.
///
/// # Errors
/// As [`current`].
pub(crate) async fn is_among(app: &App, keys: &[String]) -> Result<bool, XrpcError> {
    Ok(find(app, keys).await?.is_some())
}

/// The key of this server that is among `keys`, the rotation keys of an identity.
///
/// # Errors
/// 400 when there is none: this server may not change the identity.
pub(crate) async fn signer(app: &App, keys: &[String]) -> Result<SigningKey, XrpcError> {
    find(app, keys).await?.ok_or_else(|| {
        XrpcError::invalid_request(
            "This server's rotation key is not among those of the identity: it cannot sign for it",
        )
    })
}

async fn find(app: &App, keys: &[String]) -> Result<Option<SigningKey>, XrpcError> {
    let is_listed = |key: &SigningKey| {
        let text = didkey::format_did_key(&key.public_key());
        keys.contains(&text)
    };
    let key = current(app).await?;
    if is_listed(&key) {
        return Ok(Some(key));
    }
    if app.config.plc_rotation_key.is_none() {
        return Ok(None);
    }
    let older = app.store.existing_secret(SECRET).await?.map(parse).transpose()?;
    Ok(older.filter(is_listed))
}

fn parse(bytes: Vec<u8>) -> Result<SigningKey, XrpcError> {
    SigningKey::from_bytes(&zeroize::Zeroizing::new(bytes)).map_err(XrpcError::internal)
}

/// Bytes of a new key. An empty answer, when the system gives no random numbers, is refused by whoever reads it.
fn new_key_bytes() -> Vec<u8> {
    SigningKey::generate().map(|key| key.to_bytes().to_vec()).unwrap_or_default()
}
