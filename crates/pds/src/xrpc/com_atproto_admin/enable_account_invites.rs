//! `com.atproto.admin.enableAccountInvites`: an account earns codes again.

use axum::{extract::State, response::Response};

use super::account_invites::{Input, set};
use crate::{app::Shared, auth::admin::AdminOrModerator, error::XrpcError, input::Json};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    body: Json,
) -> Result<Response, XrpcError> {
    set(&app, body.parse::<Input>()?, false).await
}
