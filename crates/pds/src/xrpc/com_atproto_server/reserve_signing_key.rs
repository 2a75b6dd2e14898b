//! `com.atproto.server.reserveSigningKey`: promises a signing key to an identity that will move in.

use atproto::{didkey, syntax::Did};
use axum::{Extension, extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::{super::shared::json, count_caller, with_standing};
use crate::{
    app::Shared,
    error::XrpcError,
    input::{Json, field},
    limits,
    server::Peer,
};

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    did: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    signing_key: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let standing = count_caller(&app, peer, &[limits::RESERVE_SIGNING_KEY])?;
    let did = input.did.map(|did| field("did", &did, Did::parse)).transpose()?;
    let key = app.store.reserve_key(did).await?;
    Ok(with_standing(json(&Output { signing_key: didkey::format_did_key(&key) }), standing))
}
