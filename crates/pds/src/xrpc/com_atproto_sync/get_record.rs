//! `com.atproto.sync.getRecord`: a record with its proof, or the proof that there is none.

use axum::{body::Body, extract::State, response::Response};

use super::super::shared::{CAR, read_repo, typed};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let collection = params.nsid("collection")?;
    let rkey = params.rkey("rkey")?;
    let read = read_repo(&app, &did, &viewer, move |r, account| r.record_proof(account, &collection, &rkey));
    let (_, proof) = read.await?;
    Ok(typed(Body::from(proof), CAR))
}
