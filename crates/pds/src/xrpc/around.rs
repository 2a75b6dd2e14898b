//! What happens around every call: who the client is, the limits by address, and the headers and figures that follow.

use std::{net::IpAddr, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use platform::time::TrustedTime;
use subtle::ConstantTimeEq;

use crate::{
    app::{App, Shared},
    limits::{
        self,
        places::{Place, What},
    },
    server::{Peer, client::client},
};

/// Headers of an answer that depends on who asks.
const PRIVATE: HeaderValue = HeaderValue::from_static("private");
const BY_AUTHORIZATION: HeaderValue = HeaderValue::from_static("Authorization");

/// The header that lifts rate limits when it carries the owner's key.
const BYPASS: HeaderName = HeaderName::from_static("x-ratelimit-bypass");

/// Wraps every call.
pub(super) async fn around(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let authorized = request.headers().contains_key(header::AUTHORIZATION);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let peer = request.extensions().get::<Peer>().map(|p| p.0);
    let caller = peer.map(|peer| client(peer, request.headers(), &app.config.trusted_proxies));
    if let Some(caller) = caller {
        request.extensions_mut().insert(Peer(caller));
    }
    let free = is_free(&app, request.headers());
    let answered = async {
        let _place = match admit(&app, uri.path(), peer, caller) {
            Ok(admitted) => admitted,
            Err(refused) => return refused.into_response(),
        };
        next.run(request).await
    };
    let answered = limits::noted(answered);
    let (mut response, tightest) = if free { limits::FREE.scope((), answered).await } else { answered.await };
    let now = app.clock.now().ok();
    if let Some(now) = now {
        response.headers_mut().insert(header::DATE, app.date.at(now));
    }
    if let Some(standing) = tightest {
        limits::write_headers(response.headers_mut(), standing, now.map(TrustedTime::unix_seconds));
    }
    // Who is refused for want of a name may have one the next time.
    let marked = response.headers().contains_key(header::CACHE_CONTROL);
    if !marked && (authorized || response.status() == StatusCode::UNAUTHORIZED) {
        response = depends_on_caller(response).await;
    }
    let took = begun.elapsed();
    app.metrics.call(uri.path(), response.status(), took);
    // The query is left out: it may say what a person looks for.
    tracing::debug!(
        %method,
        path = uri.path(),
        status = response.status().as_u16(),
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        client = caller.map(tracing::field::display),
        "call"
    );
    response
}

/// Marks an answer as one that depends on who asks, so that no cache between gives it to another.
pub(super) async fn depends_on_caller(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, PRIVATE);
    headers.append(header::VARY, BY_AUTHORIZATION);
    response
}

/// Takes the client's point, and its place when it comes through a proxy: connections tell nothing then.
fn admit(
    app: &App,
    path: &str,
    peer: Option<IpAddr>,
    caller: Option<IpAddr>,
) -> Result<Option<Place>, crate::error::XrpcError> {
    let Some(caller) = caller else { return Ok(None) };
    let rule = if path == "/xrpc/com.atproto.sync.getRepo" { limits::GET_REPO } else { limits::GLOBAL };
    app.limiter.take_ip(rule, caller)?;
    let direct = peer.is_some_and(|peer| peer.to_canonical() == caller);
    if direct {
        return Ok(None);
    }
    Ok(Some(app.places.take(What::Request, caller)?))
}

/// Whether the call carries the key that lifts the limits.
fn is_free(app: &App, headers: &HeaderMap) -> bool {
    let Some(key) = &app.config.rate_limit_bypass_key else { return false };
    headers.get(BYPASS).is_some_and(|given| given.as_bytes().ct_eq(key.expose().as_bytes()).into())
}
