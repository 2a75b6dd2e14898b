//! Starts servers and speaks XRPC to them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use atproto::{didkey, syntax::Did};
use control::{PdsStatus, status::PdsState};
use pds::{Config, Platform, Storage};
use platform::{
    Disk,
    codes::{CodeOffer, CodeScreen},
    sim::{SimClock, trusted_clock},
    time::Clock,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{answers, plc::Directory};

/// When the tests' clock begins: 2026-11-23T02:34:56.789Z.
pub(crate) const NOW_US: u64 = 1_795_401_296_789_000;

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Pds {
    pub(crate) url: String,
    pub(crate) sim: Arc<SimClock>,
    pub(crate) directory: Directory,
    pub(crate) http: Client,
    pub(crate) status: watch::Receiver<PdsStatus>,
    /// Whether the network is up.
    pub(crate) network: watch::Sender<bool>,
    /// Rings when the owner wants repos healed.
    pub(crate) heal: Arc<Notify>,
    /// The disk whose room is watched.
    pub(crate) disk: Option<Arc<dyn Disk>>,
    /// Shows the codes of accounts when no mail server is set.
    pub(crate) screen: Arc<Screen>,
    storage: Option<Storage>,
    clock: Clock,
    /// The screen for one-time codes, if the box has one.
    codes: Option<Arc<dyn platform::CodeScreen>>,
    pub(crate) plc_url: String,
    dir: TempDir,
    shutdown: CancellationToken,
    /// Runs the directory as long as this lives.
    _tasks: JoinSet<()>,
    server: JoinSet<Result<(), pds::RunError>>,
}

/// The screen of a box whose owner presses the button at once.
#[derive(Debug, Default)]
pub(crate) struct Screen(Mutex<Vec<CodeOffer>>);

impl Screen {
    /// The code that was shown last.
    pub(crate) fn code(&self) -> String {
        self.0.lock().unwrap().last().expect("a code was shown").code.expose().to_owned()
    }
}

impl CodeScreen for Screen {
    fn offer(&self, offer: CodeOffer) -> Result<(), platform::DeviceError> {
        self.0.lock().unwrap().push(offer);
        Ok(())
    }
}

/// An account with its tokens.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) handle: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Status and error name.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    pub(crate) fn bytes(self) -> Vec<u8> {
        assert!(self.status.is_success(), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        self.body
    }
}

/// The `(status, name)` of an error, for comparisons.
pub(crate) fn error(status: u16, name: &str) -> (u16, String) {
    (status, name.to_owned())
}

impl Pds {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let screen = Arc::<Screen>::default();
        let mut pds = Self::start_on(Some(Arc::clone(&screen) as _), change).await;
        pds.screen = screen;
        pds
    }

    /// Starts on a box with another screen for one-time codes, or none.
    pub(crate) async fn start_on(
        codes: Option<Arc<dyn platform::CodeScreen>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::begin(codes, None, change).await
    }

    /// Starts on other files than those of the system; `change` names the data folder there.
    pub(crate) async fn start_stored(storage: Storage, change: impl FnOnce(&mut Config)) -> Self {
        let screen = Arc::<Screen>::default();
        let mut pds = Self::begin(Some(Arc::clone(&screen) as _), Some(storage), change).await;
        pds.screen = screen;
        pds
    }

    async fn begin(
        codes: Option<Arc<dyn platform::CodeScreen>>,
        storage: Option<Storage>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        // The second test to come finds it installed.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (clock, sim) = trusted_clock(NOW_US);
        let directory = Directory::default();
        let mut tasks = JoinSet::new();
        let plc_url = directory.start(&mut tasks).await;
        let mut pds = Self {
            url: String::new(),
            sim,
            directory,
            http: Client::builder().no_proxy().build().unwrap(),
            status: watch::channel(PdsStatus::default()).1,
            network: watch::Sender::new(true),
            heal: Arc::new(Notify::new()),
            disk: None,
            screen: Arc::default(),
            storage,
            clock,
            codes,
            plc_url,
            dir: TempDir::new().unwrap(),
            shutdown: CancellationToken::new(),
            _tasks: tasks,
            server: JoinSet::new(),
        };
        pds.serve(change).await;
        pds
    }

    /// Starts the server on the same data, with other settings.
    pub(crate) async fn serve(&mut self, change: impl FnOnce(&mut Config)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        self.url = format!("http://127.0.0.1:{port}");
        let mut config = Config::local(self.dir.path().to_owned(), port, self.plc_url.clone());
        // The address in DID documents must not change from start to start.
        config.public_url = "http://localhost:2583".to_owned();
        change(&mut config);
        let (status, receiver) = watch::channel(PdsStatus::default());
        self.status = receiver;
        self.shutdown = CancellationToken::new();
        let platform = Platform {
            disk: self.disk.clone(),
            network: Some(self.network.subscribe()),
            heal: Some(Arc::clone(&self.heal)),
            codes: self.codes.clone(),
            storage: self.storage.clone(),
            ..Platform::new(self.clock.clone(), None)
        };
        self.server.spawn(pds::run(config, platform, listener, status, self.shutdown.clone()));
        self.wait_status(|s| s.state == PdsState::Serving).await;
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Waits until the status says so.
    pub(crate) async fn wait_status(&mut self, done: impl FnMut(&PdsStatus) -> bool) -> PdsStatus {
        timeout(PATIENCE, self.status.wait_for(done))
            .await
            .expect("in time")
            .expect("the server runs")
            .clone()
    }

    /// Stops the server cleanly.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.server.join_next()).await.expect("in time").unwrap().unwrap().unwrap();
    }

    /// Stops the server and starts it on the same data.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// Stops the server and starts it on the same data with other settings.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop().await;
        self.serve(change).await;
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, is_so: impl AsyncFn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self).await {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("in time");
    }

    /// Lets the test change the store itself, while the server is stopped.
    pub(crate) async fn with_store(&mut self, change: impl AsyncFnOnce(&store::Store)) {
        self.stop().await;
        let config = store::Config::new(self.data_dir(), self.plc_url.clone(), self.clock.clone());
        let store = tokio::task::spawn_blocking(move || store::Store::open(config)).await.unwrap().unwrap();
        change(&store).await;
        store.close().await.unwrap();
        self.serve(|_| {}).await;
    }

    /// Reads an answer whole, and checks it against its method's lexicon.
    pub(crate) async fn read(response: Response) -> Answer {
        let (status, headers, path) =
            (response.status(), response.headers().clone(), response.url().path().to_owned());
        let body = response.bytes().await.unwrap().to_vec();
        answers::check(&path, status, &headers, &body);
        Answer { status, headers, body }
    }

    /// Reads an answer that another server gave, right or wrong: no lexicon is this server's promise about it.
    pub(crate) async fn read_foreign(response: Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn get(&self, method: &str, params: &[(&str, &str)]) -> Answer {
        self.get_as(None, method, params).await
    }

    pub(crate) async fn get_as(&self, token: Option<&str>, method: &str, params: &[(&str, &str)]) -> Answer {
        let mut request = self
            .http
            .get(reqwest::Url::parse_with_params(&format!("{}/xrpc/{method}", self.url), params).unwrap());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Self::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, token: Option<&str>, method: &str, body: &Value) -> Answer {
        let mut request = self.http.post(format!("{}/xrpc/{method}", self.url)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Self::read(request.send().await.unwrap()).await
    }

    /// Calls a procedure without input.
    pub(crate) async fn call(&self, token: &str, method: &str) -> Answer {
        let request = self.http.post(format!("{}/xrpc/{method}", self.url)).bearer_auth(token);
        Self::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn try_account(&self, handle: &str) -> Answer {
        let body =
            json!({ "handle": handle, "email": format!("{handle}@example.org"), "password": "hunter22" });
        self.post(None, "com.atproto.server.createAccount", &body).await
    }

    pub(crate) async fn account(&self, name: &str) -> Account {
        let out = self.try_account(&format!("{name}.test")).await.ok();
        let text = |key: &str| out[key].as_str().unwrap().to_owned();
        Account {
            did: text("did"),
            handle: text("handle"),
            access: text("accessJwt"),
            refresh: text("refreshJwt"),
        }
    }

    pub(crate) async fn create(&self, account: &Account, record: &Value) -> Answer {
        let body = json!({ "repo": account.did, "collection": record["$type"], "record": record });
        self.post(Some(&account.access), "com.atproto.repo.createRecord", &body).await
    }

    /// Writes a small post; gives the answer's body.
    pub(crate) async fn create_post(&self, account: &Account, text: &str) -> Value {
        self.create(account, &post(text)).await.ok()
    }

    /// The key in an account's DID document.
    pub(crate) async fn key_of(&self, did: &str) -> atproto::crypto::PublicKey {
        let document = self
            .http
            .get(format!("{}/{did}", self.plc_url))
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap();
        let methods = document["verificationMethod"].as_array().unwrap();
        let method = methods.iter().find(|m| m["id"].as_str().unwrap().ends_with("#atproto")).unwrap();
        didkey::parse_multikey(method["publicKeyMultibase"].as_str().unwrap()).unwrap()
    }
}

/// A small post.
pub(crate) fn post(text: &str) -> Value {
    json!({ "$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-11-23T02:34:56.789Z" })
}

/// The last part of a record's address.
pub(crate) fn rkey_of(written: &Value) -> String {
    written["uri"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

pub(crate) fn did(text: &str) -> Did {
    Did::parse(text).unwrap()
}
