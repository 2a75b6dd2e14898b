//! `com.atproto.server.activateAccount`: switches an account on, once its DID document names this server and key.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};
use store::Status;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Full, Session},
    documents,
    error::XrpcError,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
) -> Result<Response, XrpcError> {
    let found = app.account(&AtIdentifier::Did(session.did.clone())).await?;
    let account = found.ok_or_else(|| XrpcError::invalid_request("Account not found"))?;
    documents::require_here(&app, &account).await?;
    app.store.set_status(&session.did, Status::Active).await?;
    Ok(empty())
}
