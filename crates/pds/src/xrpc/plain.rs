//! The routes that are not XRPC methods.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::shared::json;
use crate::app::Shared;

/// `GET /xrpc/_health`: the version, when the store answers.
pub(super) async fn health(State(app): State<Shared>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    match app.store.read(|r| r.count_accounts()).await {
        Ok(_) => json(&serde_json::json!({ "version": version })),
        Err(e) => {
            tracing::error!("health: the store does not answer: {e}");
            let body = json(&serde_json::json!({ "version": version, "error": "Service Unavailable" }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// `GET /robots.txt`: all of it is public data.
pub(super) async fn robots() -> Response {
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (text, "# Public data lives under /xrpc/ and may be read by anyone.\nUser-agent: *\nAllow: /\n")
        .into_response()
}

/// `GET /`: says what this is to someone who opens it in a browser.
pub(super) async fn index() -> Response {
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let page = "This is Perch, an AT Protocol personal data server (PDS).\n\nMost of what it does is under /xrpc/.\nProtocol: https://atproto.com\n";
    (text, page).into_response()
}
