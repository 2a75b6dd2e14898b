//! `com.atproto.repo.createRecord`: writes a new record.

use std::borrow::Cow;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Change, Op};

use super::{
    super::shared::json,
    write::{
        CommitMeta, Prepared, WriteJson, Written, collection, optional_cid, prepare, record_key_or_new,
        submit, uri,
    },
};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    limits::CREATE_POINTS,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow)]
    repo: Cow<'a, str>,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow, default)]
    rkey: Option<Cow<'a, str>>,
    #[serde(default)]
    validate: Option<bool>,
    #[serde(borrow)]
    record: &'a RawValue,
    #[serde(borrow, default)]
    swap_commit: Option<Cow<'a, str>>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: WriteJson,
) -> Result<Response, XrpcError> {
    let input: Input<'_> = body.parse()?;
    app.own_repo(&input.repo, &session.did).await?;
    let standing = app.take_write_points(&session.did, CREATE_POINTS)?;
    let collection = collection(&input.collection)?;
    let rkey = record_key_or_new(&app, input.rkey.as_deref(), app.now()?)?;
    let swap_commit = optional_cid("swapCommit", input.swap_commit.as_deref())?;
    let Prepared { record, status } = prepare(input.record, &collection, input.validate)?;
    let (cid, uri) = (record.cid, uri(&session.did, &collection, &rkey));
    let op = Op { collection, rkey, change: Change::Create(record), swap_record: None };
    let result = submit(&app, session.did, vec![op], swap_commit).await?;
    let mut response =
        json(&Written { uri, cid, commit: CommitMeta::of(&result), validation_status: status });
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}
