//! `com.atproto.server.deactivateAccount`: switches the caller's account off, and deletes it later if asked to.

use atproto::syntax::Datetime;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{FullOrTakendown, Session},
    error::XrpcError,
    input::{Json, field},
};

/// No account is deleted sooner after it was switched off, microseconds: 72 hours. Whoever took a token alone, without
/// password and code, must not be able to destroy an account before its owner notices; the PLC directory gives as long
/// to take an identity back.
const HELD_AT_LEAST_US: u64 = 72 * 3600 * 1_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default)]
    delete_after: Option<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<FullOrTakendown>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let now = app.now()?;
    let asked = input.delete_after.map(|text| field("deleteAfter", &text, Datetime::parse)).transpose()?;
    let delete_after_us = asked.map(|at| {
        let held_until_us = now.unix_micros().saturating_add(HELD_AT_LEAST_US);
        u64::try_from(at.unix_micros()).unwrap_or(0).max(held_until_us)
    });
    app.store.deactivate(&session.did, delete_after_us).await?;
    Ok(empty())
}
