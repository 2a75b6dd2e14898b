//! `com.atproto.admin.getAccountInfo`: one account as its operator sees it.

use axum::{extract::State, response::Response};

use super::{super::shared::json, subject::not_found, view};
use crate::{app::Shared, auth::admin::AdminOrModerator, error::XrpcError, input::Params};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let found = app.store.read(move |r| view::read(r, &did)).await?;
    Ok(json(&found.ok_or_else(not_found)?))
}
