//! The routes: one file per XRPC method, in a folder per namespace, and the few that are not XRPC.

mod app_bsky_actor;
mod com_atproto_identity;
mod com_atproto_repo;
mod com_atproto_server;
mod com_atproto_sync;
mod plain;
mod shared;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use platform::time::TrustedTime;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use crate::{
    app::Shared,
    error::XrpcError,
    limits::{self, Standing},
    server::Peer,
};

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
        .max_age(std::time::Duration::from_secs(CORS_MAX_AGE_S));
    Router::new()
        .merge(server_routes())
        .merge(repo_routes())
        .merge(sync_routes())
        .merge(other_routes())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // Every handler that takes a body bounds it itself, by the method's own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
        .layer(cors)
        .with_state(app)
}

fn server_routes() -> Router<Shared> {
    use com_atproto_server as m;
    Router::new()
        .route("/xrpc/com.atproto.server.describeServer", get(m::describe_server::handle))
        .route("/xrpc/com.atproto.server.createAccount", post(m::create_account::handle))
        .route("/xrpc/com.atproto.server.createSession", post(m::create_session::handle))
        .route("/xrpc/com.atproto.server.refreshSession", post(m::refresh_session::handle))
        .route("/xrpc/com.atproto.server.getSession", get(m::get_session::handle))
        .route("/xrpc/com.atproto.server.deleteSession", post(m::delete_session::handle))
        .route("/xrpc/com.atproto.server.activateAccount", post(m::activate_account::handle))
        .route("/xrpc/com.atproto.server.deactivateAccount", post(m::deactivate_account::handle))
        .route("/xrpc/com.atproto.server.checkAccountStatus", get(m::check_account_status::handle))
}

fn repo_routes() -> Router<Shared> {
    use com_atproto_repo as m;
    Router::new()
        .route("/xrpc/com.atproto.repo.createRecord", post(m::create_record::handle))
        .route("/xrpc/com.atproto.repo.putRecord", post(m::put_record::handle))
        .route("/xrpc/com.atproto.repo.deleteRecord", post(m::delete_record::handle))
        .route("/xrpc/com.atproto.repo.applyWrites", post(m::apply_writes::handle))
        .route("/xrpc/com.atproto.repo.getRecord", get(m::get_record::handle))
        .route("/xrpc/com.atproto.repo.listRecords", get(m::list_records::handle))
        .route("/xrpc/com.atproto.repo.describeRepo", get(m::describe_repo::handle))
        .route("/xrpc/com.atproto.repo.uploadBlob", post(m::upload_blob::handle))
        .route("/xrpc/com.atproto.repo.importRepo", post(m::import_repo::handle))
        .route("/xrpc/com.atproto.repo.listMissingBlobs", get(m::list_missing_blobs::handle))
}

fn sync_routes() -> Router<Shared> {
    use com_atproto_sync as m;
    Router::new()
        .route("/xrpc/com.atproto.sync.getBlob", get(m::get_blob::handle))
        .route("/xrpc/com.atproto.sync.listBlobs", get(m::list_blobs::handle))
        .route("/xrpc/com.atproto.sync.getRepo", get(m::get_repo::handle))
        .route("/xrpc/com.atproto.sync.getCheckout", get(m::get_checkout::handle))
        .route("/xrpc/com.atproto.sync.getRecord", get(m::get_record::handle))
        .route("/xrpc/com.atproto.sync.getBlocks", get(m::get_blocks::handle))
        .route("/xrpc/com.atproto.sync.getLatestCommit", get(m::get_latest_commit::handle))
        .route("/xrpc/com.atproto.sync.getHead", get(m::get_head::handle))
        .route("/xrpc/com.atproto.sync.getRepoStatus", get(m::get_repo_status::handle))
        .route("/xrpc/com.atproto.sync.listRepos", get(m::list_repos::handle))
        .route("/xrpc/com.atproto.sync.subscribeRepos", get(m::subscribe_repos::handle))
}

fn other_routes() -> Router<Shared> {
    use app_bsky_actor as actor;
    Router::new()
        .route("/xrpc/com.atproto.identity.resolveHandle", get(com_atproto_identity::resolve_handle::handle))
        .route("/xrpc/app.bsky.actor.getProfile", get(actor::get_profile::handle))
        .route("/xrpc/app.bsky.actor.getProfiles", get(actor::get_profiles::handle))
        .route("/xrpc/app.bsky.actor.getPreferences", get(actor::get_preferences::handle))
        .route("/xrpc/app.bsky.actor.putPreferences", post(actor::put_preferences::handle))
        .route("/xrpc/_health", get(plain::health))
        .route("/.well-known/atproto-did", get(plain::atproto_did))
        .route("/robots.txt", get(plain::robots))
        .route("/", get(plain::index))
}

/// Headers of an answer that depends on who asks.
const PRIVATE: HeaderValue = HeaderValue::from_static("private");
const BY_AUTHORIZATION: HeaderValue = HeaderValue::from_static("Authorization");

/// What happens around every call: the limit by address, and the headers that follow from limit and authorization.
async fn around(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let authorized = request.headers().contains_key(header::AUTHORIZATION);
    let rule = if request.uri().path() == "/xrpc/com.atproto.sync.getRepo" {
        limits::GET_REPO
    } else {
        limits::GLOBAL
    };
    let peer = request.extensions().get::<Peer>().map(|p| p.0);
    let (mut response, by_address) = match peer.map(|ip| app.limiter.take_ip(rule, ip)).transpose() {
        Ok(standing) => (next.run(request).await, standing.flatten()),
        Err(refused) => (refused.into_response(), None),
    };
    let now = app.clock.now().ok();
    if let Some(now) = now {
        response.headers_mut().insert(header::DATE, app.date.at(now));
    }
    // A handler's own limit is the narrower one: it is what the caller should know.
    if let Some(standing) = response.extensions().get::<Standing>().copied().or(by_address) {
        limits::write_headers(response.headers_mut(), standing, now.map(TrustedTime::unix_seconds));
    }
    if authorized {
        response.headers_mut().insert(header::CACHE_CONTROL, PRIVATE);
        response.headers_mut().append(header::VARY, BY_AUTHORIZATION);
    }
    response
}

async fn unknown(uri: Uri) -> XrpcError {
    match uri.path().strip_prefix("/xrpc/").map(atproto::syntax::Nsid::parse) {
        Some(Ok(method)) => XrpcError::not_implemented(format!(
            "{method} is not a method of this server, and it has no AppView to pass it on to"
        )),
        Some(Err(_)) => XrpcError::invalid_request("invalid xrpc path"),
        None => XrpcError::new(StatusCode::NOT_FOUND, "NotFound", "There is nothing at this address"),
    }
}

async fn wrong_method(method: Method, uri: Uri) -> XrpcError {
    if uri.path().starts_with("/xrpc/") {
        let expected = if method == Method::POST { "GET" } else { "POST" };
        XrpcError::invalid_request(format!("Incorrect HTTP method ({method}) expected {expected}"))
    } else {
        XrpcError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "This address takes GET only")
    }
}
