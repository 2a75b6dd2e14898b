//! `com.atproto.sync.subscribeRepos`: the firehose, as a WebSocket.

use axum::{
    Extension,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::StatusCode,
    response::Response,
};

use crate::{app::Shared, error::XrpcError, firehose, input::Params, limits::places::What, server::Peer};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, XrpcError> {
    let cursor = params
        .get("cursor")
        .map(|text| text.parse::<u64>().map_err(|_| XrpcError::invalid_request("cursor must be an integer")))
        .transpose()?;
    let upgrade = upgrade.map_err(|e| {
        XrpcError::new(StatusCode::UPGRADE_REQUIRED, "UpgradeRequired", "This method is a WebSocket")
            .because(e)
    })?;
    let place =
        peer.map(|Extension(Peer(client))| app.places.take(What::Subscription, client)).transpose()?;
    firehose::accept(app, upgrade, cursor, place)
}
