//! `com.atproto.repo.getRecord`: one record as JSON.

use atproto::data::cbor_to_json;
use axum::{extract::State, response::Response};

use super::super::shared::{json_bytes, read_hosted};
use crate::{app::Shared, error::XrpcError, input::Params};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let repo = params.at_identifier("repo")?;
    let collection = params.nsid("collection")?;
    let rkey = params.rkey("rkey")?;
    let wanted = params.optional_cid("cid")?;
    let uri = format!("at://{}/{collection}/{rkey}", repo.as_str());
    let not_found = || XrpcError::bad("RecordNotFound", format!("Could not locate record: {uri}"));
    let path = format!("{collection}/{rkey}");
    let found = read_hosted(&app, &repo, move |r, account| r.record(account, &collection, &rkey)).await?;
    let (account, record) = found.ok_or_else(not_found)?;
    let record = record.filter(|record| wanted.is_none_or(|cid| cid == record.cid)).ok_or_else(not_found)?;
    let mut out = Vec::with_capacity(record.bytes.len() * 2 + 256);
    out.extend_from_slice(b"{\"uri\":\"");
    // An identifier holds nothing that JSON would have to escape.
    out.extend_from_slice(format!("at://{}/{}", account.did, path).as_bytes());
    out.extend_from_slice(format!("\",\"cid\":\"{}\",\"value\":", record.cid).as_bytes());
    cbor_to_json(&record.bytes, &mut out).map_err(XrpcError::internal)?;
    out.push(b'}');
    Ok(json_bytes(out))
}
