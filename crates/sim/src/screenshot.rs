//! `perch screenshot`: a page of the screen as a PNG file.
//!
//! Asks the running appliance for its status over plain HTTP; when none runs, draws an example that says so.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use appliance::screen::{Page, draw};
use control::status::{
    DiskCare, PdsState, PdsStatus, RtcState, SourceState, SourceStatus, Status, StorageState, StorageStatus,
    SystemStatus, TimeState, TimeStatus,
};
use platform::DiskKind;

/// How long the running appliance may take to answer: it does so within milliseconds, or something is wrong.
const WAIT: Duration = Duration::from_secs(3);

/// The largest answer that is read; a status is about 2 KiB.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Draws `page` of the appliance at `panel` (`HOST:PORT`) into `file`. Tells whether it was a running one.
pub fn save(page: Page, file: &Path, scale: u8, panel: &str) -> Result<bool> {
    let (status, live) = match connect(panel) {
        Some(stream) => {
            (ask(stream, panel).with_context(|| format!("asking the appliance at {panel}"))?, true)
        }
        None => (example(page), false),
    };
    let picture = panel::picture::png(&draw(page, &status), scale)?;
    std::fs::write(file, picture).with_context(|| format!("writing {}", file.display()))?;
    Ok(live)
}

fn connect(panel: &str) -> Option<TcpStream> {
    let addresses = panel.to_socket_addrs().ok()?;
    addresses.into_iter().find_map(|address| TcpStream::connect_timeout(&address, WAIT).ok())
}

/// Fetches `/status.json` with a request that any HTTP/1.0 server answers and then closes.
fn ask(mut stream: TcpStream, panel: &str) -> Result<Status> {
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    write!(stream, "GET /status.json HTTP/1.0\r\nHost: {panel}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the answer is no HTTP") };
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        bail!("it answered {first:?}");
    }
    serde_json::from_str(body).context("its status cannot be read; is it another version?")
}

/// A box as it might be, marked as a simulation.
fn example(page: Page) -> Status {
    /// 2026-01-01T12:00:00Z.
    const NOON_US: u64 = 1_767_268_800_000_000;
    let sources = (1..=4).map(|number| SourceStatus {
        name: format!("time server {number}"),
        operator: format!("operator {number}"),
        answers: SourceState::Agrees,
        offset_us: Some(1_000),
        error_us: Some(10_000),
    });
    let mut status = Status {
        pds: Some(PdsStatus {
            state: PdsState::Serving,
            name: "alice.test".to_owned(),
            accounts: 1,
            last_post_unix_us: Some(NOON_US - 180_000_000),
            ..PdsStatus::default()
        }),
        time: Some(TimeStatus {
            state: TimeState::Synced,
            trusted: true,
            unix_us: Some(NOON_US),
            error_bound_us: Some(12_000),
            sources: sources.collect(),
            rtc: RtcState::Running { offset_us: Some(0) },
            ..TimeStatus::default()
        }),
        placement: None,
        storage: Some(StorageStatus {
            disk: "Simulated SSD".to_owned(),
            kind: DiskKind::UsbSsd,
            present: true,
            state: StorageState::Ok,
            free_bytes: 200_000_000_000,
            total_bytes: 250_000_000_000,
            wear_percent: Some(3),
            care: DiskCare::default(),
        }),
        system: SystemStatus {
            hostname: "localhost".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            simulation: true,
            pds_url: "http://localhost:2583".to_owned(),
            panel_url: "http://localhost:8080".to_owned(),
            network_up: true,
            ..SystemStatus::default()
        },
    };
    if let (Page::Trouble(_), Some(storage)) = (page, &mut status.storage) {
        storage.state = StorageState::Pulled;
        storage.present = false;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_drawn_when_nothing_runs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("home.png");
        // Port 9 (discard) on loopback: nothing listens there.
        assert!(!save(Page::Home, &file, 2, "127.0.0.1:9").unwrap());
        assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    }
}
