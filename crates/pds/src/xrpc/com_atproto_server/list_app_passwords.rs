//! `com.atproto.server.listAppPasswords`: the names of the app passwords, the newest first.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
};

#[derive(Serialize)]
struct Output {
    passwords: Vec<View>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    name: String,
    created_at: String,
    privileged: bool,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
) -> Result<Response, XrpcError> {
    let found = app.store.read(move |r| match r.account_by_did(&session.did)? {
        Some(account) => r.app_passwords(&account),
        None => Ok(Vec::new()),
    });
    let mut found = found.await?;
    found.sort_by_key(|password| std::cmp::Reverse(password.created_at_us));
    let view = |password: store::AppPassword| View {
        created_at: platform::time::format_rfc3339_millis(password.created_at_us),
        name: password.name,
        privileged: password.privileged,
    };
    Ok(json(&Output { passwords: found.into_iter().map(view).collect() }))
}
