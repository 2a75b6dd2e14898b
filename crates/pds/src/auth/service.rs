//! Service tokens: short JWTs that an account's own key signs, to be used once at another server.

use atproto::{
    service_jwt::{Expected, ServiceJwtError, Unverified},
    syntax::{Did, Nsid},
};
use axum::http::StatusCode;
use platform::time::TrustedTime;

use crate::{app::App, error::XrpcError, identity::ServiceTokenError};

/// Checks a service token for a method of this server; returns the account that signed it.
///
/// # Errors
/// 401 for a token that is not right in all its parts; 502 when the issuer's document cannot be had.
pub(crate) async fn check(app: &App, token: &str, method: &Nsid, now: TrustedTime) -> Result<Did, XrpcError> {
    let service = app.config.service_did();
    let expected = Expected { audience: &[service.as_str()], method };
    let token = app.identity.verify_service_token(token, &expected, now).await.map_err(refused)?;
    // A service of the account, such as its labeler, does not speak for the account itself.
    if token.claims.iss != token.issuer.as_str() {
        return Err(XrpcError::new(
            StatusCode::UNAUTHORIZED,
            "UntrustedIss",
            "The token must be the account's own",
        ));
    }
    Ok(token.issuer)
}

/// Tells whether a token names a method, as only service tokens do; nothing of it is checked.
#[must_use]
pub(crate) fn is_for_a_method(token: &str) -> bool {
    Unverified::parse(token).is_ok_and(|token| token.method().is_some())
}

/// The names that the reference's verifier uses.
pub(super) fn refused(err: ServiceTokenError) -> XrpcError {
    let name = match &err {
        ServiceTokenError::Token(ServiceJwtError::Expired) => "JwtExpired",
        ServiceTokenError::Token(ServiceJwtError::Audience) => "BadJwtAudience",
        ServiceTokenError::Token(ServiceJwtError::Method) => "BadJwtLexiconMethod",
        ServiceTokenError::Token(ServiceJwtError::Signature(_) | ServiceJwtError::Algorithm)
        | ServiceTokenError::NoKey => "BadJwtSignature",
        ServiceTokenError::Token(ServiceJwtError::OtherKind) => "BadJwtType",
        ServiceTokenError::Token(_) => "BadJwt",
        ServiceTokenError::Identity(_) => "BadJwtIss",
    };
    match err {
        ServiceTokenError::Identity(why) if !why.is_not_found() => why.into(),
        why => XrpcError::new(StatusCode::UNAUTHORIZED, name, why.to_string()),
    }
}
