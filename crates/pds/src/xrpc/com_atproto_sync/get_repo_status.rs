//! `com.atproto.sync.getRepoStatus`: whether a repo is served here, and if not why.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};
use serde::Serialize;
use store::Status;

use super::super::shared::{json, status_name};
use crate::{app::Shared, error::XrpcError, input::Params};

#[derive(Serialize)]
struct Output<'a> {
    did: &'a str,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let found = app.account(&AtIdentifier::Did(did.clone())).await?;
    let account =
        found.ok_or_else(|| XrpcError::bad("RepoNotFound", format!("Could not find repo for DID: {did}")))?;
    let active = account.status == Status::Active;
    Ok(json(&Output {
        did: account.did.as_str(),
        active,
        status: status_name(account.status),
        rev: active.then(|| account.head.rev.to_string()),
    }))
}
