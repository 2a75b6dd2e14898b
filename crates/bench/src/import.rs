//! What a large import and a large export cost: bytes, memory, and the patience of others.
//!
//! The file is made here, with our own values: it is what a repo of posts looks like from any server. What is measured is
//! measured from outside, by the public interface.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use atproto::{
    car,
    cid::Cid,
    crypto::SigningKey,
    data::record_to_cbor,
    mst::build_sorted,
    repo::sign,
    syntax::{Did, Nsid},
    tid::Tid,
};

use crate::{
    http::Http,
    process::Usage,
    xrpc::{self, Account},
};

/// How often a server's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// When the first post of the file was made, microseconds since 1970: 2025-01-01.
const FIRST_US: u64 = 1_735_689_600_000_000;

/// Time between two posts of the file, microseconds.
const APART_US: u64 = 300_000_000;

/// What something cost the server.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// How long it took.
    pub time: Duration,
    /// Bytes that the server sent to storage.
    pub written: u64,
    /// Largest resident memory meanwhile, KiB, and that before.
    pub rss_kib: u64,
    /// Resident memory before.
    pub rss_before_kib: u64,
}

/// Makes a repo of so many posts as a file, as another server would.
pub fn file(did: &str, records: u64) -> Result<Vec<u8>> {
    let did = Did::parse(did).context("a DID that is none")?;
    let collection = Nsid::parse(xrpc::POSTS).context("a collection that is none")?;
    let (mut entries, mut bodies) = (Vec::new(), Vec::new());
    for number in 0..records {
        let json = xrpc::post(number).to_string();
        let record = record_to_cbor(json.as_bytes(), &collection).context("a post that is no record")?;
        let rkey = Tid::from_micros(FIRST_US + APART_US * number, 3);
        entries.push((format!("{}/{rkey}", xrpc::POSTS), record.cid));
        bodies.push((record.cid, record.bytes));
    }
    let mut nodes = Vec::new();
    let root = build_sorted(entries, |cid, block| nodes.push((cid, block))).context("no tree")?;
    let key = SigningKey::generate().context("no key")?;
    let rev = Tid::from_micros(FIRST_US + APART_US * records, 3);
    let (commit, block) = sign(&did, root, rev, &key);
    let nodes = nodes.iter().map(|(cid, block)| (*cid, &block[..]));
    let bodies = bodies.iter().map(|(cid, bytes): &(Cid, Vec<u8>)| (*cid, &bytes[..]));
    Ok(car::to_vec(&[commit], std::iter::once((commit, &block[..])).chain(nodes).chain(bodies)))
}

/// Runs something while the server's memory is watched.
fn watched(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let before = Usage::of(pid)?;
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(before.rss_kib));
    let began = Instant::now();
    let time = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok(usage) = Usage::of(pid) {
                    peak.fetch_max(usage.rss_kib, Ordering::Relaxed);
                }
                std::thread::sleep(LOOK);
            }
        });
        let done = work();
        let time = began.elapsed();
        over.store(true, Ordering::Relaxed);
        done.map(|()| time)
    })?;
    Ok(Cost {
        time,
        written: Usage::of(pid)?.write_bytes - before.write_bytes,
        rss_kib: peak.into_inner(),
        rss_before_kib: before.rss_kib,
    })
}

/// Imports a file into an account.
pub fn import(address: &str, pid: u32, account: &Account, file: &[u8]) -> Result<Cost> {
    let mut http = Http::connect(address)?;
    let body = Some(("application/vnd.ipld.car", file));
    let request = http.request("POST", "/xrpc/com.atproto.repo.importRepo", Some(&account.token), body);
    watched(pid, || {
        let answer = http.send(&request)?;
        let words = String::from_utf8_lossy(answer.body);
        ensure!(answer.status == 200, "importRepo: {} {words}", answer.status);
        Ok(())
    })
}

/// Exports a repo; the cost and the bytes that came.
pub fn export(address: &str, pid: u32, account: &Account) -> Result<(Cost, u64)> {
    let mut http = Http::connect(address)?;
    let request =
        http.request("GET", &format!("/xrpc/com.atproto.sync.getRepo?did={}", account.did), None, None);
    let mut bytes = 0;
    let cost = watched(pid, || {
        let answer = http.send(&request)?;
        ensure!(answer.status == 200, "getRepo: {}", answer.status);
        bytes = u64::try_from(answer.body.len()).context("a very large export")?;
        Ok(())
    })?;
    Ok((cost, bytes))
}

/// Imports a file while another account posts, one post after the other; the time that each post took, sorted.
pub fn import_beside_posts(
    address: &str,
    pid: u32,
    account: &Account,
    file: &[u8],
    other: &Account,
    first: u64,
) -> Result<Vec<Duration>> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let posts = scope.spawn(|| -> Result<Vec<Duration>> {
            let mut http = Http::connect(address)?;
            let mut waits = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let number = first + u64::try_from(waits.len()).unwrap_or(0);
                let request = xrpc::post_request(&http, other, number);
                let began = Instant::now();
                let status = http.send(&request)?.status;
                ensure!(status == 200, "createRecord: {status}");
                waits.push(began.elapsed());
            }
            waits.sort_unstable();
            Ok(waits)
        });
        let imported = import(address, pid, account, file);
        over.store(true, Ordering::Relaxed);
        let waits = posts.join().map_err(|_| anyhow!("a client panicked"))??;
        imported?;
        Ok(waits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_sound_repo() {
        let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
        let file = file(did, 300).unwrap();
        let reader = car::Reader::new(&file[..]).unwrap();
        assert_eq!(reader.roots().len(), 1);
        assert!(reader.map(Result::unwrap).count() > 301);
    }
}
