//! `com.atproto.server.getAccountInviteCodes`: the codes that the caller may give away, made as they are earned.

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{Full, Session},
    error::XrpcError,
    input::Params,
    invites::{self, InviteView},
};

#[derive(Serialize)]
struct Output<'a> {
    codes: Vec<InviteView<'a>>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
    params: Params,
) -> Result<Response, XrpcError> {
    let by_default = |name: &str| if params.get(name).is_none() { Ok(true) } else { params.boolean(name) };
    let (include_used, create_available) = (by_default("includeUsed")?, by_default("createAvailable")?);
    let account = app.free_account(&session.did).await?;
    let now = app.now()?;
    let did = session.did.clone();
    let mut codes = app.store.read(move |r| r.invites_of(did.as_str())).await?;
    if let Some(interval) =
        app.config.invite_interval.filter(|_| create_available && app.config.invite_required)
    {
        let (count, total) = invites::to_mint(
            &codes,
            account.created_at_us,
            interval,
            app.config.invite_epoch_us,
            now.unix_micros(),
        );
        if count > 0 {
            let new: Result<Vec<String>, _> = (0..count).map(|_| invites::new_code(&app.config)).collect();
            codes.extend(app.store.mint_invites(&session.did, new?, total, now).await?);
        }
    }
    let shown = codes.iter().filter(|code| !code.disabled && (include_used || !invites::is_used_up(code)));
    Ok(json(&Output { codes: shown.map(invites::view).collect() }))
}
