//! The program `perch-pds` itself: its settings from a file and from variables, its refusals, its clock, its log, its
//! end.

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener as StdListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{harness::PATIENCE, plc::Directory};

/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// A port that was free a moment ago.
fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perch-pds"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PERCH_PDS_")) {
        command.env_remove(name);
    }
    command.env_remove("NOTIFY_SOCKET");
    // A system call that the sandbox does not know ends the program, and with it the test.
    command.args(["--sandbox", "strict"]);
    command
}

/// What a run that ends by itself printed.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn file(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("pds.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A server that runs.
struct Running {
    child: Child,
    port: u16,
    log: mpsc::Receiver<String>,
    logged: String,
}

impl Running {
    fn start(mut command: Command, port: u16) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = mpsc::channel();
        // Ends with the child's standard error.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Self { child, port, log, logged: String::new() };
        running.wait_log("serving");
        running
    }

    /// Waits until the log has a line with these words; gives the line.
    fn wait_log(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no \"{words}\" in the log:\n{}", self.logged));
            self.logged.push_str(&line);
            self.logged.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends SIGTERM and waits for the end.
    fn terminate(mut self) -> (ExitStatus, String) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "still running:\n{}", self.logged);
            std::thread::sleep(LOOK);
        };
        while let Ok(line) = self.log.recv() {
            self.logged.push_str(&line);
            self.logged.push('\n');
        }
        (status, std::mem::take(&mut self.logged))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, if the test went well.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn dev_file(dir: &TempDir, port: u16, plc_url: &str, more: &str) -> PathBuf {
    let data = dir.path().join("data");
    file(
        dir,
        &format!(
            "dev_mode = true\nport = {port}\ndata_dir = \"{}\"\nplc_url = \"{plc_url}\"\n{more}",
            data.display()
        ),
    )
}

/// A client for this test alone: whichever test of this program comes first chooses how TLS is done.
fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn post(url: &str, method: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = client().post(format!("{url}/xrpc/{method}")).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn get(url: &str) -> (u16, String) {
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[test]
fn a_check_of_wrong_settings_says_all_that_is_wrong() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "hostname = \"pds.example.com\"\nprot = 3000\nadmin_password = \"hunter22\"\n");
    for check in [true, false] {
        let mut command = command();
        command.arg("--config").arg(&path).env("PERCH_PDS_IMPORT_LIMIT", "much");
        if check {
            command.arg("--check-config");
        }
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.starts_with("perch-pds: 3 problems in the settings\n"), "{}", ended.err);
        let place = path.display();
        for words in [
            format!("{place}:2: prot is no setting; did you mean port?"),
            format!("{place}:3: admin_password has 8 characters"),
            "PERCH_PDS_IMPORT_LIMIT: import_limit \"much\" is no size".to_owned(),
        ] {
            assert!(ended.err.contains(&words), "{words}\n{}", ended.err);
        }
        assert!(!ended.err.contains("hunter22") && ended.out.is_empty());
    }
    let missing = run(command().arg("--config").arg(Path::new("nowhere.toml")));
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("cannot read nowhere.toml"), "{}", missing.err);
    let stray = run(command().arg("--check-config").env("PERCH_PDS_HOSTNAM", "x"));
    assert!(stray.err.contains("did you mean PERCH_PDS_HOSTNAME?"), "{}", stray.err);
}

#[test]
fn a_check_of_right_settings_shows_what_is_in_force_without_secrets() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        "hostname = \"pds.example.com\"\nadmin_password = \"hunter22hunter22\"\nsmtp_url = \"smtps://ada:hunter22@smtp.example.com\"\nemail_from = \"pds@example.com\"\n",
    );
    let ended = run(command().args(["--check-config", "--config"]).arg(&path).env("PERCH_PDS_PORT", "3000"));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for words in [
        "port = 3000",
        "# PERCH_PDS_PORT",
        "admin_password = \"(set, not shown)\"",
        "appview_did = \"did:web:api.bsky.app\"",
        "recovery_did_key is not set",
    ] {
        assert!(ended.out.contains(words), "{words}\n{}", ended.out);
    }
    assert!(!ended.out.contains("hunter22"), "{}", ended.out);
    // What is shown is a settings file again, but for the secrets.
    let again: String = ended
        .out
        .lines()
        .filter(|line| !line.contains("not shown"))
        .map(|line| format!("{line}\n"))
        .collect();
    let again = again.replace("email_from", "# email_from");
    let kept: String = again
        .lines()
        .filter(|line| {
            !(line.contains("= \"none\"") && !line.starts_with("appview") && !line.starts_with("metrics"))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let second = run(command().args(["--check-config", "--config"]).arg(file(&dir, &kept)));
    assert_eq!(second.code, Some(0), "{}\n{kept}", second.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_alone_from_a_file_keeps_its_data_and_tells_no_secret() {
    let (directory, mut tasks) = (Directory::default(), JoinSet::new());
    let plc_url = directory.start(&mut tasks).await;
    let (dir, port, metrics) = (TempDir::new().unwrap(), free_port(), free_port());
    let more = format!(
        "log_format = \"json\"\nlog_level = \"debug\"\nadmin_password = \"hunter22-admin\"\nmetrics_address = \"127.0.0.1:{metrics}\"\n"
    );
    let path = dev_file(&dir, port, &plc_url, &more);
    let start = || {
        let mut command = command();
        command.arg("--config").arg(&path);
        Running::start(command, port)
    };
    let running = start();
    let body = json!({ "handle": "ada.test", "email": "ada@example.org", "password": "hunter22-ada" });
    let (status, made) = post(&running.url(), "com.atproto.server.createAccount", None, &body).await;
    assert_eq!(status, 200, "{made}");
    let token = made["accessJwt"].as_str().unwrap().to_owned();
    let record =
        json!({ "$type": "app.bsky.feed.post", "text": "alone", "createdAt": "2026-11-23T02:34:56.789Z" });
    let write = json!({ "repo": made["did"], "collection": "app.bsky.feed.post", "record": record });
    let (status, written) = post(&running.url(), "com.atproto.repo.createRecord", Some(&token), &write).await;
    assert_eq!(status, 200, "{written}");
    let wrong = json!({ "identifier": "ada.test", "password": "hunter22-wrong" });
    assert_eq!(post(&running.url(), "com.atproto.server.createSession", None, &wrong).await.0, 401);
    let (status, figures) = get(&format!("http://127.0.0.1:{metrics}/metrics")).await;
    assert_eq!(status, 200);
    for words in [
        "perch_accounts 1",
        "perch_clock_trusted 1",
        "perch_requests_total{method=\"com.atproto.repo.createRecord\",status=\"200\"} 1",
    ] {
        assert!(figures.contains(words), "{words}\n{figures}");
    }
    assert_eq!(
        get(&format!("http://127.0.0.1:{metrics}/xrpc/_health")).await.0,
        404,
        "figures and nothing else"
    );
    let (status, log) = running.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("ended in order"), "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(log.contains("\"path\":\"/xrpc/com.atproto.repo.createRecord\""), "{log}");
    for secret in ["hunter22", token.as_str(), made["refreshJwt"].as_str().unwrap()] {
        assert!(!log.contains(secret), "the log tells {secret}:\n{log}");
    }
    let running = start();
    let uri = written["uri"].as_str().unwrap();
    let rkey = uri.rsplit('/').next().unwrap();
    let did = made["did"].as_str().unwrap();
    let (status, text) = get(&format!(
        "{}/xrpc/com.atproto.repo.getRecord?repo={did}&collection=app.bsky.feed.post&rkey={rkey}",
        running.url()
    ))
    .await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(running.terminate().0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_goes_on_after_all_numbers_of_a_given_up_disk_once_per_note() {
    /// As docs/design/003-relay-care.md says it.
    const FAR: u64 = 50_000_000;
    let (directory, mut tasks) = (Directory::default(), JoinSet::new());
    let plc_url = directory.start(&mut tasks).await;
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let path = dev_file(&dir, port, &plc_url, "");
    let (note, status) = (dir.path().join("data/sequence-jump"), dir.path().join("status.json"));
    let start = || {
        let mut command = command();
        command.arg("--config").arg(&path).arg("--status-file").arg(&status);
        Running::start(command, port)
    };
    let told = || {
        let text = std::fs::read(&status).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).unwrap_or_default()["status"].clone()
    };
    let until = |wanted: &dyn Fn(&Value) -> bool| {
        let until = Instant::now() + PATIENCE;
        while !wanted(&told()) {
            assert!(Instant::now() < until, "{}", told());
            std::thread::sleep(LOOK);
        }
        told()
    };
    let mut running = start();
    let body = json!({ "handle": "ada.test", "email": "ada@example.org", "password": "hunter22-ada" });
    let (code, made) = post(&running.url(), "com.atproto.server.createAccount", None, &body).await;
    assert_eq!(code, 200, "{made}");
    let latest = format!(
        "{}/xrpc/com.atproto.sync.getLatestCommit?did={}",
        running.url(),
        made["did"].as_str().unwrap()
    );
    let rev = |text: &str| serde_json::from_str::<Value>(text).unwrap()["rev"].as_str().unwrap().to_owned();
    let before = rev(&get(&latest).await.1);
    let last_seq = until(&|status| status["accounts"] == 1)["last_seq"].as_u64().unwrap();
    assert_eq!(running.terminate().0.code(), Some(0));

    std::fs::write(&note, "1f0c\n").unwrap();
    running = start();
    let words = "the disk with later data was given up";
    assert!(running.logged.contains(words), "{}", running.logged);
    assert!(!note.exists());
    // Identity, account and sync of the one account.
    let after = until(&|status| status["last_seq"] == last_seq + FAR + 3);
    assert_eq!(after["left_out"], json!({ "from": last_seq, "to": last_seq + FAR }));
    let later = rev(&get(&latest).await.1);
    assert!(later > before, "{later} follows {before}");
    // No order to end: the power goes before the note's removal was on the disk.
    drop(running);
    std::fs::write(&note, "1f0c\n").unwrap();
    running = start();
    assert!(!note.exists());
    let again = until(&|status| status["state"]["is"] == "serving" && status["left_out"].is_null());
    assert_eq!(again["last_seq"], last_seq + FAR + 3);
    assert_eq!(running.terminate().0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_from_variables_alone_and_tells_the_service_manager() {
    let (directory, mut tasks) = (Directory::default(), JoinSet::new());
    let plc_url = directory.start(&mut tasks).await;
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let socket = dir.path().join("notify");
    let told = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = command();
    command
        .env("PERCH_PDS_DEV_MODE", "true")
        .env("PERCH_PDS_PORT", port.to_string())
        .env("PERCH_PDS_PLC_URL", &plc_url)
        .env("PERCH_PDS_DATA_DIR", dir.path().join("data"))
        .env("NOTIFY_SOCKET", &socket);
    let running = Running::start(command, port);
    let mut word = [0; 64];
    let length = told.recv(&mut word).unwrap();
    assert_eq!(&word[..length], b"READY=1");
    let (status, described) = get(&format!("{}/xrpc/com.atproto.server.describeServer", running.url())).await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&described).unwrap()["availableUserDomains"], json!([".test"]));
    let (status, _) = get(&format!("{}/metrics", running.url())).await;
    assert_eq!(status, 200, "in dev mode loopback sees the figures");
    let (status, log) = running.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    let length = told.recv(&mut word).unwrap();
    assert_eq!(&word[..length], b"STOPPING=1");
}

/// A field of the kernel's file about a process (proc(5)).
fn of_process(child: &Child, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim_start_matches(':').trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_shuts_itself_in_and_says_so() {
    let (directory, mut tasks) = (Directory::default(), JoinSet::new());
    let plc_url = directory.start(&mut tasks).await;
    for (how, filters, gaps) in [("on", 3, 0), ("off", 0, 2)] {
        let (dir, run) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perch-pds"));
        command.args(["--sandbox", how, "--config"]).arg(dev_file(&dir, port, &plc_url, ""));
        command.arg("--status-file").arg(run.path().join("status.json"));
        let running = Running::start(command, port);
        let mode = if filters > 0 { "2" } else { "0" };
        assert_eq!(of_process(&running.child, "Seccomp"), mode);
        let installed: u32 = of_process(&running.child, "Seccomp_filters").parse().unwrap();
        // The machine that runs this test may have some of its own.
        assert!(installed >= filters, "{installed}");
        assert!(filters == 0 || of_process(&running.child, "NoNewPrivs") == "1");
        let said: Value =
            serde_json::from_slice(&std::fs::read(run.path().join("sandbox.json")).unwrap()).unwrap();
        assert_eq!(said["gaps"].as_array().map(Vec::len), Some(gaps), "{said}");
        let told = if gaps > 0 { "not shut in everywhere" } else { "shut in: files" };
        let (status, log) = running.terminate();
        assert!(status.success() && log.contains(told), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_dev_mode_a_clock_without_proof_signs_nothing() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let word = dir.path().join("verdict.json");
    let path = file(
        &dir,
        &format!(
            "hostname = \"pds.example.com\"\nport = {port}\ndata_dir = \"{}\"\ntime_verdict_file = \"{}\"\nmetrics_address = \"none\"\ninvite_required = false\ncrawlers = []\n",
            dir.path().join("data").display(),
            word.display()
        ),
    );
    let mut command = command();
    command.arg("--config").arg(&path);
    let mut running = Running::start(command, port);
    assert!(running.logged.contains("nothing is signed until the clock is trusted"), "{}", running.logged);
    let body = json!({ "handle": "ada.pds.example.com", "email": "ada@example.org", "password": "hunter22" });
    let (status, refused) = post(&running.url(), "com.atproto.server.createAccount", None, &body).await;
    assert_eq!((status, refused["error"].as_str()), (503, Some("ClockUntrusted")), "{refused}");
    assert_eq!(get(&format!("{}/xrpc/_health", running.url())).await.0, 200, "reading goes on");
    assert_eq!(get(&format!("{}/metrics", running.url())).await.0, 404, "no figures on the public port");
    running.wait_log("writes are refused");
    assert_eq!(running.terminate().0.code(), Some(0));
}

#[test]
fn a_taken_port_and_a_wrong_folder_are_said_plainly() {
    let dir = TempDir::new().unwrap();
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let path = dev_file(&dir, port, "http://localhost:1", "");
    let ended = run(command().arg("--config").arg(&path));
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains(&format!("listening on 127.0.0.1:{port} (listen_address, port)")),
        "{}",
        ended.err
    );
    drop(taken);
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data"), "a file").unwrap();
    let ended = run(command().arg("--config").arg(&path));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("(data_dir)"), "{}", ended.err);
}

#[test]
fn a_connection_that_says_nothing_does_not_keep_it_from_ending() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let path = dev_file(&dir, port, "http://localhost:1", "");
    let mut command = command();
    command.arg("--config").arg(&path);
    let running = Running::start(command, port);
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (status, _) = running.terminate();
    assert_eq!(status.code(), Some(0));
    let mut rest = Vec::new();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    // Closed, in whichever way.
    let _ended = silent.read_to_end(&mut rest).is_ok();
    assert!(rest.is_empty());
}
