//! `com.atproto.server.reserveSigningKey`: promises a signing key to an identity that will move in.

use atproto::{didkey, syntax::Did};
use axum::{Extension, extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::super::shared::json;
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
    let standing = match peer {
        Some(Extension(Peer(ip))) => app.limiter.take_ip(limits::RESERVE_SIGNING_KEY, ip)?,
        None => None,
    };
    let did = input.did.map(|did| field("did", &did, Did::parse)).transpose()?;
    let key = app.store.reserve_key(did).await?;
    let mut response = json(&Output { signing_key: didkey::format_did_key(&key) });
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}
