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

/// What the directory does with the operations that come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Checks and takes them.
    #[default]
    Fair,
    /// Refuses them all.
    Refuses,
    /// Takes them and answers that it is not available, as when the answer is lost.
    TakesAndFails,
}

/// Is told whose operation was taken, and which.
type Watcher = Box<dyn Fn(&Did, &Signed) + Send>;

#[derive(Clone, Default)]
pub(crate) struct Directory {
    operations: Arc<Mutex<HashMap<String, Vec<Signed>>>>,
    down: Arc<AtomicBool>,
    mood: Arc<Mutex<Mood>>,
    /// Before the answer leaves.
    taken: Arc<Mutex<Option<Watcher>>>,
}

impl Directory {
    /// Serves on a loopback port; gives the address.
    pub(crate) async fn start(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/{did}", get(document).post(submit))
            .route("/{did}/log/audit", get(audit))
            .route("/{did}/log/last", get(last))
            .with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// Lets it answer 503 to everything, or not.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Lets `told` know of every operation that is taken.
    pub(crate) fn watch(&self, told: impl Fn(&Did, &Signed) + Send + 'static) {
        *self.taken.lock().unwrap() = Some(Box::new(told));
    }

    /// All operations of an identity, oldest first.
    pub(crate) fn log(&self, did: &str) -> Vec<Signed> {
        self.operations.lock().unwrap().get(did).cloned().unwrap_or_default()
    }

    /// All identities with their operations.
    pub(crate) fn contents(&self) -> HashMap<String, Vec<Signed>> {
        self.operations.lock().unwrap().clone()
    }

    /// Makes it hold just these.
    pub(crate) fn set_contents(&self, contents: HashMap<String, Vec<Signed>>) {
        *self.operations.lock().unwrap() = contents;
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
    let mood = *directory.mood.lock().unwrap();
    if mood == Mood::Refuses {
        return (StatusCode::BAD_REQUEST, r#"{"message":"not today"}"#).into_response();
    }
    let answer = take(&directory, &did, &body);
    match mood {
        Mood::TakesAndFails => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Fair | Mood::Refuses => answer,
    }
}

fn take(directory: &Directory, did: &str, body: &[u8]) -> Response {
    let did = Did::parse(did).unwrap();
    let operation = Signed::from_json(body).unwrap();
    let mut all = directory.operations.lock().unwrap();
    let log = all.entry(did.to_string()).or_default();
    match check_next(&did, &Directory::entries(log, &did), &operation, 1_795_401_296_789_000) {
        Ok(_) => {
            if let Some(told) = directory.taken.lock().unwrap().as_ref() {
                told(&did, &operation);
            }
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

async fn last(State(directory): State<Directory>, Path(did): Path<String>) -> Response {
    if directory.down.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match directory.log(&did).last() {
        Some(operation) => operation.to_json().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn audit(State(directory): State<Directory>, Path(did): Path<String>) -> Response {
    let all = directory.operations.lock().unwrap();
    let log = all.get(&did).map(Vec::as_slice).unwrap_or_default();
    serde_json::to_vec(&Directory::entries(log, &Did::parse(&did).unwrap())).unwrap().into_response()
}
