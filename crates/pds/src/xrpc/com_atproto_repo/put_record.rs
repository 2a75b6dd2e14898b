//! `com.atproto.repo.putRecord`: writes a record, new or not. Writing what is there already changes nothing: no commit,
//! no event.

use std::borrow::Cow;

use atproto::cid::Cid;
use axum::{extract::State, response::Response};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use store::{Change, Op};

use super::write::{Call, Prepared, Terms, WriteJson, Written, collection, optional_cid, record_key, uri};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    limits::UPDATE_POINTS,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow)]
    repo: Cow<'a, str>,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow)]
    rkey: Cow<'a, str>,
    #[serde(default)]
    validate: Option<bool>,
    #[serde(borrow)]
    record: &'a RawValue,
    /// Absent: any; null: there must be none; a CID: it must be that one.
    #[serde(default, deserialize_with = "present")]
    swap_record: Option<Option<String>>,
    #[serde(borrow, default)]
    swap_commit: Option<Cow<'a, str>>,
}

/// Keeps null apart from absence.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: WriteJson,
) -> Result<Response, XrpcError> {
    let input: Input<'_> = body.parse()?;
    let terms =
        Terms { repo: &input.repo, swap_commit: input.swap_commit.as_deref(), validate: input.validate };
    let call = Call::begin(&app, session.did, terms, UPDATE_POINTS).await?;
    let collection = collection(&input.collection)?;
    let rkey = record_key(&input.rkey)?;
    let swap_record: Option<Option<Cid>> =
        input.swap_record.map(|swap| optional_cid("swapRecord", swap.as_deref())).transpose()?;
    let Prepared { record, status } = call.prepare(input.record, &collection, &rkey).await?;
    let (cid, uri) = (record.cid, uri(&call.did, &collection, &rkey));
    let op = Op { collection, rkey, change: Change::Put(record), swap_record };
    call.commit(vec![op], |commit| Written { uri, cid, commit, validation_status: status }).await
}
