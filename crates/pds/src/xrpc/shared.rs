//! What several methods answer alike.

use atproto::{
    cid::Cid,
    syntax::{AtIdentifier, Did},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use store::{Account, Reader, Status, StoreError};

use crate::{app::App, auth::Viewer, error::XrpcError};

/// Media type of a CAR.
pub(super) const CAR: HeaderValue = HeaderValue::from_static("application/vnd.ipld.car");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Answers 200 with a value as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(bytes),
        Err(e) => axum::response::IntoResponse::into_response(XrpcError::internal(e)),
    }
}

/// Answers 200 with JSON that is already text.
pub(super) fn json_bytes(bytes: Vec<u8>) -> Response {
    typed(Body::from(bytes), JSON)
}

/// Answers 200 with a body of the given type.
pub(super) fn typed(body: Body, kind: HeaderValue) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Answers 200 with an empty body, for methods without output.
pub(super) fn empty() -> Response {
    Response::new(Body::empty())
}

/// Answers 200 with a small CAR.
pub(super) fn car(roots: &[Cid], blocks: &[(Cid, Bytes)]) -> Response {
    typed(Body::from(atproto::car::to_vec(roots, blocks.iter().map(|(cid, block)| (*cid, &block[..])))), CAR)
}

/// What the `com.atproto.sync` methods call an account's state.
pub(super) fn status_name(status: Status) -> Option<&'static str> {
    match status {
        Status::Active => None,
        other => Some(other.as_str()),
    }
}

/// Reads from a hosted repo whose public data the viewer may read: it is active, or the viewer owns it or runs this
/// server. Account and data are of one moment.
///
/// # Errors
/// 400 `RepoNotFound`, `RepoTakendown`, `RepoSuspended`, `RepoDeactivated`.
pub(super) async fn read_repo<T, F>(
    app: &App,
    did: &Did,
    viewer: &Viewer,
    read: F,
) -> Result<(Account, T), XrpcError>
where
    T: Send + 'static,
    F: FnOnce(&Reader<'_>, &Account) -> Result<T, StoreError> + Send + 'static,
{
    let (did, sees_hidden) = (did.clone(), viewer.sees_hidden(did));
    app.store
        .read(move |r| {
            let Some(account) = r.account_by_did(&did)? else {
                return Ok(Err(repo_not_found(did.as_str())));
            };
            if let Some(refusal) = refusal(&account).filter(|_| !sees_hidden) {
                return Ok(Err(refusal));
            }
            let value = read(r, &account)?;
            Ok(Ok((account, value)))
        })
        .await?
}

/// [`read_repo`] for the account alone.
///
/// # Errors
/// As [`read_repo`].
pub(super) async fn readable_repo(app: &App, did: &Did, viewer: &Viewer) -> Result<Account, XrpcError> {
    read_repo(app, did, viewer, |_, _| Ok(())).await.map(|(account, ())| account)
}

/// 400 `RepoNotFound`.
pub(super) fn repo_not_found(repo: &str) -> XrpcError {
    XrpcError::bad("RepoNotFound", format!("Could not find repo for DID: {repo}"))
}

fn refusal(account: &Account) -> Option<XrpcError> {
    let did = &account.did;
    match account.status {
        Status::Active => None,
        Status::Takendown => Some(XrpcError::bad("RepoTakendown", format!("Repo has been takendown: {did}"))),
        Status::Suspended => Some(XrpcError::bad("RepoSuspended", format!("Repo has been suspended: {did}"))),
        // A state that is not known here is not served either.
        _ => Some(XrpcError::bad("RepoDeactivated", format!("Repo has been deactivated: {did}"))),
    }
}

/// Reads from a repo that a repo method names by DID or handle; `None` when it is not hosted, or not active.
///
/// # Errors
/// 500 when the store fails.
pub(super) async fn read_hosted<T, F>(
    app: &App,
    repo: &AtIdentifier,
    read: F,
) -> Result<Option<(Account, T)>, XrpcError>
where
    T: Send + 'static,
    F: FnOnce(&Reader<'_>, &Account) -> Result<T, StoreError> + Send + 'static,
{
    let repo = repo.clone();
    let found = app.store.read(move |r| {
        let account = match &repo {
            AtIdentifier::Did(did) => r.account_by_did(did)?,
            AtIdentifier::Handle(handle) => r.account_by_handle(handle)?,
        };
        let Some(account) = account.filter(|a| a.status == Status::Active) else { return Ok(None) };
        let value = read(r, &account)?;
        Ok(Some((account, value)))
    });
    Ok(found.await?)
}
