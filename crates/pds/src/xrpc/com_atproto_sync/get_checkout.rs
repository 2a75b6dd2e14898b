//! `com.atproto.sync.getCheckout`: the old name of getRepo without `since`.

use axum::{Extension, body::Body, extract::State, response::Response};

use super::super::shared::{CAR, readable_repo, typed};
use super::get_repo::{chunks, place};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params, server::Peer};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    peer: Option<Extension<Peer>>,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    readable_repo(&app, &did, &viewer).await?;
    let place = place(&app, peer)?;
    let export = app.store.export(&did, None).await?;
    Ok(typed(Body::from_stream(chunks(app, export, place)), CAR))
}
