//! `com.atproto.identity.submitPlcOperation`: hands a signed operation in, unless it would lock the account out of this
//! server.

use atproto::{
    didkey,
    plc::{Operation, Signed},
};
use axum::{extract::State, response::Response};
use serde::Deserialize;
use store::Account;

use super::super::shared::empty;
use crate::{
    app::{App, Shared},
    auth::{Session, Standard},
    error::XrpcError,
    identity_change,
    input::Json,
    rotation_key,
};

/// Name and type of the service that holds a repository.
const PDS: (&str, &str) = ("atproto_pds", "AtprotoPersonalDataServer");

#[derive(Deserialize)]
struct Input {
    operation: serde_json::Value,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    super::require_plc(&session.did)?;
    let invalid = || XrpcError::invalid_request("Invalid operation");
    let signed: Signed = serde_json::from_value(input.operation).map_err(|e| invalid().because(e))?;
    let Signed::Operation(operation) = &signed else { return Err(invalid()) };
    signed.check_limits().map_err(|e| invalid().because(e))?;
    let account = super::own_account(&app, &session.did).await?;
    check(&app, &account, operation).await?;
    identity_change::submit(&app, &account.did, &signed).await?;
    Ok(empty())
}

async fn check(app: &App, account: &Account, operation: &Operation) -> Result<(), XrpcError> {
    if !rotation_key::is_among(app, &operation.rotation_keys).await? {
        return Err(XrpcError::invalid_request("Rotation keys do not include server's rotation key"));
    }
    let service = operation.services.get(PDS.0);
    if service.map(|service| service.kind.as_str()) != Some(PDS.1) {
        return Err(XrpcError::invalid_request("Incorrect type on atproto_pds service"));
    }
    if service.map(|service| service.endpoint.as_str()) != Some(app.config.public_url.as_str()) {
        return Err(XrpcError::invalid_request("Incorrect endpoint on atproto_pds service"));
    }
    let key = didkey::format_did_key(&app.store.signing_key(&account.did).await?.public_key());
    if operation.verification_methods.get("atproto") != Some(&key) {
        return Err(XrpcError::invalid_request("Incorrect signing key"));
    }
    if operation.also_known_as.first() != Some(&format!("at://{}", account.handle)) {
        return Err(XrpcError::invalid_request("Incorrect handle in alsoKnownAs"));
    }
    Ok(())
}
