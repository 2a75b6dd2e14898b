//! `app.bsky.actor.putPreferences`: replaces the settings that the account's clients keep here.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::shared::empty,
    get_preferences::{PERSONAL, kind, read},
};
use crate::{
    app::Shared,
    auth::{Session, Standard, jwt::Scope},
    error::XrpcError,
    input::Json,
};

/// The namespace that this method replaces.
const NAMESPACE: &str = "app.bsky.";

#[derive(Deserialize)]
struct Input {
    preferences: Vec<Value>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: Json,
) -> Result<Response, XrpcError> {
    let mut preferences = body.parse::<Input>()?.preferences;
    for preference in &preferences {
        match kind(preference) {
            None => return Err(XrpcError::invalid_request("Preference is missing a $type")),
            Some(name) if !name.starts_with(NAMESPACE) => {
                return Err(XrpcError::invalid_request(format!(
                    "Some preferences are not in the {NAMESPACE} namespace"
                )));
            }
            Some(PERSONAL) if session.scope != Scope::Access => {
                return Err(XrpcError::invalid_request("Do not have authorization to set preferences"));
            }
            Some(_) => {}
        }
    }
    if session.scope != Scope::Access {
        // What this session may not see it must not delete either.
        preferences.extend(read(&app, &session.did).await?.into_iter().filter(|p| kind(p) == Some(PERSONAL)));
    }
    let bytes = serde_json::to_vec(&preferences).map_err(XrpcError::internal)?;
    app.store.set_preferences(&session.did, bytes).await?;
    Ok(empty())
}
