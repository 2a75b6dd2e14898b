//! `com.atproto.sync.listBlobs`: the blobs that an account's records name.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::{json, read_repo};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 1000;

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    cids: Vec<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let since = params.optional_tid("since")?;
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let cursor = params.optional_cid("cursor")?;
    let read = read_repo(&app, &did, &viewer, move |r, account| {
        r.list_blobs(account, since, cursor.as_ref(), limit)
    });
    let (_, found) = read.await?;
    let cids: Vec<String> = found.iter().map(ToString::to_string).collect();
    // As the reference, which does not look behind the page.
    let cursor = cids.last().cloned();
    Ok(json(&Output { cursor, cids }))
}
