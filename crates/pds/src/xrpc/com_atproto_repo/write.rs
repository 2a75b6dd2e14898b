//! What the four write methods share: input fields, records made ready, the store's write, and the answers' parts.

use std::sync::atomic::Ordering;

use atproto::{
    cid::Cid,
    data::{BlobRef, Record, record_to_cbor},
    syntax::{Did, Nsid, RecordKey},
    tid::Tid,
};
use platform::time::TrustedTime;
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Op, WriteRequest, WriteResult};

use crate::{
    app::App,
    error::XrpcError,
    input::{RECORD_JSON_BYTES_MAX, field},
    known_records,
};

/// Body of a write method.
pub(super) type WriteJson = crate::input::Json<RECORD_JSON_BYTES_MAX>;

/// Parses a collection of a JSON body.
pub(super) fn collection(text: &str) -> Result<Nsid, XrpcError> {
    field("collection", text, Nsid::parse)
}

/// Parses a record key of a JSON body.
pub(super) fn record_key(text: &str) -> Result<RecordKey, XrpcError> {
    field("rkey", text, RecordKey::parse)
}

/// The given record key, or a new one made from the time.
pub(super) fn record_key_or_new(
    app: &App,
    text: Option<&str>,
    now: TrustedTime,
) -> Result<RecordKey, XrpcError> {
    match text {
        Some(text) => record_key(text),
        None => record_key(app.record_keys.next(now).as_str()),
    }
}

/// Parses an optional CID of a JSON body.
pub(super) fn optional_cid(name: &str, text: Option<&str>) -> Result<Option<Cid>, XrpcError> {
    text.map(|t| field(name, t, Cid::parse)).transpose()
}

/// A record ready to be stored, and the `validationStatus` of the answer about it.
pub(super) struct Prepared {
    pub(super) record: Record,
    pub(super) status: Option<&'static str>,
}

/// Turns a record of a JSON body into what is stored.
///
/// `validate`: absent checks what is known, true demands that it is known, false looks at nothing. What is known is
/// checked at its outermost level only, so that a record is never called `valid`.
pub(super) fn prepare(
    json: &RawValue,
    collection: &Nsid,
    validate: Option<bool>,
) -> Result<Prepared, XrpcError> {
    let status = match validate {
        Some(false) => None,
        None | Some(true) => {
            if !known_records::check(collection, json)? && validate == Some(true) {
                return Err(XrpcError::invalid_request(format!("Unknown lexicon type: {collection}")));
            }
            Some("unknown")
        }
    };
    let record = record_to_cbor(json.get().as_bytes(), collection)
        .map_err(|e| XrpcError::invalid_request(format!("Invalid record: {e}")).because(format!("{e:?}")))?;
    if record.blobs.iter().any(BlobRef::is_legacy) {
        return Err(XrpcError::invalid_request("Legacy blobs not allowed"));
    }
    Ok(Prepared { record, status })
}

/// Writes, and notes when.
pub(super) async fn submit(
    app: &App,
    did: Did,
    ops: Vec<Op>,
    swap_commit: Option<Cid>,
) -> Result<WriteResult, XrpcError> {
    let result = app.store.write(WriteRequest { did, ops, swap_commit }).await?;
    if let Some(commit) = &result.commit {
        app.last_write_us.fetch_max(commit.rev.micros(), Ordering::Relaxed);
    }
    Ok(result)
}

/// `com.atproto.repo.defs#commitMeta`.
#[derive(Serialize)]
pub(super) struct CommitMeta {
    #[serde(serialize_with = "display")]
    cid: Cid,
    #[serde(serialize_with = "display")]
    rev: Tid,
}

impl CommitMeta {
    pub(super) fn of(result: &WriteResult) -> Option<Self> {
        result.commit.as_ref().map(|c| Self { cid: c.cid, rev: c.rev })
    }
}

/// What createRecord and putRecord answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) uri: String,
    #[serde(serialize_with = "display")]
    pub(super) cid: Cid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<CommitMeta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) validation_status: Option<&'static str>,
}

/// The address of a record.
pub(super) fn uri(did: &Did, collection: &Nsid, rkey: &RecordKey) -> String {
    format!("at://{did}/{collection}/{rkey}")
}

/// Serializes by the value's text.
pub(super) fn display<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
