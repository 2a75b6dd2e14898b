//! What switching an account's invites on and off share.

use atproto::syntax::Did;
use axum::response::Response;
use serde::Deserialize;
use store::InviteRights;

use super::{super::shared::empty, subject::refused};
use crate::{app::App, error::XrpcError, input::field};

/// Longest note, bytes: it is kept with the account.
const NOTE_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
pub(super) struct Input {
    account: String,
    #[serde(default)]
    note: Option<String>,
}

/// Keeps the decision with its note.
pub(super) async fn set(app: &App, input: Input, disabled: bool) -> Result<Response, XrpcError> {
    let did = field("account", &input.account, Did::parse)?;
    if input.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
        return Err(XrpcError::invalid_request(format!("note: longer than {NOTE_BYTES_MAX} bytes")));
    }
    let rights = InviteRights { disabled, note: input.note };
    app.store.set_invite_rights(&did, rights).await.map_err(refused)?;
    tracing::info!(did = did.as_str(), disabled, "the operator changed an account's right to invite");
    Ok(empty())
}
