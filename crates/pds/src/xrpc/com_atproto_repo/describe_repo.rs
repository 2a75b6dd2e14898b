//! `com.atproto.repo.describeRepo`: whose repo it is and what collections it has.

use atproto::{did_doc::DidDocument, syntax::Nsid};
use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::{json, read_repo, repo_not_found};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params};

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
    let found = app.account(&repo).await?;
    let account = found.ok_or_else(|| repo_not_found(repo.as_str()))?;
    let (account, collections) =
        read_repo(&app, &account.did, &Viewer::anyone(), |r, account| r.collections(account)).await?;
    let document = app.identity.document(&account.did).await?;
    Ok(json(&Output {
        handle: account.handle.as_str(),
        did: account.did.as_str(),
        did_doc: &document,
        collections,
        handle_is_correct: document.handle().is_some_and(|claimed| claimed == account.handle),
    }))
}
