//! `com.atproto.server.requestAccountDelete`: asks for the code without which no account is deleted.

use axum::{extract::State, response::Response};

use super::{super::shared::empty, with_standing};
use crate::{
    app::Shared,
    auth::{Full, Session},
    codes::Purpose,
    error::XrpcError,
    limits,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
) -> Result<Response, XrpcError> {
    let account = app.free_account(&session.did).await?;
    let standing = app.limiter.take_each(&limits::REQUEST_ACCOUNT_DELETE, session.did.as_str())?;
    app.codes.send(&account, Purpose::DeleteAccount, app.now()?).await?;
    Ok(with_standing(empty(), standing))
}
