//! `com.atproto.admin.updateAccountEmail`: sets an account's e-mail address in its owner's place; it is unconfirmed then.

use atproto::syntax::{AtIdentifier, Did};
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{super::shared::empty, subject::refused};
use crate::{
    app::Shared,
    auth::admin::Admin,
    error::XrpcError,
    input::{Json, field},
    mail::address,
};

#[derive(Deserialize)]
struct Input {
    account: String,
    email: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _operator: Admin,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let id = field("account", &input.account, AtIdentifier::parse)?;
    let email = address::check(&input.email)?;
    let found = app.account(&id).await?;
    let did: Did = found
        .ok_or_else(|| XrpcError::invalid_request(format!("Account does not exist: {}", id.as_str())))?
        .did;
    app.store.set_email(&did, email, None).await.map_err(refused)?;
    tracing::info!(did = did.as_str(), "the operator set an account's e-mail address");
    Ok(empty())
}
