//! `com.atproto.server.refreshSession`: turns a refresh token into a new pair. Within the grace time the same token
//! gives the same next one, so that a client that lost the answer is not signed out.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};
use store::StoreError;

use super::{super::shared::json, Opened, SessionView, Tokens, not_taken_down, token_id};
use crate::{
    app::Shared,
    auth::{
        self, RefreshToken,
        jwt::{REFRESH_LIFE_S, Scope},
    },
    error::XrpcError,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    RefreshToken(token): RefreshToken,
) -> Result<Response, XrpcError> {
    let now = app.now()?;
    let claims = app.sessions.check_refresh(&token, now)?;
    let did = auth::subject(&claims)?;
    let id = claims.jti.ok_or_else(|| XrpcError::invalid_token("Unexpected missing refresh token id"))?;
    // Asked first: a takedown ends all sessions, and its owner should hear that rather than that the token is old.
    let account = app
        .account(&AtIdentifier::Did(did.clone()))
        .await?
        .ok_or_else(|| XrpcError::invalid_request(format!("Could not find user info for account: {did}")))?;
    not_taken_down(&account)?;
    let ends_us = now.unix_seconds().saturating_add(REFRESH_LIFE_S).saturating_mul(1_000_000);
    let rotated =
        app.store.rotate_refresh_token(id, token_id()?, ends_us, now).await.map_err(|e| match e {
            StoreError::SessionOver => XrpcError::expired_token("Token has been revoked"),
            other => other.into(),
        })?;
    let account = &rotated.account;
    if account.did != did {
        return Err(XrpcError::invalid_token("Token could not be verified"));
    }
    let scope = match (&rotated.app_password, rotated.privileged) {
        (None, _) => Scope::Access,
        (Some(_), false) => Scope::AppPass,
        (Some(_), true) => Scope::AppPassPrivileged,
    };
    let tokens = Tokens {
        access_jwt: app.sessions.access(did.as_str(), scope, now),
        refresh_jwt: app.sessions.refresh(
            did.as_str(),
            &rotated.next_id,
            rotated.expires_at_us / 1_000_000,
            now,
        ),
    };
    Ok(json(&Opened { tokens, account: SessionView::of(account) }))
}
