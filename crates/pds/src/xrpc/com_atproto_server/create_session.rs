//! `com.atproto.server.createSession`: signs in with a password.

use atproto::syntax::AtIdentifier;
use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use store::{Account, Status};
use tokio::time::Instant;

use super::{super::shared::json, Opened, SessionView, open_session};
use crate::{
    app::{App, Shared},
    auth::{jwt::Scope, password},
    error::XrpcError,
    input::Json,
    limits,
    server::Peer,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    identifier: String,
    password: String,
    #[serde(default)]
    allow_takendown: Option<bool>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let identifier = input.identifier.trim().to_lowercase();
    let address = peer.map(|p| p.0.0.to_string()).unwrap_or_default();
    let key = format!("{identifier}-{address}");
    app.limiter.take(limits::CREATE_SESSION_DAY, &key, 1)?;
    let standing = app.limiter.take(limits::CREATE_SESSION_SHORT, &key, 1)?;
    let now = app.now()?;
    let begun = Instant::now();
    let account = match sign_in(&app, &identifier, input.password).await {
        Ok(account) => account,
        Err(e) => {
            // Also an unknown account takes this long, so that time tells nothing.
            tokio::time::sleep_until(begun + password::FAILURE_TIME).await;
            return Err(e);
        }
    };
    let hidden = matches!(account.status, Status::Takendown | Status::Suspended);
    if hidden && input.allow_takendown != Some(true) {
        return Err(XrpcError::new(
            StatusCode::UNAUTHORIZED,
            "AccountTakedown",
            "Account has been taken down",
        ));
    }
    let scope = if hidden { Scope::Takendown } else { Scope::Access };
    let tokens = open_session(&app, &account, scope, now).await?;
    let mut response = json(&Opened { tokens, account: SessionView::of(&account) }).into_response();
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}

/// Finds the account that `identifier`, a handle, DID or e-mail address, and password fit.
async fn sign_in(app: &App, identifier: &str, given: String) -> Result<Account, XrpcError> {
    let wrong = || XrpcError::auth_required("Invalid identifier or password");
    if given.chars().count() > password::OLD_PASSWORD_CHARS_MAX {
        return Err(wrong());
    }
    let account = find(app, identifier).await?;
    let stored = account.as_ref().map(|a| a.password_hash.clone());
    let right = app.passwords.verify(given, stored).await?;
    account.filter(|_| right).ok_or_else(wrong)
}

async fn find(app: &App, identifier: &str) -> Result<Option<Account>, XrpcError> {
    if identifier.contains('@') {
        let email = identifier.to_owned();
        return Ok(app.store.read(move |r| r.account_by_email(&email)).await?);
    }
    match AtIdentifier::parse(identifier) {
        Ok(id) => app.account(&id).await,
        Err(_) => Ok(None),
    }
}
