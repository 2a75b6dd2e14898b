//! `com.atproto.identity.resolveHandle`: from a handle to a DID. Handles of this server come from its own store.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::json;
use crate::{app::Shared, error::XrpcError, input::Params};

#[derive(Serialize)]
struct Output<'a> {
    did: &'a str,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let handle = params.handle("handle")?;
    let account = app.account(&AtIdentifier::Handle(handle.clone())).await?;
    if let Some(account) = account {
        return Ok(json(&Output { did: account.did.as_str() }));
    }
    let ours = app.config.handle_domains.iter().any(|domain| handle.as_str().ends_with(domain.as_str()));
    let found = if ours { None } else { app.identity.resolve_handle(&handle).await };
    let did = found.ok_or_else(|| XrpcError::bad("HandleNotFound", "Unable to resolve handle"))?;
    Ok(json(&Output { did: did.as_str() }))
}
