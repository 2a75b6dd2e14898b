//! `com.atproto.repo.describeRepo`: whose repo it is and what collections it has.

use atproto::{did_doc::DidDocument, syntax::Nsid};
use axum::{extract::State, response::Response};
use serde::Serialize;
use store::Status;

use super::super::shared::{json, read_hosted};
use crate::{app::Shared, error::XrpcError, input::Params};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    handle: &'a str,
    did: &'a str,
    did_doc: &'a DidDocument,
    collections: Vec<Nsid>,
    handle_is_correct: bool,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let repo = params.at_identifier("repo")?;
    let not_found = || XrpcError::invalid_request(format!("Could not find repo: {}", repo.as_str()));
    let found = read_hosted(&app, &repo, |r, account| r.collections(account)).await?;
    let (account, collections) = found.filter(|(a, _)| a.status == Status::Active).ok_or_else(not_found)?;
    let document = app.identity.document(&account.did).await?;
    Ok(json(&Output {
        handle: account.handle.as_str(),
        did: account.did.as_str(),
        did_doc: &document,
        collections,
        handle_is_correct: document.handle().is_some_and(|claimed| claimed == account.handle),
    }))
}
