//! `com.atproto.admin.disableInviteCodes`: codes that count no more, by name or by who gives them away.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use store::ADMIN;

use super::super::shared::empty;
use crate::{app::Shared, auth::admin::AdminOrModerator, error::XrpcError, input::Json};

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    accounts: Vec<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    if input.accounts.iter().any(|account| account == ADMIN) {
        return Err(XrpcError::invalid_request("cannot disable admin invite codes"));
    }
    app.store.disable_invites(input.codes, input.accounts).await?;
    tracing::info!("the operator disabled invite codes");
    Ok(empty())
}
