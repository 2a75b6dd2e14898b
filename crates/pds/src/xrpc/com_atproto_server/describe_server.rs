//! `com.atproto.server.describeServer`: what a newcomer must know. A relay asks this before it follows a server, and
//! waits five seconds: it reads nothing from the disk.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::json;
use crate::app::Shared;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    did: &'a str,
    available_user_domains: &'a [String],
    invite_code_required: bool,
    blob_upload_limit: u64,
    links: Empty,
    contact: Empty,
}

#[derive(Serialize)]
struct Empty {}

pub(in crate::xrpc) async fn handle(State(app): State<Shared>) -> Response {
    json(&Output {
        did: &app.config.service_did(),
        available_user_domains: &app.config.handle_domains,
        invite_code_required: app.config.invite_required,
        blob_upload_limit: app.config.blob_bytes_max,
        links: Empty {},
        contact: Empty {},
    })
}
