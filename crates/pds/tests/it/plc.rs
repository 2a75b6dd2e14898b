//! A PLC directory in the process: it checks operations as a real one does and keeps them in memory.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use atproto::{
    did_doc::DidDocument,
    plc::{LogEntry, Signed, check_log, check_next},
    syntax::Did,
};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinSet};

#[derive(Clone, Default)]
pub(crate) struct Directory {
    operations: Arc<Mutex<HashMap<String, Vec<Signed>>>>,
    down: Arc<AtomicBool>,
}

impl Directory {
    /// Serves on a loopback port; gives the address.
    pub(crate) async fn start(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/{did}", get(document).post(submit))
            .route("/{did}/log/audit", get(audit))
            .with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// Lets it answer 503 to everything, or not.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.operations.lock().unwrap().len()
    }

    /// Puts an identity of somewhere else into the directory.
    pub(crate) fn put(&self, did: &Did, operation: Signed) {
        self.operations.lock().unwrap().entry(did.to_string()).or_default().push(operation);
    }

    fn entries(log: &[Signed], did: &Did) -> Vec<LogEntry> {
        let entry = |operation: &Signed| {
            serde_json::json!({
                "did": did.as_str(),
                "operation": serde_json::from_slice::<serde_json::Value>(&operation.to_json()).unwrap(),
                "cid": operation.cid().to_string(),
                "nullified": false,
                "createdAt": "2026-11-23T02:34:56.789Z",
            })
        };
        log.iter().map(|operation| serde_json::from_value(entry(operation)).unwrap()).collect()
    }
}

async fn submit(State(directory): State<Directory>, Path(did): Path<String>, body: Bytes) -> Response {
    if directory.down.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let did = Did::parse(&did).unwrap();
    let operation = Signed::from_json(&body).unwrap();
    let mut all = directory.operations.lock().unwrap();
    let log = all.entry(did.to_string()).or_default();
    match check_next(&did, &Directory::entries(log, &did), &operation, 1_795_401_296_789_000) {
        Ok(_) => {
            log.push(operation);
            StatusCode::OK.into_response()
        }
        Err(e) => {
            let message = serde_json::json!({ "message": e.to_string() }).to_string();
            (StatusCode::BAD_REQUEST, message).into_response()
        }
    }
}

async fn document(State(directory): State<Directory>, Path(did): Path<String>) -> Response {
    if directory.down.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let all = directory.operations.lock().unwrap();
    let did = Did::parse(&did).unwrap();
    let Some(log) = all.get(did.as_str()) else { return StatusCode::NOT_FOUND.into_response() };
    let state = check_log(&did, log).unwrap().unwrap();
    DidDocument::from_plc(&did, &state).to_json().into_response()
}

async fn audit(State(directory): State<Directory>, Path(did): Path<String>) -> Response {
    let all = directory.operations.lock().unwrap();
    let log = all.get(&did).map(Vec::as_slice).unwrap_or_default();
    serde_json::to_vec(&Directory::entries(log, &Did::parse(&did).unwrap())).unwrap().into_response()
}
