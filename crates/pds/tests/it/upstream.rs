//! Servers that calls are passed on to: one that plays AppView, labeler and feed generator and remembers what it was
//! asked, and one that misbehaves byte by byte.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use atproto::{
    service_jwt::{Claims, Expected, Unverified},
    syntax::Nsid,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use pds::config::Service;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::harness::{Account, NOW_US, Pds};

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn token(&self) -> &str {
        self.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap()
    }

    /// Checks the token as a real server does: the account's key of the directory, audience, method, time.
    pub(crate) async fn check_token(&self, pds: &Pds, account: &Account, aud: &str, lxm: &str) -> Claims {
        let key = pds.key_of(&account.did).await;
        let method = Nsid::parse(lxm).unwrap();
        let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
        let expected = Expected { audience: &[aud], method: &method };
        let claims = Unverified::parse(self.token()).unwrap().verify(&key, &expected, now).unwrap().clone();
        assert_eq!((claims.iss.as_str(), claims.exp), (account.did.as_str(), NOW_US / 1_000_000 + 60));
        claims
    }
}

/// What is answered at a path.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status: 200, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[derive(Clone, Default)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    document: Arc<Mutex<Value>>,
}

/// A server that answers as it is told.
pub(crate) struct Upstream {
    pub(crate) url: String,
    pub(crate) did: String,
    shared: Shared,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (url, did) = (format!("http://localhost:{port}"), format!("did:web:localhost%3A{port}"));
        let shared = Shared::default();
        let service = |id: &str, kind: &str| json!({ "id": id, "type": kind, "serviceEndpoint": url });
        *shared.document.lock().unwrap() = json!({
            "id": did,
            "service": [
                service("#bsky_appview", "BskyAppView"),
                service("#atproto_labeler", "AtprotoLabeler"),
                service("#bsky_notif", "BskyNotificationService"),
                json!({ "id": "#deep", "type": "X", "serviceEndpoint": format!("{url}/deep") }),
                json!({ "id": "#ftp", "type": "X", "serviceEndpoint": "ftp://localhost" }),
            ],
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, did, shared, _tasks: tasks }
    }

    pub(crate) fn service(&self) -> Service {
        Service { url: self.url.clone(), did: self.did.clone() }
    }

    /// Says what a method answers from now on.
    pub(crate) fn set(&self, method: &str, reply: Reply) {
        self.shared.replies.lock().unwrap().insert(format!("/xrpc/{method}"), reply);
    }

    /// All calls so far; they are forgotten.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }

    /// The only call so far.
    pub(crate) fn take_one(&self) -> Seen {
        let seen = self.take_seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/.well-known/did.json" {
        return axum::Json(shared.document.lock().unwrap().clone()).into_response();
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let seen = Seen { method: parts.method, path: path.clone(), query, headers: parts.headers, body };
    shared.seen.lock().unwrap().push(seen);
    let reply = shared.replies.lock().unwrap().get(&path).cloned();
    let reply = reply.unwrap_or_else(|| Reply::json(&json!({ "echo": path })));
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
    }
    response
}

/// Starts a server that hands each connection, once its request's head was read, to `act`. Gives its address.
pub(crate) async fn raw<F, A>(tasks: &mut JoinSet<()>, act: A) -> String
where
    F: Future<Output = ()> + Send + 'static,
    A: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            connections.spawn(act(stream));
        }
    });
    url
}

/// Writes bytes and closes.
pub(crate) async fn say(mut stream: TcpStream, bytes: Vec<u8>) {
    drop(stream.write_all(&bytes).await);
    drop(stream.shutdown().await);
}
