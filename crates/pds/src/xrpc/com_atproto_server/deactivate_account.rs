//! `com.atproto.server.deactivateAccount`: switches the caller's account off; nothing is deleted.

use axum::{extract::State, response::Response};
use store::Status;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Full, Session},
    error::XrpcError,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
) -> Result<Response, XrpcError> {
    app.store.set_status(&session.did, Status::Deactivated).await?;
    Ok(empty())
}
