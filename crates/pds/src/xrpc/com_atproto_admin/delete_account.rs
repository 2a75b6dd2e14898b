//! `com.atproto.admin.deleteAccount`: removes an account with all that belongs to it, and tells the network.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{super::shared::empty, subject::refused};
use crate::{
    app::Shared,
    auth::admin::Admin,
    error::XrpcError,
    input::{Json, field},
};

#[derive(Deserialize)]
struct Input {
    did: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _operator: Admin,
    body: Json,
) -> Result<Response, XrpcError> {
    let did = field("did", &body.parse::<Input>()?.did, Did::parse)?;
    app.store.delete_account(&did).await.map_err(refused)?;
    tracing::info!(did = did.as_str(), "the operator deleted an account");
    Ok(empty())
}
