//! `com.atproto.sync.getHead`: the old form of getLatestCommit.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::{json, readable_repo};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

#[derive(Serialize)]
struct Output {
    root: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let account = readable_repo(&app, &did, &viewer).await?;
    Ok(json(&Output { root: account.head.commit.to_string() }))
}
