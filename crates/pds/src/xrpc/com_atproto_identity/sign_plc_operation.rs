//! `com.atproto.identity.signPlcOperation`: signs a change of the owner's identity with this server's rotation key.
//!
//! It is signed only: the owner sends it here (`submitPlcOperation`), or, when moving away, through the new server. So
//! what it says is the owner's own affair, also when it leaves this server.

use std::collections::BTreeMap;

use atproto::plc::{Service, Signed};
use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{FullOrTakendown, Session},
    codes::Purpose,
    error::XrpcError,
    identity_change,
    input::Json,
    rotation_key,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    rotation_keys: Option<Vec<String>>,
    #[serde(default)]
    also_known_as: Option<Vec<String>>,
    #[serde(default)]
    verification_methods: Option<BTreeMap<String, String>>,
    #[serde(default)]
    services: Option<BTreeMap<String, Service>>,
}

#[derive(Serialize)]
struct Output {
    operation: Signed,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<FullOrTakendown>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let token = input.token.filter(|token| !token.is_empty()).ok_or_else(|| {
        XrpcError::invalid_request("email confirmation token required to sign PLC operations")
    })?;
    super::require_plc(&session.did)?;
    let last = identity_change::last_operation(&app, &session.did).await?;
    let mut state = last.state().ok_or_else(identity_change::tombstoned)?;
    let signer = rotation_key::signer(&app, &state.rotation_keys).await?;
    state.rotation_keys = input.rotation_keys.unwrap_or(state.rotation_keys);
    state.also_known_as = input.also_known_as.unwrap_or(state.also_known_as);
    state.verification_methods = input.verification_methods.unwrap_or(state.verification_methods);
    state.services = input.services.unwrap_or(state.services);
    let operation = state.sign(Some(last.cid()), &signer, app.now()?);
    operation.check_limits().map_err(|e| XrpcError::invalid_request(e.to_string()))?;
    // Last of all: a code is not lost to a directory that does not answer. Nothing signed leaves without it.
    app.codes.take(&session.did, Purpose::PlcOperation, &token, app.now()?).await?;
    Ok(json(&Output { operation }))
}
