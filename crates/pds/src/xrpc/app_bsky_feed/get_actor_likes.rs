//! `app.bsky.feed.getActorLikes`: the AppView's, with the caller's newest profile.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{
    app::Shared,
    error::XrpcError,
    proxy::read_after_write::{ACTOR_LIKES, pass_on},
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    pass_on(&app, request, ACTOR_LIKES).await
}
