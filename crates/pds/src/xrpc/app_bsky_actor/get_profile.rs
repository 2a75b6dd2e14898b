//! `app.bsky.actor.getProfile` of a hosted account, from its own record.

use axum::{extract::State, response::Response};

use super::{super::shared::json, profile};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::Params,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _session: Session<Standard>,
    params: Params,
) -> Result<Response, XrpcError> {
    let actor = params.at_identifier("actor")?;
    let view = profile::of(&app, &actor).await?;
    Ok(json(&view.ok_or_else(|| XrpcError::invalid_request("Profile not found"))?))
}
