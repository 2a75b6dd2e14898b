//! `com.atproto.sync.listRepos`: all repos of this server, oldest account first.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::Serialize;
use store::Status;

use super::super::shared::{json, status_name};
use crate::{
    app::Shared,
    error::XrpcError,
    input::{Params, field},
};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 1000;

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    repos: Vec<Repo>,
}

#[derive(Serialize)]
struct Repo {
    did: String,
    head: String,
    rev: String,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    params: Params,
) -> Result<Response, XrpcError> {
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let after =
        params.get("cursor").filter(|c| !c.is_empty()).map(|c| field("cursor", c, Did::parse)).transpose()?;
    let accounts = app.store.read(move |r| r.list_accounts(after.as_ref(), limit)).await?;
    let cursor = accounts.last().filter(|_| accounts.len() == limit).map(|a| a.did.to_string());
    let repos = accounts
        .iter()
        .map(|a| Repo {
            did: a.did.to_string(),
            head: a.head.commit.to_string(),
            rev: a.head.rev.to_string(),
            active: a.status == Status::Active,
            status: status_name(a.status),
        })
        .collect();
    Ok(json(&Output { cursor, repos }))
}
