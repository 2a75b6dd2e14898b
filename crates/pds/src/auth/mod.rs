//! Who calls: reads the `Authorization` header and checks the token.
//!
//! The header's type decides: `Bearer` is a session token of this server (or, where a method says so, a service
//! token), `DPoP` is OAuth, `Basic` is the administrator. A token of one kind never passes for one of another.

pub(crate) mod admin;
pub(crate) mod app_password;
pub(crate) mod jwt;
pub(crate) mod password;
pub(crate) mod service;

use std::marker::PhantomData;

use atproto::syntax::{Did, Nsid};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use self::jwt::{Claims, JwtError, Scope};
use crate::{
    app::{App, Shared},
    error::XrpcError,
};

/// Which scopes a method takes.
pub(crate) trait Policy: Send {
    /// The scopes.
    const ALLOWED: &'static [Scope];
}

/// Only a password sign-in.
#[derive(Debug)]
pub(crate) struct Full;
/// Only a password sign-in, also of an account that was taken down.
#[derive(Debug)]
pub(crate) struct FullOrTakendown;
/// Password sign-in, or an app password that may use chat and create accounts.
#[derive(Debug)]
pub(crate) struct Privileged;
/// Password sign-in or any app password.
#[derive(Debug)]
pub(crate) struct Standard;
/// [`Standard`], and accounts that were taken down.
#[derive(Debug)]
pub(crate) struct AlsoTakendown;
/// [`Standard`], and accounts that wait in the sign-up queue.
#[derive(Debug)]
pub(crate) struct AlsoQueued;
/// Also accounts that wait in the sign-up queue or were taken down.
#[derive(Debug)]
pub(crate) struct Any;

impl Policy for Full {
    const ALLOWED: &'static [Scope] = &[Scope::Access];
}

impl Policy for FullOrTakendown {
    const ALLOWED: &'static [Scope] = &[Scope::Access, Scope::Takendown];
}

impl Policy for Privileged {
    const ALLOWED: &'static [Scope] = &[Scope::Access, Scope::AppPassPrivileged];
}

impl Policy for AlsoTakendown {
    const ALLOWED: &'static [Scope] =
        &[Scope::Access, Scope::AppPass, Scope::AppPassPrivileged, Scope::Takendown];
}

impl Policy for AlsoQueued {
    const ALLOWED: &'static [Scope] =
        &[Scope::Access, Scope::AppPass, Scope::AppPassPrivileged, Scope::SignupQueued];
}

impl Policy for Standard {
    const ALLOWED: &'static [Scope] = &[Scope::Access, Scope::AppPass, Scope::AppPassPrivileged];
}

impl Policy for Any {
    const ALLOWED: &'static [Scope] =
        &[Scope::Access, Scope::AppPass, Scope::AppPassPrivileged, Scope::SignupQueued, Scope::Takendown];
}

/// A caller who is signed in with a scope that `P` takes.
#[derive(Debug)]
pub(crate) struct Session<P: Policy> {
    /// The account.
    pub(crate) did: Did,
    /// What the token allows.
    pub(crate) scope: Scope,
    policy: PhantomData<P>,
}

impl<P: Policy> FromRequestParts<Shared> for Session<P> {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, XrpcError> {
        Self::check(app, bearer(&parts.headers)?)
    }
}

impl<P: Policy> Session<P> {
    fn check(app: &App, token: &str) -> Result<Self, XrpcError> {
        let claims = check_access(app, token)?;
        if !P::ALLOWED.contains(&claims.scope) {
            return Err(XrpcError::invalid_token("Bad token scope"));
        }
        Ok(Self { did: subject(&claims)?, scope: claims.scope, policy: PhantomData })
    }
}

/// A caller who is signed in, or a service that an account sent with a token of its own for this very method.
#[derive(Debug)]
pub(crate) struct SessionOrService {
    /// The account.
    pub(crate) did: Did,
}

impl FromRequestParts<Shared> for SessionOrService {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, XrpcError> {
        let token = bearer(&parts.headers)?;
        if !service::is_for_a_method(token) {
            return Ok(Self { did: Session::<Standard>::check(app, token)?.did });
        }
        let method = parts.uri.path().strip_prefix("/xrpc/").unwrap_or_default();
        let method = Nsid::parse(method).map_err(|_| XrpcError::invalid_request("invalid xrpc path"))?;
        let did = service::check(app, token, &method, app.now()?).await?;
        Ok(Self { did })
    }
}

/// Who reads a method that is public for active accounts: a signed-in account, the operator, or anyone.
///
/// A token that does not fit is no error here as long as the answer is public: a mirror with an old token still reads.
/// A wrong operator's password is one, so that it cannot be tried out here.
#[derive(Debug)]
pub(crate) struct Viewer {
    account: Option<Did>,
    admin: bool,
}

impl Viewer {
    /// A viewer who sees what is public.
    #[must_use]
    pub(crate) fn anyone() -> Self {
        Self { account: None, admin: false }
    }

    /// Tells whether the viewer may read `did`'s data whatever its state: its owner, and the operator.
    #[must_use]
    pub(crate) fn sees_hidden(&self, did: &Did) -> bool {
        self.admin || self.account.as_ref() == Some(did)
    }
}

impl FromRequestParts<Shared> for Viewer {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Self::Rejection> {
        let admin = admin::optional(app, &parts.headers, admin::peer(parts))?;
        let account = bearer(&parts.headers).and_then(|t| check_access(app, t)).and_then(|c| subject(&c));
        Ok(Self { account: account.ok(), admin })
    }
}

/// A caller with a refresh token, which is checked by the handler: signing out takes an old one too.
#[derive(Debug)]
pub(crate) struct RefreshToken(pub(crate) String);

impl FromRequestParts<Shared> for RefreshToken {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, _app: &Shared) -> Result<Self, XrpcError> {
        // Another kind of authorization is none here, as in the reference.
        match authorization(&parts.headers)? {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => Ok(Self(token.to_owned())),
            Some(_) | None => Err(XrpcError::auth_missing()),
        }
    }
}

/// The header's kind and credentials, if there is one.
///
/// # Errors
/// 400 `InvalidToken` when it is malformed.
pub(crate) fn authorization(headers: &HeaderMap) -> Result<Option<(&str, &str)>, XrpcError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let malformed = || XrpcError::invalid_token("Malformed authorization header");
    let (kind, credentials) =
        value.to_str().map_err(|_| malformed())?.trim().split_once(' ').ok_or_else(malformed)?;
    if credentials.contains(' ') {
        return Err(malformed());
    }
    if !KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err(XrpcError::invalid_token(format!("Unsupported authorization type: {kind}")));
    }
    Ok(Some((kind, credentials)))
}

/// The header's kinds: the administrator, a session or service token, OAuth.
const KINDS: [&str; 3] = ["Basic", "Bearer", "DPoP"];

/// The token of a `Bearer` header.
///
/// # Errors
/// 401 `AuthMissing` without a header, 400 `InvalidToken` for another kind.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, XrpcError> {
    match authorization(headers)? {
        None => Err(XrpcError::auth_missing()),
        Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => Ok(token),
        // `DPoP` too: no OAuth session can exist before OAuth does.
        Some(_) => Err(XrpcError::invalid_token("Unexpected authorization type")),
    }
}

fn check_access(app: &App, token: &str) -> Result<Claims, XrpcError> {
    Ok(app.sessions.check_access(token, app.now()?)?)
}

/// The DID of a token's subject.
///
/// # Errors
/// 400 `InvalidToken`.
pub(crate) fn subject(claims: &Claims) -> Result<Did, XrpcError> {
    Did::parse(&claims.sub).map_err(|_| XrpcError::invalid_token("Malformed token"))
}

impl From<JwtError> for XrpcError {
    fn from(err: JwtError) -> Self {
        match err {
            JwtError::Expired => Self::expired_token(err.to_string()),
            JwtError::Invalid => Self::invalid_token(err.to_string()),
        }
    }
}
