//! `com.atproto.server.requestEmailUpdate`: asks for the code that a change of a confirmed address needs.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::{super::shared::json, with_standing};
use crate::{
    app::Shared,
    auth::{Full, Session},
    codes::Purpose,
    error::XrpcError,
    limits,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    token_required: bool,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
) -> Result<Response, XrpcError> {
    let account = app.free_account(&session.did).await?;
    let standing = app.limiter.take_each(&limits::REQUEST_EMAIL_UPDATE, session.did.as_str())?;
    if account.email.is_none() {
        return Err(XrpcError::invalid_request("account does not have an email address"));
    }
    let token_required = account.email_confirmed_at_us.is_some();
    if token_required {
        app.codes.send(&account, Purpose::UpdateEmail, app.now()?).await?;
    }
    Ok(with_standing(json(&Output { token_required }), standing))
}
