//! `com.atproto.temp.checkSignupQueue`: there is no queue here; whoever has an account is in.

use axum::response::Response;
use serde::Serialize;

use super::super::shared::json;
use crate::auth::{AlsoQueued, Session};

#[derive(Serialize)]
struct Output {
    activated: bool,
}

pub(in crate::xrpc) async fn handle(_session: Session<AlsoQueued>) -> Response {
    json(&Output { activated: true })
}
