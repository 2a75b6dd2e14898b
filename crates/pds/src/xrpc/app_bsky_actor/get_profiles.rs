//! `app.bsky.actor.getProfiles` of hosted accounts, from their own records; others are left out.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};

use super::{super::shared::json, profile};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::{Params, field},
};

/// Profiles of one call, by the lexicon.
const ACTORS_MAX: usize = 25;

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _session: Session<Standard>,
    params: Params,
) -> Result<Response, XrpcError> {
    let actors = params
        .all("actors")
        .map(|text| field("actors", text, AtIdentifier::parse))
        .collect::<Result<Vec<_>, _>>()?;
    if actors.len() > ACTORS_MAX {
        return Err(XrpcError::invalid_request(format!(
            "actors must not have more than {ACTORS_MAX} elements"
        )));
    }
    let mut profiles = Vec::with_capacity(actors.len());
    for actor in &actors {
        profiles.extend(profile::of(&app, actor).await?);
    }
    Ok(json(&serde_json::json!({ "profiles": profiles })))
}
