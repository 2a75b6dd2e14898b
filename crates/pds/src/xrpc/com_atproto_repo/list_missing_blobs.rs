//! `com.atproto.repo.listMissingBlobs`: the blobs that the caller's records name and that are not here yet.

use axum::{extract::State, response::Response};
use serde::Serialize;
use store::StoreError;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::Params,
};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 1000;

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    blobs: Vec<Missing>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Missing {
    cid: String,
    record_uri: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    params: Params,
) -> Result<Response, XrpcError> {
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let cursor = params.optional_cid("cursor")?;
    let did = session.did.clone();
    let found = app.store.read(move |r| {
        // In whatever state: what is missing is asked for while moving in or out.
        let account = r.account_by_did(&did)?.ok_or(StoreError::AccountNotFound)?;
        r.missing_blobs(&account, cursor.as_ref(), limit)
    });
    let missing = found.await?;
    let cursor = missing.last().filter(|_| missing.len() == limit).map(|m| m.cid.to_string());
    let blobs = missing
        .iter()
        .map(|m| Missing { cid: m.cid.to_string(), record_uri: format!("at://{}/{}", session.did, m.path) })
        .collect();
    Ok(json(&Output { cursor, blobs }))
}
