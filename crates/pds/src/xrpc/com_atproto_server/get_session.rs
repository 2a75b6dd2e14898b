//! `com.atproto.server.getSession`: who the caller is; accounts that are switched off are answered too.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};

use super::{super::shared::json, SessionView};
use crate::{
    app::Shared,
    auth::{Any, Session},
    error::XrpcError,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Any>,
) -> Result<Response, XrpcError> {
    let found = app.account(&AtIdentifier::Did(session.did.clone())).await?;
    let account = found.ok_or_else(|| {
        XrpcError::invalid_request(format!("Could not find user info for account: {}", session.did))
    })?;
    Ok(json(&SessionView::of(&account)))
}
