//! `com.atproto.server.deleteSession`: signs out. An expired token is accepted and signing out twice is no error.

use axum::{extract::State, response::Response};

use super::super::shared::empty;
use crate::{app::Shared, auth::RefreshToken, error::XrpcError};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    RefreshToken(token): RefreshToken,
) -> Result<Response, XrpcError> {
    // Checking a token needs the clock's trust like everything else about tokens, though its age does not matter here.
    app.now()?;
    let claims = app.sessions.check_refresh_of_any_age(&token)?;
    let id = claims.jti.ok_or_else(|| XrpcError::invalid_token("Unexpected missing refresh token id"))?;
    app.store.revoke_refresh_token(id).await?;
    Ok(empty())
}
