//! `app.bsky.feed.getAuthorFeed`: the AppView's; the caller's own has their newest posts and profile.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{
    app::Shared,
    error::XrpcError,
    proxy::read_after_write::{AUTHOR_FEED, pass_on},
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    pass_on(&app, request, AUTHOR_FEED).await
}
