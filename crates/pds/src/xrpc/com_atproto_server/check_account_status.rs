//! `com.atproto.server.checkAccountStatus`: how far a migration has come.

use axum::{extract::State, response::Response};
use serde::Serialize;
use store::Status;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{Any, Session},
    documents,
    error::XrpcError,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    activated: bool,
    valid_did: bool,
    repo_commit: String,
    repo_rev: String,
    repo_blocks: u64,
    indexed_records: u64,
    /// Always 0, as in the reference: nothing counts them.
    private_state_values: u64,
    expected_blobs: u64,
    imported_blobs: u64,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Any>,
) -> Result<Response, XrpcError> {
    let found = app.store.read(move |r| match r.account_by_did(&session.did)? {
        Some(account) => r.counts(&account).map(|counts| Some((account, counts))),
        None => Ok(None),
    });
    let (account, counts) = found.await?.ok_or_else(|| XrpcError::invalid_request("Account not found"))?;
    let valid_did = documents::require_here(&app, &account).await.is_ok();
    Ok(json(&Output {
        activated: account.status == Status::Active,
        valid_did,
        repo_commit: account.head.commit.to_string(),
        repo_rev: account.head.rev.to_string(),
        repo_blocks: counts.blocks,
        indexed_records: counts.records,
        private_state_values: 0,
        expected_blobs: counts.blobs_expected,
        imported_blobs: counts.blobs_here,
    }))
}
