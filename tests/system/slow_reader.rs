//! A reader on a thin line must not make the box fill its disk: SQLite's log starts anew only when nobody reads from it.

use std::path::Path;
use std::sync::mpsc;
use std::thread;

use crate::harness::Perch;
use crate::http::get_slowly;

/// Records in one commit: the protocol's limit.
const BATCH: usize = 200;

/// Records before the export begins: more bytes than the sockets between the two sides can hold.
const RECORDS_BEFORE: usize = 30_000;

/// Records written while it goes on.
const RECORDS_MEANWHILE: usize = 50_000;

/// What the log may take at any time, bytes.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn log_bytes(data: &Path) -> u64 {
    std::fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".sqlite-wal"))
        .map(|path| path.metadata().unwrap().len())
        .sum()
}

#[test]
fn export_at_one_kib_a_second_does_not_hold_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let mut revs: Vec<String> = (0..RECORDS_BEFORE / BATCH).map(|_| alice.post_many(BATCH)).collect();
    assert!(log_bytes(folder.path()) > 0, "there is a log to watch");
    let (thin, line) = mpsc::channel();
    let path = format!("/xrpc/com.atproto.sync.getRepo?did={}", alice.did);
    let port = perch.ports.pds;
    let mut most = 0;
    let car = thread::scope(|scope| {
        let reader = scope.spawn(move || get_slowly(port, &path, line).unwrap());
        for _ in 0..RECORDS_MEANWHILE / BATCH {
            revs.push(alice.post_many(BATCH));
            most = most.max(log_bytes(folder.path()));
        }
        assert!(!reader.is_finished(), "the export went on all the while");
        drop(thin);
        reader.join().unwrap()
    });
    assert!(most < LOG_BYTES_MAX, "the log grew to {most} bytes");
    let (repo, records) = perch.verify_car(&alice, &car);
    let commits = 1 + revs.iter().position(|rev| *rev == repo.commit.rev.to_string()).unwrap();
    assert!(commits >= RECORDS_BEFORE / BATCH, "the moment at which the export began, or soon after");
    assert_eq!(records.len(), commits * BATCH, "all of that moment, and nothing later");
    let (_, records) = perch.verify(&alice);
    assert_eq!(records.len(), RECORDS_BEFORE + RECORDS_MEANWHILE);
    perch.terminate();
}
