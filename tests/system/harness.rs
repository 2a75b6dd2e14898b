//! A running `perch`, and a person with an account on it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atproto::crypto::PublicKey;
use atproto::did_doc::DidDocument;
use atproto::repo::{VerifiedRepo, verify_repo};
use atproto::syntax::Did;
use serde_json::{Value, json};

use crate::http::{Answer, Messages, ask};

/// How long anything that must happen may take: far beyond what it takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` gives something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain: {what}");
        thread::sleep(POLL);
    }
}

/// The ports of an appliance; 0 is a free one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    pub(crate) pds: u16,
    pub(crate) panel: u16,
    pub(crate) plc: u16,
}

/// The appliance as a process.
#[derive(Debug)]
pub(crate) struct Perch {
    child: Child,
    input: Option<ChildStdin>,
    /// What it wrote to standard error, line by line.
    heard: Arc<Mutex<Vec<String>>>,
    pub(crate) ports: Ports,
}

fn command(data: &Path, ports: Ports, plc: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perch"));
    command
        .arg("--headless")
        .arg("--data")
        .arg(data)
        .args(["--pds-port", &ports.pds.to_string(), "--panel-port", &ports.panel.to_string()])
        .args(["--plc", plc, "--plc-port", &ports.plc.to_string()])
        .env("PERCH_RATE_LIMIT_MULTIPLIER", "1000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts an appliance that must refuse to run; gives its end and what it wrote to standard error.
pub(crate) fn refused(data: &Path, plc: &str) -> (ExitStatus, String) {
    let output = command(data, Ports::default(), plc).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is ready, so nothing says so");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Perch {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_on(data, Ports::default())
    }

    pub(crate) fn start_on(data: &Path, ports: Ports) -> Self {
        let mut child = command(data, ports, "builtin").spawn().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let errors = BufReader::new(child.stderr.take().unwrap());
        let hearing = Arc::clone(&heard);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                hearing.lock().unwrap().push(line);
            }
        });
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let words: Vec<&str> = ready.split_whitespace().collect();
        let [first, pds, panel, plc] = words[..] else {
            panic!("not ready: {ready:?}\n{}", heard.lock().unwrap().join("\n"));
        };
        assert_eq!(first, "READY");
        let port = |word: &str, name: &str| -> u16 {
            let url = word.strip_prefix(name).unwrap();
            url.rsplit(':').next().unwrap().parse().unwrap()
        };
        let ports = Ports { pds: port(pds, "pds="), panel: port(panel, "panel="), plc: port(plc, "plc=") };
        let input = child.stdin.take();
        Self { child, input, heard, ports }
    }

    /// Types a command and waits until it is acknowledged.
    pub(crate) fn tell(&mut self, line: &str) {
        let before = self.heard.lock().unwrap().len();
        self.type_line(line);
        let wanted = format!("ok: {line}");
        wait_for(&wanted, || {
            let heard = self.heard.lock().unwrap();
            heard[before..].contains(&wanted).then_some(())
        });
    }

    /// Types a line, whatever comes of it.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn close_input(mut self) -> Self {
        drop(self.input.take());
        self
    }

    /// Types a line that ends the process.
    pub(crate) fn tell_and_die(mut self, line: &str) -> ExitStatus {
        self.type_line(line);
        self.child.wait().unwrap()
    }

    /// Everything that was written to standard error so far.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap().join("\n")
    }

    /// Ends it as a supervisor does, and checks that it ends well.
    pub(crate) fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.heard());
    }

    /// Ends it without asking.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        ask(self.ports.pds, "GET", path, &[], b"").unwrap()
    }

    pub(crate) fn post(&self, method: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        ask(self.ports.pds, "POST", &format!("/xrpc/{method}"), &headers, body.to_string().as_bytes())
            .unwrap()
    }

    /// The status as the panel tells it.
    pub(crate) fn status(&self) -> Value {
        ask(self.ports.panel, "GET", "/status.json", &[], b"").unwrap().expect_ok()
    }

    /// What the panel's page says.
    pub(crate) fn page(&self) -> String {
        let answer = ask(self.ports.panel, "GET", "/", &[], b"").unwrap();
        String::from_utf8(answer.body).unwrap()
    }

    pub(crate) fn firehose(&self, cursor: Option<u64>) -> Messages {
        let cursor = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
        Messages::open(self.ports.pds, &format!("/xrpc/com.atproto.sync.subscribeRepos{cursor}")).unwrap()
    }

    /// Creates an account.
    pub(crate) fn join(&self, handle: &str) -> Person {
        let body =
            json!({ "handle": handle, "email": format!("{handle}@example.com"), "password": PASSWORD });
        let answer = self.post("com.atproto.server.createAccount", &body).expect_ok();
        Person::new(handle, self.ports.pds, &answer)
    }

    /// Fetches a repository whole and checks every hash and its signature; gives its keys too.
    pub(crate) fn verify(&self, person: &Person) -> (VerifiedRepo, Vec<(String, String)>) {
        self.verify_car(person, &self.get(&format!("/xrpc/com.atproto.sync.getRepo?did={}", person.did)))
    }

    /// Checks an answer of getRepo as `verify` does.
    pub(crate) fn verify_car(&self, person: &Person, car: &Answer) -> (VerifiedRepo, Vec<(String, String)>) {
        let did = Did::parse(&person.did).unwrap();
        assert_eq!(car.code, 200);
        let mut records = Vec::new();
        let repo = verify_repo(&car.body[..], &did, &self.key_of(&did), |key, cid| {
            records.push((key.to_owned(), cid.to_string()));
        });
        (repo.unwrap(), records)
    }

    /// The key that the PLC directory tells for a DID.
    fn key_of(&self, did: &Did) -> PublicKey {
        let document = ask(self.ports.plc, "GET", &format!("/{did}"), &[], b"").unwrap();
        assert_eq!(document.code, 200);
        DidDocument::parse(did, &document.body).unwrap().atproto_key().unwrap()
    }
}

impl Drop for Perch {
    fn drop(&mut self) {
        // A story that fails must not leave a process behind; one that ended has none any more.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// An account and its session.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) handle: String,
    pub(crate) did: String,
    token: String,
    port: u16,
}

impl Person {
    fn new(handle: &str, port: u16, session: &Value) -> Self {
        let text = |name: &str| session[name].as_str().unwrap().to_owned();
        Self { handle: handle.to_owned(), did: text("did"), token: text("accessJwt"), port }
    }

    /// Signs in again, perhaps after a restart.
    pub(crate) fn sign_in(&self, perch: &Perch) -> Self {
        let body = json!({ "identifier": self.handle, "password": PASSWORD });
        let answer = perch.post("com.atproto.server.createSession", &body).expect_ok();
        Self::new(&self.handle, perch.ports.pds, &answer)
    }

    fn ask(&self, method: &str, kind: &str, body: &[u8]) -> std::io::Result<Answer> {
        let token = format!("Bearer {}", self.token);
        let headers = [("content-type", kind), ("authorization", token.as_str())];
        ask(self.port, "POST", &format!("/xrpc/{method}"), &headers, body)
    }

    pub(crate) fn call(&self, method: &str, body: &Value) -> std::io::Result<Answer> {
        self.ask(method, "application/json", body.to_string().as_bytes())
    }

    /// Posts; the answer may be a refusal, or the server may die meanwhile.
    pub(crate) fn try_post(&self, text: &str) -> std::io::Result<Answer> {
        let record =
            json!({ "$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-11-23T02:34:56.789Z" });
        self.call(
            "com.atproto.repo.createRecord",
            &json!({ "repo": self.did, "collection": "app.bsky.feed.post", "record": record }),
        )
    }

    /// Posts, which must succeed.
    pub(crate) fn post(&self, text: &str) -> Posted {
        Posted::new(&self.try_post(text).unwrap().expect_ok())
    }

    /// Posts many in one commit; gives its rev.
    pub(crate) fn post_many(&self, count: usize) -> String {
        let record = json!({
            "$type": "app.bsky.feed.post",
            "text": "one of many, and as long as such a post often is in real life",
            "createdAt": "2026-11-23T02:34:56.789Z",
        });
        let write = json!({
            "$type": "com.atproto.repo.applyWrites#create",
            "collection": "app.bsky.feed.post",
            "value": record,
        });
        let body = json!({ "repo": self.did, "writes": vec![write; count] });
        let answer = self.call("com.atproto.repo.applyWrites", &body).unwrap().expect_ok();
        answer["commit"]["rev"].as_str().unwrap().to_owned()
    }

    pub(crate) fn upload(&self, kind: &str, bytes: &[u8]) -> Value {
        self.ask("com.atproto.repo.uploadBlob", kind, bytes).unwrap().expect_ok()["blob"].clone()
    }
}

/// A record that the server acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posted {
    /// `collection/rkey`.
    pub(crate) key: String,
    pub(crate) cid: String,
    pub(crate) rev: String,
}

impl Posted {
    pub(crate) fn new(answer: &Value) -> Self {
        let uri = answer["uri"].as_str().unwrap();
        let key = uri.strip_prefix("at://").and_then(|rest| rest.split_once('/')).unwrap().1;
        Self {
            key: key.to_owned(),
            cid: answer["cid"].as_str().unwrap().to_owned(),
            rev: answer["commit"]["rev"].as_str().unwrap().to_owned(),
        }
    }

    fn rkey(&self) -> &str {
        self.key.rsplit('/').next().unwrap()
    }

    /// Asks for the record as anybody may.
    pub(crate) fn fetch(&self, perch: &Perch, person: &Person) -> Answer {
        perch.get(&format!(
            "/xrpc/com.atproto.repo.getRecord?repo={}&collection=app.bsky.feed.post&rkey={}",
            person.did,
            self.rkey()
        ))
    }

    pub(crate) fn delete(&self, person: &Person) -> Answer {
        person
            .call(
                "com.atproto.repo.deleteRecord",
                &json!({ "repo": person.did, "collection": "app.bsky.feed.post", "rkey": self.rkey() }),
            )
            .unwrap()
    }
}
