//! The XRPC error: what a client is told, kept apart from what the log is told.
//!
//! A handler fails with one value, [`XrpcError`]. Its name and message go out; the cause stays in the log, so that a
//! path, a key or an SQL text can never reach a client through an error message.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::time::ClockUntrusted;

use crate::limits::Standing;

/// A failed XRPC call: `{"error": name, "message": text}` with a status, as the XRPC specification shapes it.
///
/// It is one pointer wide: handlers return it by value through many frames, and success is the common case.
#[derive(Debug)]
pub struct XrpcError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    name: &'static str,
    message: Cow<'static, str>,
    /// For the log alone.
    cause: Option<String>,
    /// Seconds after which trying again makes sense, sent as `Retry-After`.
    retry_after_s: Option<u32>,
    /// The rate limit that was exceeded.
    standing: Option<Standing>,
}

impl XrpcError {
    /// Makes an error of any name and status; the named constructors below are the usual way.
    #[must_use]
    pub fn new(status: StatusCode, name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            status,
            name,
            message: message.into(),
            cause: None,
            retry_after_s: None,
            standing: None,
        }))
    }

    /// 400 `InvalidRequest`: the input breaks the method's schema or cannot be done.
    #[must_use]
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    /// 400 with a name that the method's lexicon declares.
    #[must_use]
    pub fn bad(name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }

    /// 401 `AuthMissing`: no `Authorization` header came.
    #[must_use]
    pub fn auth_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "AuthMissing", "Authentication Required")
    }

    /// 401 `AuthenticationRequired`: credentials came and do not fit.
    #[must_use]
    pub fn auth_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "AuthenticationRequired", message)
    }

    /// 400 `InvalidToken`: a token that is malformed, forged, or of the wrong kind for this method.
    #[must_use]
    pub fn invalid_token(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bad("InvalidToken", message)
    }

    /// 400 `ExpiredToken`. The status is the reference's: its clients refresh on the name, not on 401.
    #[must_use]
    pub fn expired_token(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bad("ExpiredToken", message)
    }

    /// 403 of the given name.
    #[must_use]
    pub fn forbidden(name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, name, message)
    }

    /// 413 `PayloadTooLarge`.
    #[must_use]
    pub fn payload_too_large(limit_bytes: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PayloadTooLarge",
            format!("request entity too large: the limit here is {limit_bytes} bytes"),
        )
    }

    /// 501 `MethodNotImplemented`.
    #[must_use]
    pub fn not_implemented(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", message)
    }

    /// 500 `InternalServerError`; the cause goes to the log only.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "Internal Server Error")
            .because(cause)
    }

    /// 502 `UpstreamFailure`; the cause goes to the log only.
    #[must_use]
    pub fn upstream(message: impl Into<Cow<'static, str>>, cause: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "UpstreamFailure", message).because(cause)
    }

    /// 503 of the given name with `Retry-After`.
    #[must_use]
    pub fn unavailable(
        name: &'static str,
        message: impl Into<Cow<'static, str>>,
        retry_after_s: u32,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, name, message).retry_after(retry_after_s)
    }

    /// Adds what only the log may know.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Adds `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// 429 `RateLimitExceeded`, with the standing for the `RateLimit-*` headers.
    #[must_use]
    pub fn rate_limited(standing: Standing) -> Self {
        let err = Self::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", "Rate Limit Exceeded");
        let mut err = err.retry_after(standing.reset_s.max(1));
        err.0.standing = Some(standing);
        err
    }

    /// The error's name, as clients match on it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The text that goes out.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl std::fmt::Display for XrpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.name, self.0.message)
    }
}

impl std::error::Error for XrpcError {}

impl From<ClockUntrusted> for XrpcError {
    fn from(err: ClockUntrusted) -> Self {
        Self::unavailable(
            "ClockUntrusted",
            format!("This server does not trust its clock yet, so it signs and checks nothing: {}", err.why),
            err.retry_after_s,
        )
    }
}

#[derive(serde::Serialize)]
struct Outgoing<'a> {
    error: &'a str,
    message: &'a str,
}

impl IntoResponse for XrpcError {
    fn into_response(self) -> Response {
        let inner = *self.0;
        if inner.status.is_server_error() {
            tracing::error!(
                error = inner.name,
                status = inner.status.as_u16(),
                cause = inner.cause.as_deref(),
                "xrpc call failed: {}",
                inner.message
            );
        } else {
            tracing::debug!(
                error = inner.name,
                status = inner.status.as_u16(),
                cause = inner.cause.as_deref(),
                "xrpc call refused: {}",
                inner.message
            );
        }
        let body =
            serde_json::to_vec(&Outgoing { error: inner.name, message: &inner.message }).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = inner.status;
        if let Some(standing) = inner.standing {
            response.extensions_mut().insert(standing);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if let Some(seconds) = inner.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
