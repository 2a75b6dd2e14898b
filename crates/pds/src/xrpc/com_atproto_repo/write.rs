//! What the four write methods share: the call from its input to its answer, and the parts of both.

use std::sync::atomic::Ordering;

use atproto::{
    cid::Cid,
    data::{BlobRef, Record, record_to_cbor},
    syntax::{Did, Nsid, RecordKey},
    tid::Tid,
};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Change, Op, WriteRequest, WriteResult};

use super::super::shared::json;
use crate::{
    app::Shared,
    error::XrpcError,
    input::{RECORD_JSON_BYTES_MAX, field},
    lexicons,
    limits::Standing,
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

/// Parses an optional CID of a JSON body.
pub(super) fn optional_cid(name: &str, text: Option<&str>) -> Result<Option<Cid>, XrpcError> {
    text.map(|t| field(name, t, Cid::parse)).transpose()
}

/// A record ready to be stored, and the `validationStatus` of the answer about it.
pub(super) struct Prepared {
    pub(super) record: Record,
    pub(super) status: Option<&'static str>,
}

/// What the input of every write method says about the whole call.
pub(super) struct Terms<'a> {
    /// Whose repo: a DID or handle.
    pub(super) repo: &'a str,
    /// The commit that must be the newest.
    pub(super) swap_commit: Option<&'a str>,
    /// Whether records are checked: absent, those of known types.
    pub(super) validate: Option<bool>,
}

/// One call of a write method, from its input to its answer.
pub(super) struct Call<'a> {
    app: &'a Shared,
    pub(super) did: Did,
    swap_commit: Option<Cid>,
    validate: Option<bool>,
    standing: Option<Standing>,
}

impl<'a> Call<'a> {
    /// Checks that the repo is the caller's own and that it may write so much now.
    ///
    /// # Errors
    /// 401 for another's repo, 429, 400 for input that does not parse.
    pub(super) async fn begin(
        app: &'a Shared,
        did: Did,
        terms: Terms<'_>,
        points: u32,
    ) -> Result<Self, XrpcError> {
        app.own_repo(terms.repo, &did).await?;
        let standing = app.take_write_points(&did, points)?;
        let swap_commit = optional_cid("swapCommit", terms.swap_commit)?;
        Ok(Self { app, did, swap_commit, validate: terms.validate, standing })
    }

    /// The given record key, or a new one made from the time.
    pub(super) fn record_key_or_new(&self, text: Option<&str>) -> Result<RecordKey, XrpcError> {
        match text {
            Some(text) => record_key(text),
            None => record_key(self.app.record_keys.next(self.app.now()?).as_str()),
        }
    }

    /// Turns a record of the input into what is stored, and checks it as the caller wished.
    ///
    /// # Errors
    /// 400 naming what is wrong with it.
    pub(super) async fn prepare(
        &self,
        json: &RawValue,
        collection: &Nsid,
        rkey: &RecordKey,
    ) -> Result<Prepared, XrpcError> {
        let record = record_to_cbor(json.get().as_bytes(), collection).map_err(|e| {
            XrpcError::invalid_request(format!("Invalid record: {e}")).because(format!("{e:?}"))
        })?;
        let status = lexicons::check(self.app, collection, rkey, &record, self.validate).await?;
        if record.blobs.iter().any(BlobRef::is_legacy) {
            return Err(XrpcError::invalid_request("Legacy blobs are not allowed"));
        }
        Ok(Prepared { record, status })
    }

    /// How a record is created: in place of others about the same, unless the caller wants no checks.
    pub(super) fn creation(&self, record: Record) -> Change {
        if self.validate == Some(false) { Change::Create(record) } else { Change::CreateInPlaceOf(record) }
    }

    /// Writes, and answers with what `answer` makes of the commit.
    ///
    /// # Errors
    /// Those of [`store::Store::write`].
    pub(super) async fn commit<T: Serialize>(
        self,
        ops: Vec<Op>,
        answer: impl FnOnce(Option<CommitMeta>) -> T,
    ) -> Result<Response, XrpcError> {
        let request = WriteRequest { did: self.did, ops, swap_commit: self.swap_commit };
        let result = self.app.store.write(request).await?;
        if let Some(commit) = &result.commit {
            self.app.last_write_us.fetch_max(commit.rev.micros(), Ordering::Relaxed);
        }
        let mut response = json(&answer(CommitMeta::of(&result)));
        if let Some(standing) = self.standing {
            response.extensions_mut().insert(standing);
        }
        Ok(response)
    }
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
    fn of(result: &WriteResult) -> Option<Self> {
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
