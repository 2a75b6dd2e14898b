//! `com.atproto.admin.sendEmail`: a mail to an account's owner, as plain text.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::{super::shared::json, subject::account};
use crate::{
    app::Shared,
    auth::admin::AdminOrModerator,
    error::XrpcError,
    input::{Json, field},
};

/// The subject of a mail without one, as the reference.
const SUBJECT: &str = "Message via your PDS";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    recipient_did: String,
    sender_did: String,
    content: String,
    #[serde(default)]
    subject: Option<String>,
}

#[derive(Serialize)]
struct Output {
    sent: bool,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let did = field("recipientDid", &input.recipient_did, Did::parse)?;
    field("senderDid", &input.sender_did, Did::parse)?;
    let account = account(&app, &did).await.map_err(|_| XrpcError::invalid_request("Recipient not found"))?;
    let address =
        account.email.ok_or_else(|| XrpcError::invalid_request("account does not have an email address"))?;
    let subject = input.subject.as_deref().unwrap_or(SUBJECT);
    app.mailer.send(&address, subject, &input.content).await?;
    tracing::info!(did = did.as_str(), "the operator sent a mail");
    Ok(json(&Output { sent: true }))
}
