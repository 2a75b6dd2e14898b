//! `com.atproto.server.createAccount`: a new account with a new identity, or one that moves in with its own.

use atproto::{
    crypto::PublicKey,
    did_doc::DidDocument,
    didkey,
    syntax::{Did, Handle, Nsid},
};
use axum::{
    Extension,
    extract::{FromRequest, Request, State},
    http::HeaderMap,
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{super::shared::json, Tokens, open_session};
use crate::{
    account_creation,
    app::{App, Shared},
    auth::{authorization, jwt::Scope, password::PASSWORD_CHARS_MAX, service},
    error::XrpcError,
    handles,
    input::{Json, field},
    limits,
    mail::address,
    server::Peer,
};

/// The name of this method, which a service token for it carries.
const METHOD: &str = "com.atproto.server.createAccount";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    handle: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    did: Option<String>,
    #[serde(default)]
    invite_code: Option<String>,
    #[serde(default)]
    recovery_key: Option<String>,
    #[serde(default)]
    plc_op: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    #[serde(flatten)]
    tokens: Tokens,
    handle: &'a str,
    did: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    did_doc: Option<&'a DidDocument>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Result<Response, XrpcError> {
    let standing = match peer {
        Some(Extension(Peer(ip))) => app.limiter.take_ip(limits::CREATE_ACCOUNT, ip)?,
        None => None,
    };
    let requester = requester(&app, request.headers()).await?;
    let input: Input =
        Json::<{ crate::input::JSON_BYTES_MAX }>::from_request(request, &app).await?.parse()?;
    let request = check(&app, input, requester.as_ref()).await?;
    let account = account_creation::create(&app, request).await?;
    let tokens = open_session(&app, &account, Scope::Access, None, app.now()?).await?;
    // Clients take their server's address from it; the account is there without it, too.
    let document = app.identity.fresh_document(&account.did).await.ok();
    let mut response = json(&Output {
        tokens,
        handle: account.handle.as_str(),
        did: account.did.as_str(),
        did_doc: document.as_deref(),
    });
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}

/// Checks all that can be checked before anything is made.
async fn check(
    app: &App,
    input: Input,
    requester: Option<&Did>,
) -> Result<account_creation::Request, XrpcError> {
    if input.plc_op.is_some() {
        return Err(XrpcError::invalid_request("Unsupported input: \"plcOp\""));
    }
    let invite = input.invite_code.filter(|code| !code.is_empty());
    if app.config.invite_required && invite.is_none() {
        return Err(XrpcError::bad("InvalidInviteCode", "No invite code provided"));
    }
    let email = input.email.filter(|e| !e.is_empty());
    let email = address::check(&email.ok_or_else(|| XrpcError::invalid_request("Email is required"))?)?;
    let did = input.did.map(|did| field("did", &did, Did::parse)).transpose()?;
    let handle = handle_for(app, &input.handle, did.as_ref(), requester).await?;
    let recovery_key = input.recovery_key.map(|text| recovery_key(&text)).transpose()?;
    if recovery_key.is_some() && did.is_some() {
        return Err(XrpcError::invalid_request(
            "recoveryKey: only a new did:plc takes one; change yours yourself",
        ));
    }
    let password = input.password.filter(|p| !p.is_empty());
    let password = password.ok_or_else(|| XrpcError::invalid_request("Password is required"))?;
    if password.chars().count() > PASSWORD_CHARS_MAX {
        return Err(XrpcError::invalid_request(format!(
            "Password too long. Maximum length is {PASSWORD_CHARS_MAX} characters."
        )));
    }
    // Names that are taken are refused before the costly hash; the store checks them again.
    let (wanted, address, code) = (handle.clone(), email.clone(), invite.clone());
    let taken = app.store.read(move |r| {
        if let Some(code) = code
            && !r.invite_is_available(&code)?
        {
            return Ok(Some(store::StoreError::InviteUnavailable));
        }
        Ok(match (r.account_by_handle(&wanted)?, r.account_by_email(&address)?) {
            (Some(_), _) => Some(store::StoreError::HandleTaken),
            (None, Some(_)) => Some(store::StoreError::EmailTaken),
            (None, None) => None,
        })
    });
    match taken.await? {
        // The reference has no name of its own for it here.
        Some(store::StoreError::HandleTaken) => {
            return Err(XrpcError::invalid_request("Handle already taken"));
        }
        Some(taken) => return Err(taken.into()),
        None => {}
    }
    let password_hash = app.passwords.hash(password).await?;
    Ok(account_creation::Request { handle, email: Some(email), password_hash, recovery_key, did, invite })
}

/// Checks the handle together with the identity that is to have it: a new one, one of this server's own `did:web`, or
/// one brought along, whose owner a service token must show.
async fn handle_for(
    app: &App,
    handle: &str,
    did: Option<&Did>,
    requester: Option<&Did>,
) -> Result<Handle, XrpcError> {
    match did {
        None => handles::check_new(handle, &app.config.handle_domains),
        Some(did) if app.identity.gives_out(did) => {
            let handle = handles::check_new(handle, &app.config.handle_domains)?;
            if did.as_str() == format!("did:web:{handle}") {
                return Ok(handle);
            }
            Err(XrpcError::invalid_request(format!(
                "This server gives {did} only to who takes its name as handle"
            )))
        }
        Some(did) => {
            // First who asks, then what his handle's host says: strangers must not send this server anywhere.
            if requester != Some(did) {
                return Err(XrpcError::auth_required(format!(
                    "Missing auth to create account with did: {did}"
                )));
            }
            handles::check_for(app, handle, did).await
        }
    }
}

/// The identity in whose name a service token asks. A token that does not count is refused, whatever is asked for.
async fn requester(app: &App, headers: &HeaderMap) -> Result<Option<Did>, XrpcError> {
    let Some((kind, token)) = authorization(headers)? else { return Ok(None) };
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(XrpcError::auth_required("Only a service token is taken here"));
    }
    let method = Nsid::parse(METHOD).map_err(XrpcError::internal)?;
    service::check(app, token, &method, app.now()?).await.map(Some)
}

fn recovery_key(text: &str) -> Result<PublicKey, XrpcError> {
    didkey::parse_did_key(text).map_err(|e| XrpcError::invalid_request(format!("recoveryKey: {e}")))
}
