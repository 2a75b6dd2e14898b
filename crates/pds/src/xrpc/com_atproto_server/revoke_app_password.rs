//! `com.atproto.server.revokeAppPassword`: removes an app password and ends the sessions that it opened.

use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::Json,
};

#[derive(Deserialize)]
struct Input {
    name: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    app.store.remove_app_password(&session.did, input.name).await?;
    Ok(empty())
}
