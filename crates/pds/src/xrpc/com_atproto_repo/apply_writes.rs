//! `com.atproto.repo.applyWrites`: up to 200 writes in one commit, all or none.

use std::borrow::Cow;

use atproto::{cid::Cid, syntax::Did};
use axum::{extract::State, response::Response};
use platform::time::TrustedTime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{Change, Op};

use super::{
    super::shared::json,
    write::{
        CommitMeta, Prepared, WriteJson, collection, display, optional_cid, prepare, record_key,
        record_key_or_new, submit, uri,
    },
};
use crate::{
    app::{App, Shared},
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
    app.own_repo(&input.repo, &session.did).await?;
    if input.writes.len() > WRITES_MAX {
        return Err(XrpcError::invalid_request(format!("Too many writes. Max: {WRITES_MAX}")));
    }
    let points = input.writes.iter().map(WriteInput::points).fold(0, u32::saturating_add);
    let standing = app.take_write_points(&session.did, points)?;
    let swap_commit = optional_cid("swapCommit", input.swap_commit.as_deref())?;
    let now = app.now()?;
    let mut ops = Vec::with_capacity(input.writes.len());
    let mut results = Vec::with_capacity(input.writes.len());
    for write in &input.writes {
        let (op, result) = write.prepare(&app, &session.did, now, input.validate)?;
        ops.push(op);
        results.push(result);
    }
    let written = submit(&app, session.did, ops, swap_commit).await?;
    let mut response = json(&Output { commit: CommitMeta::of(&written), results });
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
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

    fn prepare(
        &self,
        app: &App,
        did: &Did,
        now: TrustedTime,
        validate: Option<bool>,
    ) -> Result<(Op, WriteOutput), XrpcError> {
        let collection = collection(&self.collection)?;
        let rkey = || self.rkey.as_deref().ok_or_else(|| missing("rkey"));
        let value = || self.value.ok_or_else(|| missing("value"));
        Ok(match self.action() {
            "#create" => {
                let rkey = record_key_or_new(app, self.rkey.as_deref(), now)?;
                let Prepared { record, status } = prepare(value()?, &collection, validate)?;
                let done =
                    Done { uri: uri(did, &collection, &rkey), cid: record.cid, validation_status: status };
                (
                    Op { collection, rkey, change: Change::Create(record), swap_record: None },
                    WriteOutput::Create(done),
                )
            }
            "#update" => {
                let rkey = record_key(rkey()?)?;
                let Prepared { record, status } = prepare(value()?, &collection, validate)?;
                let done =
                    Done { uri: uri(did, &collection, &rkey), cid: record.cid, validation_status: status };
                (
                    Op { collection, rkey, change: Change::Update(record), swap_record: None },
                    WriteOutput::Update(done),
                )
            }
            "#delete" => {
                let rkey = record_key(rkey()?)?;
                (Op { collection, rkey, change: Change::Delete, swap_record: None }, WriteOutput::Delete {})
            }
            _ => {
                return Err(XrpcError::invalid_request(
                    "writes: $type must name a create, an update or a delete",
                ));
            }
        })
    }
}

fn missing(name: &str) -> XrpcError {
    XrpcError::invalid_request(format!("writes: missing field `{name}`"))
}
