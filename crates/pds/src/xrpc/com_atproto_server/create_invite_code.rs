//! `com.atproto.server.createInviteCode`: makes one code.

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::{
    super::shared::json,
    create_invite_codes::{Uses, make},
};
use crate::{app::Shared, auth::admin::Admin, error::XrpcError, input::Json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    use_count: Uses,
    #[serde(default)]
    for_account: Option<String>,
}

#[derive(Serialize)]
struct Output {
    code: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _operator: Admin,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let made = make(&app, input.for_account.into_iter().collect(), 1, input.use_count).await?;
    let code = made.into_iter().flat_map(|account| account.codes).next();
    Ok(json(&Output { code: code.ok_or_else(|| XrpcError::internal("no code was made"))? }))
}
