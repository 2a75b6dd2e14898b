//! `app.bsky.notification.unregisterPush`: tells a push service to send no more messages.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{app::Shared, auth::Standard, error::XrpcError};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    super::pass_on::<Standard>(&app, request).await
}
