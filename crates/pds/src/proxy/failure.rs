//! Errors of other servers, as they are passed down: their status, name and message, and nothing else of theirs.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    encoding, headers,
    upstream::{self, Answer, Collected},
};
use crate::error::XrpcError;

/// Largest error that is read, bytes: a name and a sentence, and room for an error page that is then thrown away.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// An error of another server.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    /// All that came with it.
    pub(super) headers: HeaderMap,
    told: Told,
    /// A JSON body in an encoding that only the client knows.
    packed: Option<Vec<u8>>,
}

#[derive(Debug, Default, Deserialize)]
struct Told {
    #[serde(default, deserialize_with = "text")]
    error: Option<String>,
    #[serde(default, deserialize_with = "text")]
    message: Option<String>,
}

/// Takes a text and overlooks anything else.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map(str::to_owned))
}

#[derive(Serialize)]
struct Outgoing<'a> {
    error: &'a str,
    message: &'a str,
}

impl Failure {
    /// Reads what the other server says about its failure; what cannot be read is left out.
    pub(super) async fn read(answer: Answer) -> Self {
        // The fault of the server behind is a fault of the way, not of this server.
        let status = match answer.status {
            StatusCode::INTERNAL_SERVER_ERROR => StatusCode::BAD_GATEWAY,
            other => other,
        };
        let headers = answer.headers.clone();
        let mut failure = Self { status, headers, told: Told::default(), packed: None };
        if headers::is_surely_not_json(&failure.headers) {
            return failure;
        }
        let Ok(Collected::Whole(body)) = answer.collect(ERROR_BYTES_MAX).await else { return failure };
        match encoding::plain(&failure.headers, &body, ERROR_BYTES_MAX) {
            Some(plain) => failure.told = serde_json::from_slice(&plain).unwrap_or_default(),
            None => failure.packed = Some(body),
        }
        failure
    }

    /// The error's name.
    pub(super) fn name(&self) -> &str {
        self.told.error.as_deref().unwrap_or_else(|| usual(self.status).0)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::debug!(
            status = self.status.as_u16(),
            error = self.name(),
            "a call that was passed on failed"
        );
        if let Some(packed) = self.packed {
            return upstream::whole(self.status, &self.headers, packed);
        }
        let (name, message) = usual(self.status);
        let out = Outgoing {
            error: self.told.error.as_deref().unwrap_or(name),
            message: self.told.message.as_deref().filter(|text| !text.is_empty()).unwrap_or(message),
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&out).unwrap_or_default()));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers::down_without_body(&self.headers);
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// What a status is called when nothing else is said.
fn usual(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 => ("AuthenticationRequired", "Authentication Required"),
        403 => ("Forbidden", "Forbidden"),
        404 => ("XRPCNotSupported", "XRPC Not Supported"),
        406 => ("NotAcceptable", "Not Acceptable"),
        413 => ("PayloadTooLarge", "Payload Too Large"),
        415 => ("UnsupportedMediaType", "Unsupported Media Type"),
        429 => ("RateLimitExceeded", "Rate Limit Exceeded"),
        501 => ("MethodNotImplemented", "Method Not Implemented"),
        503 => ("NotEnoughResources", "Not Enough Resources"),
        504 => ("UpstreamTimeout", "Upstream Timeout"),
        500..=599 => ("UpstreamFailure", "Upstream Failure"),
        _ => ("InvalidRequest", "Invalid Request"),
    }
}

/// Passes an answer down: a success as it is, a failure as [`Failure`].
///
/// # Errors
/// 502 when it is too large.
pub(super) async fn pass_down(answer: Answer) -> Result<Response, XrpcError> {
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return Ok(Failure::read(answer).await.into_response());
    }
    answer.into_response(Vec::new())
}
