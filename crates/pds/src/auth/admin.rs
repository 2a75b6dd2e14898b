//! The operator and the moderation service: who may do what no account may.
//!
//! The operator shows the password of the settings by `Basic admin:…`. Without one in the settings nobody is the
//! operator. Wrong passwords are counted by address, so that guessing ends soon; right ones never are.

use std::net::IpAddr;

use atproto::{
    service_jwt::{Expected, Unverified},
    syntax::Nsid,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{authorization, service};
use crate::{
    app::{App, Shared},
    error::XrpcError,
    identity::ServiceTokenError,
    limits,
    server::Peer,
};

/// The only name that goes with the operator's password.
const NAME: &str = "admin";

/// Fragment of a moderation service's issuer when its labeling key signed, and of that service in its document.
const LABELER: &str = "atproto_labeler";

/// The operator, by password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin;

impl FromRequestParts<Shared> for Admin {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, XrpcError> {
        match authorization(&parts.headers) {
            Ok(Some((kind, credentials))) if kind.eq_ignore_ascii_case("basic") => {
                basic(app, credentials, peer(parts))
            }
            _ => Err(refused()),
        }
    }
}

/// The operator, or the moderation service of the settings with a service token for this very method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminOrModerator;

impl FromRequestParts<Shared> for AdminOrModerator {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, XrpcError> {
        match authorization(&parts.headers)? {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => {
                moderator(app, token, parts.uri.path()).await.map(|()| Self)
            }
            Some((kind, credentials)) if kind.eq_ignore_ascii_case("basic") => {
                basic(app, credentials, peer(parts)).map(|Admin| Self)
            }
            _ => Err(refused()),
        }
    }
}

/// Whether a call that need not show anything comes from the operator. A wrong password is an error all the same.
///
/// # Errors
/// 401 for a wrong password, 429 after too many.
pub(super) fn optional(app: &App, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<bool, XrpcError> {
    match authorization(headers) {
        Ok(Some((kind, credentials))) if kind.eq_ignore_ascii_case("basic") => {
            basic(app, credentials, peer).map(|Admin| true)
        }
        _ => Ok(false),
    }
}

pub(super) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0)
}

fn refused() -> XrpcError {
    XrpcError::auth_required("Authentication Required")
}

/// Checks `Basic` credentials. An address that has guessed too often is refused before anything is compared.
fn basic(app: &App, credentials: &str, peer: Option<IpAddr>) -> Result<Admin, XrpcError> {
    if let Some(ip) = peer {
        app.limiter.check_ip(limits::ADMIN_FAILURES, ip)?;
    }
    if let Some(password) = &app.config.admin_password
        && is_right(credentials, password.expose())
    {
        return Ok(Admin);
    }
    if let Some(ip) = peer {
        app.limiter.take_ip(limits::ADMIN_FAILURES, ip)?;
    }
    tracing::warn!(address = ?peer, "a wrong operator's password was given");
    Err(refused())
}

/// Compares in a time that tells nothing about where the two differ, nor how long the right one is.
fn is_right(credentials: &str, password: &str) -> bool {
    // Clients pad or do not; Node's, which most of them are written with, reads both.
    let decoded =
        BASE64.decode(credentials.as_bytes()).or_else(|_| BASE64_NOPAD.decode(credentials.as_bytes()));
    let Ok(decoded) = decoded.map(Zeroizing::new) else { return false };
    let Some(given) = decoded.strip_prefix(NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) else {
        return false;
    };
    // An empty setting is a mistake, not a password.
    let right = Sha256::digest(given).ct_eq(&Sha256::digest(password.as_bytes()));
    bool::from(right) && !password.is_empty()
}

/// Checks a token of the moderation service; its issuer is looked at before anybody is asked for a key.
async fn moderator(app: &App, token: &str, path: &str) -> Result<(), XrpcError> {
    let untrusted = || XrpcError::new(StatusCode::UNAUTHORIZED, "UntrustedIss", "Untrusted issuer");
    let trusted = app.config.moderation_service.as_ref().ok_or_else(untrusted)?;
    let method = path.strip_prefix("/xrpc/").and_then(|name| Nsid::parse(name).ok()).ok_or_else(untrusted)?;
    let now = app.now()?;
    let parsed = Unverified::parse(token).map_err(|e| service::refused(ServiceTokenError::Token(e)))?;
    let by_labeler = parsed.issuer_service() == Some(LABELER);
    if parsed.issuer().as_str() != trusted.did || (parsed.issuer_service().is_some() && !by_labeler) {
        return Err(untrusted());
    }
    let service = app.config.service_did();
    let expected = Expected { audience: &[service.as_str()], method: &method };
    app.identity.verify_service_token(token, &expected, now).await.map_err(service::refused)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_after_the_right_name_passes() {
        let basic = |text: &str| BASE64.encode(text.as_bytes());
        assert!(is_right(&basic("admin:with:colons"), "with:colons"));
        assert!(is_right(basic("admin:x").trim_end_matches('='), "x"), "without padding");
        for wrong in
            ["admin:with", "admin:with:colons ", "admin", "Admin:with:colons", "root:with:colons", ":", ""]
        {
            assert!(!is_right(&basic(wrong), "with:colons"), "{wrong}");
        }
        assert!(!is_right("\u{fffd}", "with:colons"));
        assert!(!is_right(&basic("admin:"), ""), "an empty setting lets nobody in");
    }
}
