//! `com.atproto.sync.getLatestCommit`: the newest commit of a repo.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::{json, readable_repo};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

#[derive(Serialize)]
struct Output {
    cid: String,
    rev: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let head = readable_repo(&app, &did, &viewer).await?.head;
    Ok(json(&Output { cid: head.commit.to_string(), rev: head.rev.to_string() }))
}
