//! `com.atproto.sync.getBlocks`: some blocks of a repo by CID.

use atproto::cid::Cid;
use axum::{extract::State, response::Response};
use tokio::sync::Semaphore;

use super::super::shared::{car, read_repo};
use crate::{
    app::Shared,
    auth::Viewer,
    error::XrpcError,
    input::{Params, field},
};

/// Calls at work at once. Records are not indexed by CID, so that one call may read a whole repo; all the store's readers
/// busy with that would stop everything else.
static AT_WORK: Semaphore = Semaphore::const_new(1);

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let cids =
        params.all("cids").map(|text| field("cids", text, Cid::parse)).collect::<Result<Vec<_>, _>>()?;
    if cids.is_empty() {
        return Err(XrpcError::invalid_request("Params must have the property \"cids\""));
    }
    let asked = cids.clone();
    let _turn = AT_WORK.acquire().await.map_err(XrpcError::internal)?;
    let (_, found) = read_repo(&app, &did, &viewer, move |r, account| r.blocks(account, &cids)).await?;
    let missing: Vec<String> =
        asked.iter().filter(|cid| !found.iter().any(|(c, _)| c == *cid)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(XrpcError::bad("BlockNotFound", format!("Could not find cids: {}", missing.join(","))));
    }
    Ok(car(&[], &found))
}
