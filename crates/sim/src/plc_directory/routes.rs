//! The directory's HTTP interface, as <https://web.plc.directory/api/redoc> describes it.

use std::sync::Arc;

use atproto::did_doc::DidDocument;
use atproto::plc::{LogEntry, Signed};
use atproto::syntax::{Datetime, Did};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;

use super::{Directory, Resolved, SubmitError};

/// The largest request: an operation of 4,000 bytes of DAG-CBOR with every character escaped in JSON stays below.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// The entries of one `/export` answer: the default and the most.
const EXPORT_COUNT: usize = 10;
const EXPORT_COUNT_MAX: usize = 1_000;

/// Makes the routes of `directory`.
pub fn router(directory: Arc<Directory>) -> Router {
    Router::new()
        .route(
            "/",
            get(|| async { "A did:plc directory of the Perch simulation. Nobody else sees its accounts.\n" }),
        )
        .route("/_health", get(|| async { answer(&json!({ "version": env!("CARGO_PKG_VERSION") })) }))
        .route("/export", get(export))
        .route("/{did}", get(document).post(submit))
        .route("/{did}/data", get(data))
        .route("/{did}/log", get(log))
        .route("/{did}/log/audit", get(audit))
        .route("/{did}/log/last", get(last))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(directory)
}

type Shared = State<Arc<Directory>>;

fn answer(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// A request that is refused, with a message as the public directory gives it.
struct Refused {
    code: StatusCode,
    message: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.code, answer(&json!({ "message": self.message }))).into_response()
    }
}

fn refuse(code: StatusCode, message: &str) -> Refused {
    Refused { code, message: message.to_owned() }
}

/// Reads the DID of a path; others than did:plc have no place here.
fn parse(did: &str) -> Result<Did, Refused> {
    match Did::parse(did) {
        Ok(parsed) if did.starts_with("did:plc:") && did.len() == 32 => Ok(parsed),
        _ => Err(refuse(StatusCode::BAD_REQUEST, &format!("not a did:plc: {did}"))),
    }
}

fn active(directory: &Directory, did: &Did) -> Result<atproto::plc::State, Refused> {
    match directory.resolve(did) {
        Resolved::Active(state) => Ok(state),
        Resolved::Tombstoned => Err(refuse(StatusCode::GONE, &format!("DID not available: {did}"))),
        Resolved::Unknown => Err(unknown(did)),
    }
}

fn unknown(did: &Did) -> Refused {
    refuse(StatusCode::NOT_FOUND, &format!("DID not registered: {did}"))
}

async fn document(State(directory): Shared, Path(did): Path<String>) -> Result<Response, Refused> {
    let did = parse(&did)?;
    let state = active(&directory, &did)?;
    let body = DidDocument::from_plc(&did, &state).to_json();
    Ok(([(header::CONTENT_TYPE, "application/did+ld+json")], body).into_response())
}

async fn data(State(directory): Shared, Path(did): Path<String>) -> Result<Response, Refused> {
    let did = parse(&did)?;
    let state = active(&directory, &did)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], state.data_json(&did)).into_response())
}

/// The entries of a DID, of which there is at least one.
fn entries(directory: &Directory, did: &str) -> Result<Vec<LogEntry>, Refused> {
    let did = parse(did)?;
    let entries = directory.audit(&did);
    if entries.is_empty() { Err(unknown(&did)) } else { Ok(entries) }
}

async fn log(State(directory): Shared, Path(did): Path<String>) -> Result<Response, Refused> {
    let entries = entries(&directory, &did)?;
    let operations: Vec<&Signed> =
        entries.iter().filter(|entry| !entry.nullified).map(|entry| &entry.operation).collect();
    Ok(answer(&json!(operations)))
}

async fn audit(State(directory): Shared, Path(did): Path<String>) -> Result<Response, Refused> {
    Ok(answer(&json!(entries(&directory, &did)?)))
}

async fn last(State(directory): Shared, Path(did): Path<String>) -> Result<Response, Refused> {
    let entries = entries(&directory, &did)?;
    let newest = entries.iter().rfind(|entry| !entry.nullified).map(|entry| &entry.operation);
    Ok(answer(&json!(newest)))
}

async fn submit(State(directory): Shared, Path(did): Path<String>, body: Bytes) -> Result<Response, Refused> {
    let did = parse(&did)?;
    let operation = Signed::from_json(&body).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        refuse(StatusCode::BAD_REQUEST, &format!("Not a valid operation: {error}{cause}"))
    })?;
    // The disk is synced before the answer; that must not stop the other tasks of this thread.
    let submitted = tokio::task::spawn_blocking(move || directory.submit(&did, operation)).await;
    match submitted {
        Ok(Ok(())) => Ok(StatusCode::OK.into_response()),
        Ok(Err(error @ SubmitError::Invalid(_))) => Err(refuse(StatusCode::BAD_REQUEST, &error.to_string())),
        Ok(Err(error)) => {
            tracing::error!(%error, "the PLC directory could not take an operation");
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
        }
        Err(error) => {
            tracing::error!(%error, "the PLC directory failed");
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the directory failed"))
        }
    }
}

#[derive(Deserialize)]
struct ExportQuery {
    count: Option<usize>,
    after: Option<String>,
}

async fn export(State(directory): Shared, Query(query): Query<ExportQuery>) -> Result<Response, Refused> {
    let count = query.count.unwrap_or(EXPORT_COUNT);
    if count == 0 || count > EXPORT_COUNT_MAX {
        return Err(refuse(StatusCode::BAD_REQUEST, &format!("count must be from 1 to {EXPORT_COUNT_MAX}")));
    }
    let after = match query.after {
        None => None,
        Some(text) => match Datetime::parse(&text) {
            Ok(time) => Some(time.unix_micros()),
            Err(_) => return Err(refuse(StatusCode::BAD_REQUEST, "after must be a date and time")),
        },
    };
    let mut lines = String::new();
    for entry in directory.export(after, count) {
        lines.push_str(&json!(entry).to_string());
        lines.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/jsonlines")], lines).into_response())
}
