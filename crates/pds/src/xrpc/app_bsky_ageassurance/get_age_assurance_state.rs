//! `app.bsky.unspecced.getAgeAssuranceState`: the older question, with the same answer.

use axum::response::Response;

use super::{super::shared::json, ASSURED};
use crate::auth::{Session, Standard};

pub(in crate::xrpc) async fn handle(_session: Session<Standard>) -> Response {
    json(&serde_json::json!({ "status": ASSURED }))
}
