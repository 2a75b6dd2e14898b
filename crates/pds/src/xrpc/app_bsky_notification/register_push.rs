//! `app.bsky.notification.registerPush`: tells a push service where to send the account's messages.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{app::Shared, auth::AlsoQueued, error::XrpcError};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    super::pass_on::<AlsoQueued>(&app, request).await
}
