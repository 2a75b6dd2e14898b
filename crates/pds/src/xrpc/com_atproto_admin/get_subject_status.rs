//! `com.atproto.admin.getSubjectStatus`: whether an account, a record or a blob is hidden, and why.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::Serialize;
use store::StoreError;

use super::{
    super::shared::json,
    subject::{self, StatusAttr, Subject, Target},
};
use crate::{
    app::{App, Shared},
    auth::admin::AdminOrModerator,
    error::XrpcError,
    input::Params,
};

#[derive(Serialize)]
struct Output {
    subject: Subject,
    takedown: StatusAttr,
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivated: Option<StatusAttr>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    params: Params,
) -> Result<Response, XrpcError> {
    let target = match (params.get("blob"), params.get("uri"), params.get("did")) {
        (Some(_), _, None) => {
            return Err(XrpcError::invalid_request("Must provide a did to request blob state"));
        }
        (Some(_), _, Some(_)) => Target::Blob(params.did("did")?, params.cid("blob")?),
        (None, Some(uri), _) => subject::record(uri)?,
        (None, None, Some(_)) => Target::Repo(params.did("did")?),
        (None, None, None) => return Err(XrpcError::invalid_request("No provided subject")),
    };
    let found = match target {
        Target::Repo(did) => of_account(&app, did).await?,
        Target::Blob(did, cid) => {
            let read = app.store.read(move |r| {
                let Some(account) = r.account_by_did(&did)? else { return Ok(None) };
                let hold = r.blob_hold(&account, &cid)?;
                // A blob that is gone, or has not come yet, may be held all the same.
                if hold.is_none() && r.blob(&account, &cid)?.is_none() {
                    return Ok(None);
                }
                let subject = Subject::Blob { did: did.to_string(), cid: cid.to_string(), record_uri: None };
                Ok(Some(Output { subject, takedown: StatusAttr::of(hold), deactivated: None }))
            });
            read.await?
        }
        Target::Record(did, collection, rkey) => {
            let read = app.store.read(move |r| {
                let Some(account) = r.account_by_did(&did)? else { return Ok(None) };
                let Some(record) = r.record(&account, &collection, &rkey)? else { return Ok(None) };
                let subject = Subject::Record {
                    uri: format!("at://{did}/{collection}/{rkey}"),
                    cid: record.cid.to_string(),
                };
                let takedown = StatusAttr::of(r.record_hold(&account, &collection, &rkey)?);
                Ok::<_, StoreError>(Some(Output { subject, takedown, deactivated: None }))
            });
            read.await?
        }
    };
    let found = found.ok_or_else(|| XrpcError::bad("NotFound", "Subject not found"))?;
    Ok(json(&found))
}

async fn of_account(app: &App, did: Did) -> Result<Option<Output>, XrpcError> {
    let found = app.store.read(move |r| r.account_by_did(&did)).await?;
    Ok(found.map(|account| Output {
        subject: Subject::Repo { did: account.did.to_string() },
        takedown: StatusAttr::of(account.hold.map(|hold| hold.reference)),
        deactivated: Some(StatusAttr { applied: account.deactivated_at_us.is_some(), reference: None }),
    }))
}
