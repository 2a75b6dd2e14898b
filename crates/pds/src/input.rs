//! Reads what a call brings: bodies under a limit, query parameters, and the forms lexicons give them.

use std::time::Duration;

use atproto::{
    cid::Cid,
    syntax::{AtIdentifier, Did, Handle, Nsid, RecordKey},
    tid::Tid,
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::error::Category;

use crate::error::XrpcError;

/// Largest JSON body of an ordinary method, bytes: the reference's 150 KiB.
pub(crate) const JSON_BYTES_MAX: usize = 150 * 1024;

/// Largest JSON body of a record write, bytes: the protocol's bound on a record.
pub(crate) const RECORD_JSON_BYTES_MAX: usize = 1_000_000;

/// A body that sends nothing for this long is given up: a connection must not be held by silence.
pub(crate) const BODY_IDLE: Duration = Duration::from_secs(30);

/// Collects a body of at most `limit` bytes. A body that came in one piece is not copied.
///
/// # Errors
/// 413 beyond the limit, 400 when the client breaks off, 408 when it falls silent.
pub(crate) async fn read_body(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, XrpcError> {
    let announced = content_length(headers);
    if announced.is_some_and(|n| n > limit as u64) {
        return Err(XrpcError::payload_too_large(limit as u64));
    }
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(data) = next_data(&mut body).await? {
        if all.len() + first.len() + data.len() > limit {
            return Err(XrpcError::payload_too_large(limit as u64));
        }
        if all.is_empty() && first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            let expected = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            all.reserve_exact(expected.max(first.len() + data.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// Waits for the body's next piece of data; `None` is its end.
///
/// # Errors
/// 400 when the client breaks off, 408 when it falls silent for [`BODY_IDLE`].
pub(crate) async fn next_data(body: &mut Body) -> Result<Option<Bytes>, XrpcError> {
    loop {
        let frame = tokio::time::timeout(BODY_IDLE, body.frame()).await.map_err(|_| {
            XrpcError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "The request body stopped coming")
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(e)) => return Err(XrpcError::invalid_request("The request body broke off").because(e)),
            Some(Ok(frame)) => {
                // Trailers carry nothing for us.
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The body's announced length, bytes.
#[must_use]
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A JSON body of at most `MAX` bytes, not yet parsed, so that what is parsed may borrow from it.
#[derive(Debug)]
pub(crate) struct Json<const MAX: usize = JSON_BYTES_MAX>(Bytes);

impl<const MAX: usize> Json<MAX> {
    /// Parses the body by the method's schema.
    ///
    /// # Errors
    /// 400 `SyntaxError` for what is no JSON object or list, 400 `InvalidRequest` for one of another form. The text never
    /// quotes the input: it may hold a password, and refusals are logged.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, XrpcError> {
        let first = self.0.iter().find(|byte| !byte.is_ascii_whitespace());
        if first.is_some_and(|byte| !matches!(byte, b'{' | b'[')) {
            return Err(XrpcError::bad("SyntaxError", "The request body is no JSON object"));
        }
        // serde would take a list for an object whose fields may all be missing.
        if first == Some(&b'[') {
            serde_json::from_slice::<serde::de::IgnoredAny>(&self.0).map_err(|e| describe(&e))?;
            return Err(XrpcError::invalid_request("Input does not fit this method: it is a list"));
        }
        serde_json::from_slice(&self.0).map_err(|e| describe(&e))
    }
}

impl<const MAX: usize> Json<MAX> {
    /// The body as it came, to be passed on.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
}

fn describe(err: &serde_json::Error) -> XrpcError {
    if matches!(err.classify(), Category::Syntax | Category::Eof) && err.column() > 0 {
        let (line, column) = (err.line(), err.column());
        return XrpcError::bad(
            "SyntaxError",
            format!("The request body is no JSON: wrong at line {line} column {column}"),
        );
    }
    let text = err.to_string();
    let detail = if text.starts_with("missing field") {
        text
    } else {
        format!("wrong at line {} column {}", err.line(), err.column())
    };
    XrpcError::invalid_request(format!("Input does not fit this method: {detail}"))
}

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for Json<MAX> {
    type Rejection = XrpcError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, XrpcError> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        match kind {
            Some(k) if k.get(..16).is_some_and(|k| k.eq_ignore_ascii_case("application/json")) => {}
            Some(k) => {
                return Err(XrpcError::invalid_request(format!(
                    "Wrong request encoding (Content-Type): {k}"
                )));
            }
            None => {
                return Err(XrpcError::invalid_request(
                    "Request encoding (Content-Type) required but not provided",
                ));
            }
        }
        read_body(&parts.headers, body, MAX).await.map(Self).map_err(|err| {
            // The reference's JSON reader has a name of its own for this.
            if err.status() == StatusCode::PAYLOAD_TOO_LARGE {
                XrpcError::new(err.status(), "PayloadTooLargeError", err.message().to_owned())
            } else {
                err
            }
        })
    }
}

/// Most query parameters of one call; `getBlocks` may name many CIDs.
const PARAMS_MAX: usize = 1000;

/// The query parameters of a call.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = XrpcError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, XrpcError> {
        let Query(list) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|e| XrpcError::invalid_request("Query string cannot be read").because(e))?;
        if list.len() > PARAMS_MAX {
            return Err(XrpcError::invalid_request("Too many query parameters"));
        }
        Ok(Self(list))
    }
}

impl Params {
    /// The value of `name`, if given.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of a repeated parameter, also in the `name[]` spelling of some clients.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.strip_suffix("[]").unwrap_or(n) == name).map(|(_, v)| v.as_str())
    }

    /// The one value of `name`; an empty one is none.
    ///
    /// # Errors
    /// 400 when there are several.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<&str>, XrpcError> {
        if self.0.iter().filter(|(given, _)| given == name).nth(1).is_some() {
            return Err(XrpcError::invalid_request(format!("{name} must be given once")));
        }
        Ok(self.get(name).filter(|value| !value.is_empty()))
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// 400 when it is missing.
    pub(crate) fn required(&self, name: &str) -> Result<&str, XrpcError> {
        self.optional_text(name)?
            .ok_or_else(|| XrpcError::invalid_request(format!("Params must have the property \"{name}\"")))
    }

    /// The value of `name` in the form that `parse` checks.
    fn typed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, XrpcError> {
        parse(self.required(name)?).map_err(|e| XrpcError::invalid_request(format!("{name}: {e}")))
    }

    /// An optional value in the form that `parse` checks.
    fn optional<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, XrpcError> {
        self.optional_text(name)?
            .map(parse)
            .transpose()
            .map_err(|e| XrpcError::invalid_request(format!("{name}: {e}")))
    }

    /// A DID.
    ///
    /// # Errors
    /// 400, as all that follow.
    pub(crate) fn did(&self, name: &str) -> Result<Did, XrpcError> {
        self.typed(name, Did::parse)
    }

    /// A handle.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn handle(&self, name: &str) -> Result<Handle, XrpcError> {
        self.typed(name, Handle::parse)
    }

    /// A DID or a handle.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn at_identifier(&self, name: &str) -> Result<AtIdentifier, XrpcError> {
        self.typed(name, AtIdentifier::parse)
    }

    /// A collection.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn nsid(&self, name: &str) -> Result<Nsid, XrpcError> {
        self.typed(name, Nsid::parse)
    }

    /// A record key.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn rkey(&self, name: &str) -> Result<RecordKey, XrpcError> {
        self.typed(name, RecordKey::parse)
    }

    /// A CID.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn cid(&self, name: &str) -> Result<Cid, XrpcError> {
        self.typed(name, Cid::parse)
    }

    /// A CID, if given.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn optional_cid(&self, name: &str) -> Result<Option<Cid>, XrpcError> {
        self.optional(name, Cid::parse)
    }

    /// A TID, if given.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn optional_tid(&self, name: &str) -> Result<Option<Tid>, XrpcError> {
        self.optional(name, Tid::parse)
    }

    /// A count within `1..=max`, or `default`.
    ///
    /// # Errors
    /// 400 outside the range.
    pub(crate) fn limit(&self, default: usize, max: usize) -> Result<usize, XrpcError> {
        let Some(text) = self.optional_text("limit")? else { return Ok(default) };
        match text.parse::<usize>() {
            Ok(n) if n > max => {
                Err(XrpcError::invalid_request(format!("limit can not be greater than {max}")))
            }
            Ok(0) => Err(XrpcError::invalid_request("limit can not be less than 1")),
            Ok(n) => Ok(n),
            Err(_) => Err(XrpcError::invalid_request("limit must be an integer")),
        }
    }

    /// A boolean; absent is false.
    ///
    /// # Errors
    /// 400 for anything but `true` and `false`.
    pub(crate) fn boolean(&self, name: &str) -> Result<bool, XrpcError> {
        match self.optional_text(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(XrpcError::invalid_request(format!("{name} must be a boolean"))),
        }
    }
}

/// Parses an identifier of a JSON body, naming the field in the refusal.
///
/// # Errors
/// 400.
pub(crate) fn field<T, E: std::fmt::Display>(
    name: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, XrpcError> {
    parse(text).map_err(|e| XrpcError::invalid_request(format!("{name}: {e}")))
}
