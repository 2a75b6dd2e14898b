//! `com.atproto.sync.getCheckout`: the old name of getRepo without `since`.

use axum::{body::Body, extract::State, response::Response};

use super::super::shared::{CAR, readable_repo, typed};
use super::get_repo::chunks;
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    readable_repo(&app, &did, &viewer).await?;
    Ok(typed(Body::from_stream(chunks(app.store.export(&did, None).await?)), CAR))
}
