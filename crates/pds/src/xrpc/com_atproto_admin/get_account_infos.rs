//! `com.atproto.admin.getAccountInfos`: several accounts as their operator sees them; those that are not here are left out.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::Serialize;

use super::{super::shared::json, view};
use crate::{
    app::Shared,
    auth::admin::AdminOrModerator,
    error::XrpcError,
    input::{Params, field},
};

/// Accounts in one call: each costs a few look-ups in one read, which must stay short.
const DIDS_MAX: usize = 100;

#[derive(Serialize)]
struct Output {
    infos: Vec<view::AccountView>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    params: Params,
) -> Result<Response, XrpcError> {
    let mut dids =
        params.all("dids").map(|text| field("dids", text, Did::parse)).collect::<Result<Vec<_>, _>>()?;
    if dids.is_empty() {
        return Err(XrpcError::invalid_request("Params must have the property \"dids\""));
    }
    if dids.len() > DIDS_MAX {
        return Err(XrpcError::invalid_request(format!("dids: at most {DIDS_MAX}")));
    }
    dids.sort_unstable();
    dids.dedup();
    let infos = app.store.read(move |r| {
        dids.iter().filter_map(|did| view::read(r, did).transpose()).collect::<Result<Vec<_>, _>>()
    });
    Ok(json(&Output { infos: infos.await? }))
}
