//! `com.atproto.admin.getInviteCodes`: all invite codes, a page at a time.

use axum::{extract::State, response::Response};
use serde::Serialize;
use store::InviteOrder;

use super::{super::shared::json, view::InviteView};
use crate::{app::Shared, auth::admin::AdminOrModerator, error::XrpcError, input::Params};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 500;

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    codes: Vec<InviteView>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    params: Params,
) -> Result<Response, XrpcError> {
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let order = match params.get("sort") {
        None | Some("recent") => InviteOrder::Recent,
        Some("usage") => InviteOrder::Usage,
        Some(other) => return Err(XrpcError::invalid_request(format!("unknown sort method: {other}"))),
    };
    let after = params.get("cursor").map(str::to_owned);
    let page = app.store.read(move |r| r.list_invites(order, after.as_deref(), limit)).await?;
    let cursor = page.last().filter(|_| page.len() == limit).map(|invite| invite.code.clone());
    Ok(json(&Output { cursor, codes: page.into_iter().map(InviteView::of).collect() }))
}
