//! `com.atproto.admin.updateAccountHandle`: gives an account another handle in its owner's place.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{super::shared::empty, subject::account};
use crate::{
    app::Shared,
    auth::admin::Admin,
    error::XrpcError,
    handles, identity_change,
    input::{Json, field},
};

#[derive(Deserialize)]
struct Input {
    did: String,
    handle: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _operator: Admin,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let account = account(&app, &field("did", &input.did, Did::parse)?).await?;
    let handle = handles::check_for_operator(&app, &input.handle, &account.did).await?;
    handles::require_free(&app, &handle, &account.did).await?;
    identity_change::set_handle(&app, &account.did, handle).await?;
    tracing::info!(did = account.did.as_str(), "the operator changed an account's handle");
    Ok(empty())
}
