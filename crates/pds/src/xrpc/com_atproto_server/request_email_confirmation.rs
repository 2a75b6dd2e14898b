//! `com.atproto.server.requestEmailConfirmation`: asks for a code that confirms the e-mail address.

use axum::{extract::State, response::Response};

use super::{super::shared::empty, with_standing};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    codes::Purpose,
    error::XrpcError,
    limits,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
) -> Result<Response, XrpcError> {
    let account = app.free_account(&session.did).await?;
    let standing = app.limiter.take_each(&limits::REQUEST_EMAIL_CONFIRMATION, session.did.as_str())?;
    app.codes.send(&account, Purpose::ConfirmEmail, app.now()?).await?;
    Ok(with_standing(empty(), standing))
}
