//! `com.atproto.server.activateAccount`: switches an account on, once its DID document names this server and key.

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
    let account = app.free_account(&session.did).await?;
    documents::require_here(&app, &account).await?;
    app.store.set_status(&session.did, Status::Active).await?;
    Ok(empty())
}
