//! `com.atproto.identity.requestPlcOperationSignature`: gets the owner a code for `signPlcOperation`.

use axum::{extract::State, response::Response};

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{FullOrTakendown, Session},
    codes::Purpose,
    error::XrpcError,
    limits,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<FullOrTakendown>,
) -> Result<Response, XrpcError> {
    let account = super::own_account(&app, &session.did).await?;
    super::require_plc(&account.did)?;
    let standing = app.limiter.take_each(&limits::REQUEST_PLC_OPERATION_SIGNATURE, session.did.as_str())?;
    app.codes.send(&account, Purpose::PlcOperation, app.now()?).await?;
    let mut response = empty();
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}
