//! `com.atproto.repo.applyWrites`: up to 200 writes in one commit, all or none.

use std::borrow::Cow;

use atproto::{
    cid::Cid,
    data::Record,
    syntax::{Nsid, RecordKey},
};
use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{Change, Op};

use super::write::{Call, CommitMeta, Prepared, Terms, WriteJson, collection, display, record_key, uri};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    limits::{CREATE_POINTS, DELETE_POINTS, UPDATE_POINTS},
};

/// Writes in one call: an event may name no more.
const WRITES_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow)]
    repo: Cow<'a, str>,
    #[serde(default)]
    validate: Option<bool>,
    #[serde(borrow)]
    writes: Vec<WriteInput<'a>>,
    #[serde(borrow, default)]
    swap_commit: Option<Cow<'a, str>>,
}

/// One write; `$type` says which of the three it is and which fields must be there.
#[derive(Deserialize)]
struct WriteInput<'a> {
    #[serde(rename = "$type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow, default)]
    rkey: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "$type")]
enum WriteOutput {
    #[serde(rename = "com.atproto.repo.applyWrites#createResult", rename_all = "camelCase")]
    Create(Done),
    #[serde(rename = "com.atproto.repo.applyWrites#updateResult", rename_all = "camelCase")]
    Update(Done),
    #[serde(rename = "com.atproto.repo.applyWrites#deleteResult")]
    Delete {},
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    uri: String,
    #[serde(serialize_with = "display")]
    cid: Cid,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_status: Option<&'static str>,
}

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitMeta>,
    results: Vec<WriteOutput>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: WriteJson,
) -> Result<Response, XrpcError> {
    let input: Input<'_> = body.parse()?;
    let points = input.writes.iter().map(WriteInput::points).fold(0, u32::saturating_add);
    let terms =
        Terms { repo: &input.repo, swap_commit: input.swap_commit.as_deref(), validate: input.validate };
    let call = Call::begin(&app, session.did, terms, points).await?;
    if input.writes.len() > WRITES_MAX {
        return Err(XrpcError::invalid_request(format!("Too many writes. Max: {WRITES_MAX}")));
    }
    let mut ops = Vec::with_capacity(input.writes.len());
    let mut results = Vec::with_capacity(input.writes.len());
    for write in &input.writes {
        let (op, result) = write.prepare(&call).await?;
        ops.push(op);
        results.push(result);
    }
    call.commit(ops, |commit| Output { commit, results }).await
}

impl WriteInput<'_> {
    /// The kind without the lexicon's name, which some clients leave out.
    fn action(&self) -> &str {
        self.kind.strip_prefix("com.atproto.repo.applyWrites").unwrap_or(&self.kind)
    }

    fn points(&self) -> u32 {
        match self.action() {
            "#create" => CREATE_POINTS,
            "#update" => UPDATE_POINTS,
            _ => DELETE_POINTS,
        }
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<(Op, WriteOutput), XrpcError> {
        let collection = collection(&self.collection)?;
        let rkey = || record_key(self.rkey.as_deref().ok_or_else(|| missing("rkey"))?);
        let value = || self.value.ok_or_else(|| missing("value"));
        let (rkey, change, result) = match self.action() {
            "#create" => {
                let rkey = call.record_key_or_new(self.rkey.as_deref())?;
                let Prepared { record, status } = call.prepare(value()?, &collection, &rkey).await?;
                let done = Done::new(call, &collection, &rkey, &record, status);
                (rkey, Change::Create(record), WriteOutput::Create(done))
            }
            "#update" => {
                let rkey = rkey()?;
                let Prepared { record, status } = call.prepare(value()?, &collection, &rkey).await?;
                let done = Done::new(call, &collection, &rkey, &record, status);
                (rkey, Change::Update(record), WriteOutput::Update(done))
            }
            "#delete" => (rkey()?, Change::Delete, WriteOutput::Delete {}),
            _ => {
                return Err(XrpcError::invalid_request(
                    "writes: $type must name a create, an update or a delete",
                ));
            }
        };
        Ok((Op { collection, rkey, change, swap_record: None }, result))
    }
}

impl Done {
    fn new(
        call: &Call<'_>,
        collection: &Nsid,
        rkey: &RecordKey,
        record: &Record,
        status: Option<&'static str>,
    ) -> Self {
        Self { uri: uri(&call.did, collection, rkey), cid: record.cid, validation_status: status }
    }
}

fn missing(name: &str) -> XrpcError {
    XrpcError::invalid_request(format!("writes: missing field `{name}`"))
}
