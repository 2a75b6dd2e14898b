//! `app.bsky.feed.getPostThread`: the AppView's, with the caller's newest replies; or a thread that it has not seen yet.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{app::Shared, error::XrpcError, proxy::read_after_write::pass_on_thread};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    pass_on_thread(&app, request).await
}
