//! `com.atproto.server.getSession`: who the caller is; accounts that are switched off are answered too, those that were
//! taken down are not.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};

use super::{super::shared::json, SessionView, taken_down};
use crate::{
    app::Shared,
    auth::{AlsoQueued, Session},
    error::XrpcError,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<AlsoQueued>,
) -> Result<Response, XrpcError> {
    let found = app.account(&AtIdentifier::Did(session.did.clone())).await?;
    let account = found.filter(|account| !taken_down(account)).ok_or_else(|| {
        XrpcError::invalid_request(format!("Could not find user info for account: {}", session.did))
    })?;
    Ok(json(&SessionView::of(&account)))
}
