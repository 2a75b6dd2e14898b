//! `com.atproto.server`: the server itself, accounts and sessions.

mod activate_account;
mod check_account_status;
mod confirm_email;
mod create_account;
mod create_app_password;
mod create_invite_code;
mod create_invite_codes;
mod create_session;
mod deactivate_account;
mod delete_account;
mod delete_session;
mod describe_server;
mod get_account_invite_codes;
mod get_service_auth;
mod get_session;
mod list_app_passwords;
mod refresh_session;
mod request_account_delete;
mod request_email_confirmation;
mod request_email_update;
mod request_password_reset;
mod reserve_signing_key;
mod reset_password;
mod revoke_app_password;
mod update_email;

use axum::{Extension, http::StatusCode, response::Response};
use data_encoding::BASE64;
use platform::time::TrustedTime;
use serde::Serialize;
use store::{Account, NewRefreshToken, Status};

use super::route::Route;
use crate::{
    app::App,
    auth::jwt::{REFRESH_LIFE_S, Scope},
    error::XrpcError,
    limits::{Rule, Standing},
    server::Peer,
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

/// Opens a session: the refresh token's id is durable before the tokens leave. One of an account that was taken down is
/// not kept, so that it cannot be renewed.
async fn open_session(
    app: &App,
    account: &Account,
    scope: Scope,
    app_password: Option<String>,
    now: TrustedTime,
) -> Result<Tokens, XrpcError> {
    let id = token_id()?;
    let expires_s = now.unix_seconds().saturating_add(REFRESH_LIFE_S);
    let token = NewRefreshToken {
        id: id.clone(),
        did: account.did.clone(),
        expires_at_us: expires_s.saturating_mul(1_000_000),
        app_password,
    };
    if scope != Scope::Takendown {
        app.store.insert_refresh_token(token).await?;
    }
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

/// Tells whether the operator hides an account.
fn taken_down(account: &Account) -> bool {
    matches!(account.status, Status::Takendown | Status::Suspended)
}

/// Refuses accounts that the operator hides.
fn not_taken_down(account: &Account) -> Result<(), XrpcError> {
    if taken_down(account) {
        return Err(XrpcError::new(
            StatusCode::UNAUTHORIZED,
            "AccountTakedown",
            "Account has been taken down",
        ));
    }
    Ok(())
}

/// Counts a call that anybody may make, by the caller's address; one from inside the process has none.
fn count_caller(
    app: &App,
    peer: Option<Extension<Peer>>,
    rules: &[Rule],
) -> Result<Option<Standing>, XrpcError> {
    peer.map_or(Ok(None), |Extension(Peer(ip))| app.limiter.take_each_ip(rules, ip))
}

/// Adds where the caller stands with the method's own rate limit.
fn with_standing(mut response: Response, standing: Option<Standing>) -> Response {
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    response
}

/// How codes reach the owner here.
const CODES_DIFFER: &str = "on a box without mail server the code appears on the box's own screen, after its button is \
                            pressed; where there is neither the call fails with 501";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("com.atproto.server.describeServer", describe_server::handle),
        Route::procedure("com.atproto.server.createAccount", create_account::handle)
            .auth("anyone; with an identity brought along, a service token of it"),
        Route::procedure("com.atproto.server.createSession", create_session::handle)
            .differs("access tokens live 30 minutes, not 120: the OAuth profile asks for less than 30 everywhere"),
        Route::procedure("com.atproto.server.refreshSession", refresh_session::handle).auth("a refresh token"),
        Route::query("com.atproto.server.getSession", get_session::handle)
            .auth("any sign-in, also one that waits in a sign-up queue"),
        Route::procedure("com.atproto.server.deleteSession", delete_session::handle)
            .auth("a refresh token, also an expired one"),
        Route::procedure("com.atproto.server.createAppPassword", create_app_password::handle)
            .auth("signed in with the account's password")
            .differs("a name that is taken is refused by InvalidRequest; the reference fails with 500"),
        Route::query("com.atproto.server.listAppPasswords", list_app_passwords::handle).auth("any sign-in"),
        Route::procedure("com.atproto.server.revokeAppPassword", revoke_app_password::handle)
            .auth("any sign-in"),
        Route::query("com.atproto.server.getAccountInviteCodes", get_account_invite_codes::handle)
            .auth("signed in with the account's password"),
        Route::procedure(
            "com.atproto.server.requestEmailConfirmation",
            request_email_confirmation::handle,
        )
        .auth("any sign-in")
        .differs(CODES_DIFFER),
        Route::procedure("com.atproto.server.confirmEmail", confirm_email::handle).auth("any sign-in"),
        Route::procedure("com.atproto.server.requestEmailUpdate", request_email_update::handle)
            .auth("signed in with the account's password")
            .differs(CODES_DIFFER),
        Route::procedure("com.atproto.server.updateEmail", update_email::handle)
            .auth("signed in with the account's password")
            .differs(
                "refuses the best known throw-away mail domains only: a longer list would be out of date on a box that \
                 runs for years",
            ),
        Route::procedure("com.atproto.server.requestPasswordReset", request_password_reset::handle).differs(
            "answers the same whether the address has an account or not, where the reference tells; a mail server that \
             cannot be used is an error (502), none at all is 501",
        ),
        Route::procedure("com.atproto.server.resetPassword", reset_password::handle)
            .differs("an empty password is refused"),
        Route::procedure("com.atproto.server.requestAccountDelete", request_account_delete::handle)
            .auth("signed in with the account's password")
            .differs(CODES_DIFFER),
        Route::procedure("com.atproto.server.deleteAccount", delete_account::handle),
        Route::procedure("com.atproto.server.activateAccount", activate_account::handle)
            .auth("signed in with the account's password"),
        Route::procedure("com.atproto.server.deactivateAccount", deactivate_account::handle)
            .auth("signed in with the account's password, also when taken down")
            .differs(
                "deleteAfter is carried out, no sooner than 72 hours after the call; the reference only stores it",
            ),
        Route::query("com.atproto.server.getServiceAuth", get_service_auth::handle)
            .auth("signed in; taken down only to move away; chat and account methods by privilege"),
        Route::procedure("com.atproto.server.createInviteCode", create_invite_code::handle)
            .auth(super::com_atproto_admin::OPERATOR),
        Route::procedure("com.atproto.server.createInviteCodes", create_invite_codes::handle)
            .auth(super::com_atproto_admin::OPERATOR)
            .differs("at most 1000 codes in one call"),
        Route::procedure("com.atproto.server.reserveSigningKey", reserve_signing_key::handle).differs(
            "256 reservations at once at most, each for 30 days: anyone may call it and each is a file; the account \
             that then brings this DID along gets the key",
        ),
        Route::query("com.atproto.server.checkAccountStatus", check_account_status::handle).auth("signed in"),
    ]
}
