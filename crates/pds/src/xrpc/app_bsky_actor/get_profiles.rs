//! `app.bsky.actor.getProfiles`: the AppView's, with the caller's newest profile; without an AppView those of hosted
//! accounts, from their own records, and others are left out.

use atproto::syntax::AtIdentifier;
use axum::{
    extract::{FromRequestParts, Request, State},
    response::Response,
};

use super::{super::shared::json, profile};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::{Params, field},
    proxy::{
        read_after_write::{PROFILES, pass_on},
        target::is_alone,
    },
};

/// Profiles of one call, by the lexicon.
const ACTORS_MAX: usize = 25;

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    if !is_alone(&app.config, request.headers())? {
        return pass_on(&app, request, PROFILES).await;
    }
    let (mut parts, _) = request.into_parts();
    Session::<Standard>::from_request_parts(&mut parts, &app).await?;
    let params = Params::from_request_parts(&mut parts, &app).await?;
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
