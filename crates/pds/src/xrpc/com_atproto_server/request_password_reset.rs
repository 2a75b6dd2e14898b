//! `com.atproto.server.requestPasswordReset`: mails a code to whoever has an account with this address.
//!
//! The answer is the same whether there is such an account or not, and takes equally long: it says only whether the mail
//! server can be used. The mail itself is written afterwards.

use axum::{Extension, extract::State, response::Response};
use serde::Deserialize;

use super::{super::shared::empty, count_caller, with_standing};
use crate::{
    app::{App, Shared},
    codes::Purpose,
    error::XrpcError,
    input::Json,
    limits,
    server::Peer,
};

#[derive(Deserialize)]
struct Input {
    email: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let standing = count_caller(&app, peer, &limits::REQUEST_PASSWORD_RESET)?;
    app.now()?;
    app.codes.can_send(Purpose::ResetPassword)?;
    app.mailer.ready().await?;
    let task = Shared::clone(&app);
    app.tasks.spawn(async move { mail_code(&task, input.email).await });
    Ok(with_standing(empty(), standing))
}

/// Mails the code if there is an account. The mailer logs and shows its own failures.
async fn mail_code(app: &App, email: String) {
    let sent = async {
        let account = app.store.read(move |r| r.account_by_email(email.trim())).await?;
        match account {
            Some(account) => {
                // By account and not by caller: many addresses must not fill one mailbox, or void its code each time.
                app.limiter.take_each(&limits::MAILED_RESETS, account.did.as_str())?;
                app.codes.send(&account, Purpose::ResetPassword, app.now()?).await
            }
            None => Ok(()),
        }
    };
    if let Err(e) = sent.await {
        tracing::warn!("a code for a new password was not mailed: {e}");
    }
}
