//! `com.atproto.moderation.createReport`: passed on to the report service, or to the labeler that the call names.

use axum::{
    extract::{FromRequest, Request, State},
    response::Response,
};
use serde::Deserialize;

use crate::{
    app::Shared,
    auth::AlsoTakendown,
    error::XrpcError,
    input::Json,
    proxy::{self, Passage},
};

/// What must be there; the rest is between the client and the service.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(rename = "reasonType")]
    _reason_type: String,
    #[serde(rename = "subject")]
    _subject: serde_json::Map<String, serde_json::Value>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    let (mut parts, body) = request.into_parts();
    let passage = Passage::plan::<AlsoTakendown>(&app, &mut parts).await?;
    let body: Json = Json::from_request(Request::from_parts(parts.clone(), body), &app).await?;
    body.parse::<Input>()?;
    proxy::pass_on_read(&app, &passage, &parts, body.into_bytes()).await
}
