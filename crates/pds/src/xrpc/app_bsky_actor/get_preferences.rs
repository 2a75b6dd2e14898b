//! `app.bsky.actor.getPreferences`: the settings that the account's clients keep here.

use atproto::syntax::{AtIdentifier, Did};
use axum::{extract::State, response::Response};
use serde_json::Value;

use super::super::shared::{json, read_hosted};
use crate::{
    app::Shared,
    auth::{Session, Standard, jwt::Scope},
    error::XrpcError,
};

/// Holds the birth date: only a sign-in with the password sees it.
pub(super) const PERSONAL: &str = "app.bsky.actor.defs#personalDetailsPref";

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
) -> Result<Response, XrpcError> {
    let mut preferences = read(&app, &session.did).await?;
    if session.scope != Scope::Access {
        preferences.retain(|p| kind(p) != Some(PERSONAL));
    }
    Ok(json(&serde_json::json!({ "preferences": preferences })))
}

/// The stored list; empty when nothing was stored.
pub(super) async fn read(app: &crate::app::App, did: &Did) -> Result<Vec<Value>, XrpcError> {
    let found =
        read_hosted(app, &AtIdentifier::Did(did.clone()), |r, account| r.preferences(account)).await?;
    let (_, stored) = found.ok_or_else(|| XrpcError::forbidden("AccountNotFound", "Account not found"))?;
    stored.map_or(Ok(Vec::new()), |bytes| serde_json::from_slice(&bytes).map_err(XrpcError::internal))
}

/// The `$type` of a preference.
pub(super) fn kind(preference: &Value) -> Option<&str> {
    preference.get("$type")?.as_str()
}
