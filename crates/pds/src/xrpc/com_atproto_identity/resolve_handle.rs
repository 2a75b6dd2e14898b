//! `com.atproto.identity.resolveHandle`: from a handle to a DID. Handles of this server come from its own store.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::json;
use crate::{app::Shared, error::XrpcError, handles, input::Params};

#[derive(Serialize)]
struct Output<'a> {
    did: &'a str,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let handle = params.handle("handle")?;
    let did = handles::resolve(&app, &handle).await?;
    let did = did.ok_or_else(|| XrpcError::bad("HandleNotFound", "Unable to resolve handle"))?;
    Ok(json(&Output { did: did.as_str() }))
}
