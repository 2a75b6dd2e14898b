//! `com.atproto.server.confirmEmail`: takes the code that shows that the address is the owner's.

use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Session, Standard},
    codes::Purpose,
    error::XrpcError,
    input::Json,
};

#[derive(Deserialize)]
struct Input {
    email: String,
    token: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let now = app.now()?;
    let account = app.free_account(&session.did).await?;
    let email = input.email.trim().to_lowercase();
    if account.email.as_deref() != Some(email.as_str()) {
        return Err(XrpcError::bad("InvalidEmail", "invalid email"));
    }
    app.codes.take(&session.did, Purpose::ConfirmEmail, &input.token, now).await?;
    app.store.confirm_email(&session.did, email, now).await?;
    Ok(empty())
}
