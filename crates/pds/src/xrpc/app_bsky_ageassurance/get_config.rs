//! `app.bsky.ageassurance.getConfig`: no region's rules are applied by this server.

use axum::response::Response;

use super::super::shared::json;

pub(in crate::xrpc) async fn handle() -> Response {
    json(&serde_json::json!({ "regions": [] }))
}
