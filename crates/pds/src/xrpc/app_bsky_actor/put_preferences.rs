//! `app.bsky.actor.putPreferences`: replaces the settings that the account's clients keep here.

use atproto::syntax::Datetime;
use axum::{
    extract::{FromRequest, FromRequestParts, Request, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::shared::empty,
    get_preferences::{DECLARED_AGE, PERSONAL, kind},
};
use crate::{
    app::Shared,
    auth::{Session, Standard, jwt::Scope},
    error::XrpcError,
    input::Json,
    proxy::{self, target::is_for_another},
};

/// The namespace that this method replaces.
const NAMESPACE: &str = "app.bsky.";

#[derive(Deserialize)]
struct Input {
    preferences: Vec<Value>,
}

/// Apps work out an age from it; a text that is no date would lock the account out of them.
fn has_good_birth_date(preference: &Value) -> bool {
    preference
        .get("birthDate")
        .is_none_or(|date| date.as_str().is_some_and(|text| Datetime::parse(text).is_ok()))
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    if is_for_another(&app.config, request.headers())? {
        return proxy::pass_on(&app, request).await;
    }
    let (mut parts, body) = request.into_parts();
    let session = Session::<Standard>::from_request_parts(&mut parts, &app).await?;
    proxy::check_standing(&app, &session.did, session.scope).await?;
    let body: Json = Json::from_request(Request::from_parts(parts, body), &app).await?;
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
                return Err(XrpcError::invalid_request(format!(
                    "Do not have authorization to set preferences: {PERSONAL}"
                )));
            }
            Some(PERSONAL) if !has_good_birth_date(preference) => {
                return Err(XrpcError::invalid_request("birthDate must be a valid datetime"));
            }
            Some(_) => {}
        }
    }
    preferences.retain(|p| kind(p) != Some(DECLARED_AGE));
    // What this session may not see it must not delete either.
    let keeps_personal = session.scope != Scope::Access;
    let change = move |kept: Option<Vec<u8>>| {
        if keeps_personal {
            let kept: Vec<Value> = kept.and_then(|k| serde_json::from_slice(&k).ok()).unwrap_or_default();
            preferences.extend(kept.into_iter().filter(|p| kind(p) == Some(PERSONAL)));
        }
        Value::Array(preferences).to_string().into_bytes()
    };
    app.store.change_preferences(&session.did, change).await?;
    Ok(empty())
}
