//! `app.bsky.feed.getFeed`: the AppView's, with a token for the feed's own generator, which the AppView asks.

use atproto::syntax::{AtUri, Nsid};
use axum::{
    extract::{FromRequestParts, Request, State},
    response::Response,
};

use crate::{
    app::Shared,
    auth::Standard,
    error::XrpcError,
    input::{Params, field},
    proxy::{self, Passage},
};

/// What the AppView asks the generator.
const SKELETON: &str = "app.bsky.feed.getFeedSkeleton";

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    let (mut parts, _) = request.into_parts();
    let passage = Passage::plan::<Standard>(&app, &mut parts).await?;
    let params = Params::from_request_parts(&mut parts, &app).await?;
    let feed = field("feed", params.required("feed")?, AtUri::parse)?;
    let generator = match proxy::feed_generator(&app, &passage, &feed).await? {
        Ok(generator) => generator,
        Err(refused) => return Ok(refused),
    };
    let generator = generator.ok_or_else(|| XrpcError::bad("UnknownFeed", "could not resolve feed did"))?;
    let method = Nsid::parse(SKELETON).map_err(XrpcError::internal)?;
    proxy::pass_on_for(&app, &passage, &parts, &generator, &method).await
}
