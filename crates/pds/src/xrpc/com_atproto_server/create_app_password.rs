//! `com.atproto.server.createAppPassword`: a password for one app, shown this once.

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use store::AppPassword;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{Full, Session, app_password},
    error::XrpcError,
    input::Json,
};

/// Longest name, bytes: apps show it in one line.
const NAME_BYTES_MAX: usize = 256;

/// Most app passwords of one account; each sign-in looks through them.
const APP_PASSWORDS_MAX: usize = 200;

#[derive(Deserialize)]
struct Input {
    name: String,
    #[serde(default)]
    privileged: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    name: &'a str,
    password: &'a str,
    created_at: String,
    privileged: bool,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    if input.name.is_empty() || input.name.len() > NAME_BYTES_MAX {
        return Err(XrpcError::invalid_request(format!("name must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    let account = app.free_account(&session.did).await?;
    let present = app.store.read(move |r| r.app_passwords(&account)).await?;
    if present.len() >= APP_PASSWORDS_MAX {
        return Err(XrpcError::invalid_request(format!(
            "An account may have {APP_PASSWORDS_MAX} app passwords: revoke some that are not used any more"
        )));
    }
    let now = app.now()?;
    let password = app_password::new()?;
    let kept = AppPassword {
        name: input.name.clone(),
        hash: app_password::hash(&session.did, &password),
        privileged: input.privileged.unwrap_or(false),
        created_at_us: now.unix_micros(),
    };
    let privileged = kept.privileged;
    app.store.add_app_password(&session.did, kept).await?;
    Ok(json(&Output {
        name: &input.name,
        password: &password,
        created_at: platform::time::format_rfc3339_millis(now.unix_micros()),
        privileged,
    }))
}
