//! `com.atproto.identity.updateHandle`: gives the account another handle, first in the PLC directory, then here.

use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    handles, identity_change,
    input::Json,
    limits,
};

#[derive(Deserialize)]
struct Input {
    handle: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let standing = app.limiter.take_each(&limits::UPDATE_HANDLE, session.did.as_str())?;
    let account = app.free_account(&session.did).await?;
    let handle = handles::check_for(&app, &input.handle, &account.did).await?;
    handles::require_free(&app, &handle, &account.did).await?;
    identity_change::set_handle(&app, &account.did, handle).await?;
    let mut response = empty();
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}
