//! `com.atproto.identity.getRecommendedDidCredentials`: what an identity should say to live on this server.

use std::collections::BTreeMap;

use atproto::{
    didkey,
    plc::{Service, State as PlcState},
};
use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    rotation_key,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rotation_keys: Vec<String>,
    also_known_as: Vec<String>,
    verification_methods: BTreeMap<String, String>,
    services: BTreeMap<String, Service>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
) -> Result<Response, XrpcError> {
    let account = super::own_account(&app, &session.did).await?;
    let mut rotation_keys = Vec::new();
    if account.did.is_plc() {
        rotation_keys.extend(app.config.recovery_key);
        rotation_keys.push(rotation_key::current(&app).await?.public_key());
    }
    let signing_key = app.store.signing_key(&account.did).await?.public_key();
    let state = PlcState::for_account(&[], &signing_key, &account.handle, &app.config.public_url);
    Ok(json(&Output {
        rotation_keys: rotation_keys.iter().map(didkey::format_did_key).collect(),
        also_known_as: state.also_known_as,
        verification_methods: state.verification_methods,
        services: state.services,
    }))
}
