//! The routes: one file per XRPC method, in a folder per namespace, and the few that are not XRPC.

mod app_bsky_actor;
mod app_bsky_ageassurance;
mod app_bsky_feed;
mod app_bsky_notification;
mod around;
mod by_host;
mod com_atproto_admin;
mod com_atproto_identity;
mod com_atproto_moderation;
mod com_atproto_repo;
mod com_atproto_server;
mod com_atproto_sync;
mod com_atproto_temp;
#[cfg(test)]
mod documentation;
mod plain;
pub(crate) mod route;
mod shared;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

pub(crate) use self::shared::json;

use self::route::{Plain, Route};
use crate::{app::Shared, error::XrpcError};

/// How long a browser may keep a CORS answer, seconds; as the reference.
const CORS_MAX_AGE_S: u64 = 86_400;

/// Answer headers that scripts of other origins may read.
const EXPOSED: [HeaderName; 8] = [
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("dpop-nonce"),
    HeaderName::from_static("atproto-repo-rev"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("ratelimit-policy"),
];

/// Builds the router over the shared state.
pub(crate) fn router(app: Shared) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        // Answers are the same for every origin; the preflight's own dependence is written in `preflight`.
        .vary([])
        .max_age(std::time::Duration::from_secs(CORS_MAX_AGE_S));
    let plain = plain_routes().into_iter().fold(Router::new(), |router, plain| plain.add_to(router));
    routes()
        .into_iter()
        .filter(|route| route.is_on(&app.config))
        .fold(plain, |router, route| route.add_to(router))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // Every handler that takes a body bounds it itself, by the method's own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around::around))
        .layer(cors)
        .layer(middleware::from_fn(preflight))
        .with_state(app)
}

/// All XRPC methods that this server answers, in the order of their namespaces.
pub(crate) fn routes() -> Vec<Route> {
    let namespaces = [
        com_atproto_server::routes(),
        com_atproto_repo::routes(),
        com_atproto_sync::routes(),
        com_atproto_identity::routes(),
        com_atproto_moderation::routes(),
        com_atproto_admin::routes(),
        com_atproto_temp::routes(),
        app_bsky_actor::routes(),
        app_bsky_ageassurance::routes(),
        app_bsky_feed::routes(),
        app_bsky_notification::routes(),
    ];
    namespaces.into_iter().flatten().collect()
}

/// All addresses that are no XRPC methods.
fn plain_routes() -> Vec<Plain> {
    vec![
        Plain::new("/xrpc/_health", "the version, while the store answers", get(plain::health)),
        Plain::new(
            "/.well-known/atproto-did",
            "the DID of the handle that the Host header names",
            get(by_host::atproto_did),
        ),
        Plain::new(
            "/.well-known/did.json",
            "the DID document of this server, or of a did:web account that the Host header names; the reference has none",
            get(by_host::did_json),
        ),
        Plain::new(
            "/tls-check",
            "whether a certificate may be had for a name, for a proxy that asks on demand",
            get(by_host::tls_check),
        ),
        Plain::new("/robots.txt", "all of it may be read", get(plain::robots)),
        Plain::new("/", "says what this is", get(plain::index)),
    ]
}

/// Gives the answer to a browser's preflight the form that the reference gives it: 204, kept per list of headers.
async fn preflight(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if is_preflight && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
        let varies = HeaderValue::from_static("Access-Control-Request-Headers");
        response.headers_mut().append(header::VARY, varies);
    }
    response
}

/// Whatever is not served here: methods of others are passed on, everything else does not exist.
async fn unknown(State(app): State<Shared>, request: Request) -> Result<Response, XrpcError> {
    if request.uri().path().starts_with("/xrpc/") {
        return crate::proxy::pass_on(&app, request).await;
    }
    Err(XrpcError::new(StatusCode::NOT_FOUND, "NotFound", "There is nothing at this address"))
}

async fn wrong_method(method: Method, uri: Uri) -> XrpcError {
    if uri.path().starts_with("/xrpc/") {
        let expected = if method == Method::POST { "GET" } else { "POST" };
        XrpcError::invalid_request(format!("Incorrect HTTP method ({method}) expected {expected}"))
    } else {
        XrpcError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "This address takes GET only")
    }
}
