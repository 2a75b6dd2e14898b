//! `com.atproto.repo.listRecords`: a collection, newest first, a page at a time.

use atproto::data::cbor_to_json;
use axum::{extract::State, response::Response};

use super::super::shared::{json_bytes, read_hosted};
use crate::{app::Shared, error::XrpcError, input::Params};

/// Records of a page, when not said otherwise and at most.
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 100;

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let repo = params.at_identifier("repo")?;
    let collection = params.nsid("collection")?;
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let reverse = params.boolean("reverse")?;
    let cursor = params.optional_text("cursor")?.map(str::to_owned);
    let not_found = || XrpcError::invalid_request(format!("Could not find repo: {}", repo.as_str()));
    let name = collection.clone();
    let found = read_hosted(&app, &repo, move |r, account| {
        r.list_records(account, &name, limit, cursor.as_deref(), reverse)
    });
    let (account, page) = found.await?.ok_or_else(not_found)?;
    let mut out = Vec::with_capacity(page.iter().map(|r| r.bytes.len() * 2 + 256).sum());
    out.push(b'{');
    // As the reference, which does not look behind the page.
    if let Some(last) = page.last() {
        out.extend_from_slice(format!("\"cursor\":\"{}\",", last.rkey).as_bytes());
    }
    out.extend_from_slice(b"\"records\":[");
    for (i, record) in page.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Identifiers hold nothing that JSON would have to escape.
        out.extend_from_slice(
            format!(
                "{comma}{{\"uri\":\"at://{}/{collection}/{}\",\"cid\":\"{}\",\"value\":",
                account.did, record.rkey, record.cid
            )
            .as_bytes(),
        );
        cbor_to_json(&record.bytes, &mut out).map_err(XrpcError::internal)?;
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(json_bytes(out))
}
