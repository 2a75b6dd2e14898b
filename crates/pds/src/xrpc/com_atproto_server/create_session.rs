//! `com.atproto.server.createSession`: signs in with the account's password or an app password.

use atproto::syntax::AtIdentifier;
use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use store::{Account, AppPassword, StoreError};
use tokio::time::Instant;

use super::{super::shared::json, Opened, SessionView, open_session, taken_down};
use crate::{
    app::{App, Shared},
    auth::{app_password, jwt::Scope, password},
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
    /// Of a second factor, which passwords have none of here.
    #[serde(default)]
    auth_factor_token: Option<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    drop(input.auth_factor_token);
    let identifier = input.identifier.trim().to_lowercase();
    let address = peer.map(|p| p.0.0.to_string()).unwrap_or_default();
    let key = format!("{identifier}-{address}");
    app.limiter.take(limits::CREATE_SESSION_DAY, &key, 1)?;
    let standing = app.limiter.take(limits::CREATE_SESSION_SHORT, &key, 1)?;
    let now = app.now()?;
    let begun = Instant::now();
    let allow_takendown = input.allow_takendown == Some(true);
    let (account, used) = match sign_in(&app, &identifier, input.password, allow_takendown).await {
        Ok(signed_in) => signed_in,
        Err(e) => {
            // Also an unknown account takes this long, so that time tells nothing.
            tokio::time::sleep_until(begun + password::FAILURE_TIME).await;
            return Err(e);
        }
    };
    let scope = if taken_down(&account) { Scope::Takendown } else { Scope::of(used.as_ref()) };
    let tokens = open_session(&app, &account, scope, used.map(|used| used.name), now).await?;
    let mut response = json(&Opened { tokens, account: SessionView::of(&account) }).into_response();
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}

/// Finds the account that `identifier`, a handle, DID or e-mail address, and password fit, and the app password if it
/// was one.
async fn sign_in(
    app: &App,
    identifier: &str,
    given: String,
    allow_takendown: bool,
) -> Result<(Account, Option<AppPassword>), XrpcError> {
    let wrong = || XrpcError::auth_required("Invalid identifier or password");
    if given.chars().count() > password::OLD_PASSWORD_CHARS_MAX {
        return Err(wrong());
    }
    let (account, used) = find(app, identifier, &given).await?;
    // An account that was taken down is open to its owner's own password alone.
    if let (Some(account), Some(used)) = (&account, used)
        && !taken_down(account)
    {
        return Ok((account.clone(), Some(used)));
    }
    let stored = account.as_ref().map(|a| a.password_hash.clone());
    let right = app.passwords.verify(given, stored).await?;
    let account = account.filter(|_| right).ok_or_else(wrong)?;
    if taken_down(&account) && !allow_takendown {
        return Err(XrpcError::new(
            StatusCode::UNAUTHORIZED,
            "AccountTakedown",
            "Account has been taken down",
        ));
    }
    Ok((account, None))
}

/// Reads the account, and the app password of it that was given.
async fn find(
    app: &App,
    identifier: &str,
    given: &str,
) -> Result<(Option<Account>, Option<AppPassword>), XrpcError> {
    let (identifier, given) = (identifier.to_owned(), given.to_owned());
    let found = app.store.read(move |r| {
        let account = if identifier.contains('@') {
            r.account_by_email(&identifier)?
        } else {
            match AtIdentifier::parse(&identifier) {
                Ok(AtIdentifier::Did(did)) => r.account_by_did(&did)?,
                Ok(AtIdentifier::Handle(handle)) => r.account_by_handle(&handle)?,
                Err(_) => None,
            }
        };
        let Some(account) = account else { return Ok::<_, StoreError>((None, None)) };
        let hash = app_password::hash(&account.did, &given);
        let used = r.app_passwords(&account)?.into_iter().find(|password| password.hash == hash);
        Ok((Some(account), used))
    });
    Ok(found.await?)
}
