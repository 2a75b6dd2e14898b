//! `com.atproto.sync.getRepo`: a repo, or what came since a rev, as a stream. Its memory does not grow with the repo.

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::{Stream, stream};
use store::{Export, StoreError};

use super::super::shared::{CAR, readable_repo, typed};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let since = params.optional_tid("since")?;
    readable_repo(&app, &did, &viewer).await?;
    let export = app.store.export(&did, since).await?;
    // An error in the middle breaks the chunked body off, so that nobody takes half a repo for a whole one.
    Ok(typed(Body::from_stream(chunks(export)), CAR))
}

/// An export as a stream, read no faster than it is taken.
pub(super) fn chunks(export: Export) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold(
        export,
        |mut export| async move { Ok(export.next().await?.map(|chunk| (chunk, export))) },
    )
}
