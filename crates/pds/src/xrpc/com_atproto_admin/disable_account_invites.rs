//! `com.atproto.admin.disableAccountInvites`: an account earns no more codes; those that it has stay as they are.

use axum::{extract::State, response::Response};

use super::account_invites::{Input, set};
use crate::{app::Shared, auth::admin::AdminOrModerator, error::XrpcError, input::Json};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    body: Json,
) -> Result<Response, XrpcError> {
    set(&app, body.parse::<Input>()?, true).await
}
