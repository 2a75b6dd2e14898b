//! `com.atproto.repo.getRecord`: one record as JSON; one of a repo that is not here comes from the AppView.

use atproto::{data::cbor_to_json, syntax::AtIdentifier};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    response::Response,
};

use super::super::shared::{json_bytes, read_hosted};
use crate::{
    app::Shared,
    error::XrpcError,
    input::Params,
    proxy::{self, target},
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    let (mut parts, _) = request.into_parts();
    let params = Params::from_request_parts(&mut parts, &app).await?;
    let repo = params.at_identifier("repo")?;
    let collection = params.nsid("collection")?;
    let rkey = params.rkey("rkey")?;
    let wanted = params.optional_cid("cid")?;
    let uri = format!("at://{}/{collection}/{rkey}", repo.as_str());
    let not_found = || XrpcError::bad("RecordNotFound", format!("Could not locate record: {uri}"));
    let path = format!("{collection}/{rkey}");
    let found =
        read_hosted(&app, &repo, move |r, account| r.visible_record(account, &collection, &rkey)).await?;
    let Some((account, record)) = found else { return elsewhere(&app, &repo, &parts, not_found()).await };
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

/// Asks the AppView for a record of a repo that is not here. What is here and hidden is not looked for elsewhere.
///
/// Nobody is asked for a sign-in here, so that the call's own wish for a server does not count: anybody could make this
/// server fetch from anywhere.
async fn elsewhere(
    app: &Shared,
    repo: &AtIdentifier,
    parts: &Parts,
    hidden: XrpcError,
) -> Result<Response, XrpcError> {
    if app.account(repo).await?.is_some() {
        return Err(hidden);
    }
    let appview = app.config.appview.as_ref();
    let appview = appview.ok_or_else(|| XrpcError::invalid_request("Could not locate record"))?;
    proxy::pass_on_unsigned(app, &target::configured(appview)?, parts).await
}
