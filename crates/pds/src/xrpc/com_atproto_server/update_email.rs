//! `com.atproto.server.updateEmail`: gives the account another address, which then is not confirmed.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use store::StoreError;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Full, Session},
    codes::Purpose,
    error::XrpcError,
    input::Json,
    mail::address,
};

#[derive(Deserialize)]
struct Input {
    email: String,
    #[serde(default)]
    token: Option<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let email = address::check(&input.email)?;
    let account = app.free_account(&session.did).await?;
    let token = input.token.filter(|token| !token.is_empty());
    if token.is_none() && account.email_confirmed_at_us.is_some() {
        return Err(XrpcError::bad("TokenRequired", "confirmation token required"));
    }
    // Asked before the code is used up; the store asks again.
    let (wanted, did) = (email.clone(), session.did.clone());
    let other = app.store.read(move |r| r.account_by_email(&wanted)).await?;
    if other.is_some_and(|other| other.did != did) {
        return Err(StoreError::EmailTaken.into());
    }
    if let Some(token) = token {
        app.codes.take(&session.did, Purpose::UpdateEmail, &token, app.now()?).await?;
    }
    app.store.set_email(&session.did, email, None).await?;
    Ok(empty())
}
