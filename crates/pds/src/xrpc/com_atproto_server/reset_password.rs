//! `com.atproto.server.resetPassword`: sets a new password with a mailed code, and ends all sessions.

use axum::{Extension, extract::State, response::Response};
use serde::Deserialize;

use super::{super::shared::empty, count_caller, with_standing};
use crate::{
    app::Shared, auth::password::PASSWORD_CHARS_MAX, codes::Purpose, error::XrpcError, input::Json, limits,
    server::Peer,
};

#[derive(Deserialize)]
struct Input {
    token: String,
    password: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let standing = count_caller(&app, peer, &[limits::RESET_PASSWORD])?;
    if input.password.is_empty() || input.password.chars().count() > PASSWORD_CHARS_MAX {
        return Err(XrpcError::invalid_request("Invalid password length."));
    }
    let now = app.now()?;
    // Hashed first: a server that is too busy to hash must not use the code up.
    let hash = app.passwords.hash(input.password).await?;
    let did = app.codes.take_from_anyone(Purpose::ResetPassword, &input.token, now).await?;
    app.store.set_password_hash(&did, hash).await?;
    Ok(with_standing(empty(), standing))
}
