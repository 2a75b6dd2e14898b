//! `com.atproto.server`: the server itself, accounts and sessions.

mod activate_account;
mod check_account_status;
mod create_account;
mod create_session;
mod deactivate_account;
mod delete_session;
mod describe_server;
mod get_service_auth;
mod get_session;
mod refresh_session;
mod reserve_signing_key;

use data_encoding::BASE64;
use platform::time::TrustedTime;
use serde::Serialize;
use store::{Account, NewRefreshToken, Status};

use super::route::Route;
use crate::{
    app::App,
    auth::jwt::{REFRESH_LIFE_S, Scope},
    error::XrpcError,
};

/// The account's part of what the session methods answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionView<'a> {
    handle: &'a str,
    did: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    email_confirmed: bool,
    email_auth_factor: bool,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

impl<'a> SessionView<'a> {
    fn of(account: &'a Account) -> Self {
        Self {
            handle: account.handle.as_str(),
            did: account.did.as_str(),
            email: account.email.as_deref(),
            email_confirmed: account.email_confirmed_at_us.is_some(),
            email_auth_factor: false,
            active: account.status == Status::Active,
            status: super::shared::status_name(account.status),
        }
    }
}

/// A new pair of tokens.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    access_jwt: String,
    refresh_jwt: String,
}

/// A new pair of tokens with the account that they open.
#[derive(Serialize)]
struct Opened<'a> {
    #[serde(flatten)]
    tokens: Tokens,
    #[serde(flatten)]
    account: SessionView<'a>,
}

/// Opens a session: the refresh token's id is durable before the tokens leave.
async fn open_session(
    app: &App,
    account: &Account,
    scope: Scope,
    now: TrustedTime,
) -> Result<Tokens, XrpcError> {
    let id = token_id()?;
    let expires_s = now.unix_seconds().saturating_add(REFRESH_LIFE_S);
    let token = NewRefreshToken {
        id: id.clone(),
        did: account.did.clone(),
        expires_at_us: expires_s.saturating_mul(1_000_000),
        app_password: None,
    };
    app.store.insert_refresh_token(token).await?;
    Ok(Tokens {
        access_jwt: app.sessions.access(account.did.as_str(), scope, now),
        refresh_jwt: app.sessions.refresh(account.did.as_str(), &id, expires_s, now),
    })
}

/// Random bytes of a refresh token's id: as many as the MAC's strength asks for.
const TOKEN_ID_BYTES: usize = 32;

fn token_id() -> Result<String, XrpcError> {
    let mut bytes = [0_u8; TOKEN_ID_BYTES];
    getrandom::fill(&mut bytes).map_err(XrpcError::internal)?;
    Ok(BASE64.encode(&bytes))
}

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("com.atproto.server.describeServer", describe_server::handle),
        Route::procedure("com.atproto.server.createAccount", create_account::handle),
        Route::procedure("com.atproto.server.createSession", create_session::handle),
        Route::procedure("com.atproto.server.refreshSession", refresh_session::handle),
        Route::query("com.atproto.server.getSession", get_session::handle),
        Route::procedure("com.atproto.server.deleteSession", delete_session::handle),
        Route::procedure("com.atproto.server.activateAccount", activate_account::handle),
        Route::procedure("com.atproto.server.deactivateAccount", deactivate_account::handle),
        Route::query("com.atproto.server.getServiceAuth", get_service_auth::handle)
            .auth("signed in; taken down only to move away; chat and account methods by privilege"),
        Route::procedure("com.atproto.server.reserveSigningKey", reserve_signing_key::handle).differs(
            "256 reservations at once at most, each for 30 days: anyone may call it and each is a file; the account \
             that then brings this DID along gets the key",
        ),
        Route::query("com.atproto.server.checkAccountStatus", check_account_status::handle),
    ]
}
