//! `app.bsky.ageassurance.getState`: every account here is of age, says the owner.

use atproto::syntax::AtIdentifier;
use axum::{extract::State, response::Response};
use platform::time::format_rfc3339_millis;
use serde::Serialize;

use super::{super::shared::json, ASSURED};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::Params,
};

#[derive(Serialize)]
struct Output {
    state: Assured,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Assured {
    status: &'static str,
    access: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_created_at: Option<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
    session: Session<Standard>,
) -> Result<Response, XrpcError> {
    params.required("countryCode")?;
    let account = app.account(&AtIdentifier::Did(session.did)).await?;
    let account_created_at = account.map(|account| format_rfc3339_millis(account.created_at_us));
    let state = Assured { status: ASSURED, access: "full" };
    Ok(json(&Output { state, metadata: Metadata { account_created_at } }))
}
