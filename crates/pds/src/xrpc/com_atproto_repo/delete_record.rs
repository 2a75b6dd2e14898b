//! `com.atproto.repo.deleteRecord`: removes a record. One that is not there is success without a commit.

use std::borrow::Cow;

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use store::{Change, Op};

use super::{
    put_record::present,
    write::{Call, CommitMeta, Terms, collection, optional_cid, record_key},
};
use crate::{
    app::Shared,
    auth::{Session, Standard},
    error::XrpcError,
    input::Json,
    limits::DELETE_POINTS,
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
    #[serde(default, deserialize_with = "present")]
    swap_record: Option<Option<String>>,
    #[serde(borrow, default)]
    swap_commit: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitMeta>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Standard>,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input<'_> = body.parse()?;
    let terms = Terms { repo: &input.repo, swap_commit: input.swap_commit.as_deref(), validate: None };
    let call = Call::begin(&app, session.did, terms, DELETE_POINTS).await?;
    let collection = collection(&input.collection)?;
    let rkey = record_key(&input.rkey)?;
    let swap_record = match input.swap_record {
        Some(None) => return Err(XrpcError::bad("InvalidSwap", "swapRecord: null cannot hold for a delete")),
        Some(Some(text)) => optional_cid("swapRecord", Some(&text))?,
        None => None,
    };
    let op = Op { collection, rkey, change: Change::Delete, swap_record: swap_record.map(Some) };
    call.commit(vec![op], |commit| Output { commit }).await
}
