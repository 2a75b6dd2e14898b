//! `com.atproto.repo.createRecord`: writes a new record. A second like, follow, repost or block of one subject takes the
//! place of the first, in the same commit.

use std::borrow::Cow;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::Op;

use super::write::{Call, Prepared, Terms, WriteJson, Written, collection, uri};
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
    let terms =
        Terms { repo: &input.repo, swap_commit: input.swap_commit.as_deref(), validate: input.validate };
    let call = Call::begin(&app, session.did, terms, CREATE_POINTS).await?;
    let collection = collection(&input.collection)?;
    let rkey = call.record_key_or_new(input.rkey.as_deref())?;
    let Prepared { record, status } = call.prepare(input.record, &collection, &rkey).await?;
    let (cid, uri) = (record.cid, uri(&call.did, &collection, &rkey));
    let op = Op { change: call.creation(record), collection, rkey, swap_record: None };
    call.commit(vec![op], |commit| Written { uri, cid, commit, validation_status: status }).await
}
