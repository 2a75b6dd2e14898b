//! The program `perch-panel` itself: it serves shut in, to its own names only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use appliance::front::Live;
use control::Status;
use platform::screen::Frame;
use platform::time::BootId;

/// How long anything is waited for on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Asks for a page by a name, on a fresh connection.
fn ask(port: u16, host: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /status.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nanoseconds since the machine started (proc(5): seconds, with hundredths).
fn boottime_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap()
}

#[test]
fn the_panel_shuts_itself_in_answers_its_names_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live.json");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot_id = BootId::parse(boot_id.trim()).unwrap();
    let write = |hostname: &str| {
        let mut status = Status::default();
        hostname.clone_into(&mut status.system.hostname);
        let live_now = Live { status, frame: Frame::new() };
        appliance::live::write(&live, &live_now, boot_id, boottime_ns()).unwrap();
    };
    write("first");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_perch-panel"))
        .args(["--sandbox", "strict", "--listen", &free.to_string(), "--live"])
        .arg(&live)
        .arg("--run-dir")
        .arg(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (tell, log) = mpsc::channel();
    // Ends with the child's standard error.
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let panel = Running(child);
    let first = log.recv_timeout(PATIENCE).unwrap();
    assert!(first.contains("shut in: files"), "{first}");

    let own =
        wait_for("an answer", || ask(free.port(), "localhost").filter(|answer| answer.contains("first")));
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
    let foreign = ask(free.port(), "rebound.example").unwrap();
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    // The supervisor replaces its file; the panel still may read it.
    write("second");
    wait_for("the new file", || ask(free.port(), "localhost").filter(|answer| answer.contains("second")));

    let status = std::fs::read_to_string(format!("/proc/{}/status", panel.0.id())).unwrap();
    assert!(status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])), "{status}");
    let said = control::sandbox::read(folder.path(), boot_id);
    assert_eq!(said, Some(Vec::new()));
}
