//! `com.atproto.server.deleteAccount`: removes an account for ever, with its password and a code.

use atproto::syntax::{AtIdentifier, Did};
use axum::{Extension, extract::State, response::Response};
use serde::Deserialize;

use super::{super::shared::empty, count_caller, with_standing};
use crate::{
    app::Shared,
    auth::password::OLD_PASSWORD_CHARS_MAX,
    codes::Purpose,
    error::XrpcError,
    input::{Json, field},
    limits,
    server::Peer,
};

#[derive(Deserialize)]
struct Input {
    did: String,
    password: String,
    token: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let standing = count_caller(&app, peer, &[limits::DELETE_ACCOUNT])?;
    let now = app.now()?;
    let did = field("did", &input.did, Did::parse)?;
    if input.password.chars().count() > OLD_PASSWORD_CHARS_MAX {
        return Err(XrpcError::auth_required("Password too long. Consider resetting your password."));
    }
    let account = app.account(&AtIdentifier::Did(did.clone())).await?;
    let account = account.ok_or_else(|| XrpcError::invalid_request("account not found"))?;
    if !app.passwords.verify(input.password, Some(account.password_hash)).await? {
        return Err(XrpcError::auth_required("Invalid did or password"));
    }
    app.codes.take(&did, Purpose::DeleteAccount, &input.token, now).await?;
    // Row, older events, the last event and the list of files to remove are one transaction: it cannot stop half-way.
    app.store.delete_account(&did).await?;
    Ok(with_standing(empty(), standing))
}
