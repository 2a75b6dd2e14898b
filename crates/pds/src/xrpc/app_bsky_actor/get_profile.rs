//! `app.bsky.actor.getProfile`: the AppView's, with the caller's newest profile; without an AppView that of a hosted
//! account, from its own record.

use axum::{
    extract::{FromRequestParts, Request, State},
    response::Response,
};

use super::{super::shared::json, profile};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::Params,
    proxy::{
        read_after_write::{PROFILE, pass_on},
        target::is_alone,
    },
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    if !is_alone(&app.config, request.headers())? {
        return pass_on(&app, request, PROFILE).await;
    }
    let (mut parts, _) = request.into_parts();
    Session::<Standard>::from_request_parts(&mut parts, &app).await?;
    let params = Params::from_request_parts(&mut parts, &app).await?;
    let actor = params.at_identifier("actor")?;
    let view = profile::of(&app, &actor).await?;
    Ok(json(&view.ok_or_else(|| XrpcError::invalid_request("Profile not found"))?))
}
