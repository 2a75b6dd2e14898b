//! `com.atproto.admin.updateAccountPassword`: sets an account's password in its owner's place; all sessions end.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{
    super::shared::empty,
    subject::{account, refused},
};
use crate::{
    app::Shared,
    auth::{admin::Admin, password::PASSWORD_CHARS_MAX},
    error::XrpcError,
    input::{Json, field},
};

#[derive(Deserialize)]
struct Input {
    did: String,
    password: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _operator: Admin,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let did = field("did", &input.did, Did::parse)?;
    // An empty password would let anybody in; the reference takes one.
    if input.password.is_empty() || input.password.chars().count() > PASSWORD_CHARS_MAX {
        return Err(XrpcError::invalid_request("Invalid password length."));
    }
    account(&app, &did).await?;
    let hash = app.passwords.hash(input.password).await?;
    app.store.set_password_hash(&did, hash).await.map_err(refused)?;
    tracing::info!(did = did.as_str(), "the operator set an account's password");
    Ok(empty())
}
