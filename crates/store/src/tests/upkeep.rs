//! What goes with time, and what a full disk allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use platform::{DeviceError, Disk, DiskFacts, Space};

use super::{Bench, create, op};
use crate::{Change, StoreError};

#[tokio::test]
async fn old_events_go_but_not_the_newest_nor_what_a_restart_needs() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    for i in 0..600 {
        bench.write(&alice, vec![create(&format!("k{i}"), "x")]).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(4 * 24 * 3600));
    let done = bench.store.maintain().await.unwrap();
    assert!(done.events > 300 && done.events < 604, "{done:?}");
    let oldest = bench.store.read(|r| r.oldest_seq()).await.unwrap().unwrap();
    let last_seq = bench.store.last_seq();
    assert!(oldest > 300 && oldest <= last_seq);
    let mut from_start = bench.store.subscribe(0);
    assert_eq!(from_start.next().await.unwrap().unwrap().seq, oldest);

    let bench = bench.reopen().await;
    assert_eq!(bench.verified(&alice).await.len(), 600);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.events(0).await.len(), 1, "flushed by the close, all but the newest may go");
    let bench = bench.reopen().await;
    assert_eq!(bench.store.last_seq(), last_seq);
    bench.write(&alice, vec![create("next", "x")]).await.unwrap();
    assert_eq!(bench.store.last_seq(), last_seq + 1);
}

#[derive(Debug)]
struct SmallDisk(AtomicU64);

impl Disk for SmallDisk {
    fn is_present(&self) -> bool {
        true
    }

    fn facts(&self) -> Option<DiskFacts> {
        None
    }

    fn space(&self) -> Result<Space, DeviceError> {
        Ok(Space { total_bytes: 1 << 40, free_bytes: self.0.load(Ordering::Relaxed) })
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_data_and_allows_the_rest() {
    let disk = Arc::new(SmallDisk(AtomicU64::new(1 << 30)));
    let given = Arc::clone(&disk);
    let bench = Bench::with(|config| config.disk = Some(given));
    let alice = bench.account("alice").await;
    bench.write(&alice, vec![create("a", "x"), create("b", "x")]).await.unwrap();
    disk.0.store(1 << 20, Ordering::Relaxed);
    // The measurement is believed for a while; wait for the change to be seen.
    let began = std::time::Instant::now();
    let mut number = 0;
    let error = loop {
        number += 1;
        if let Err(error) = bench.write(&alice, vec![create(&format!("n{number}"), "x")]).await {
            break error;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the full disk was never noticed");
    };
    assert!(matches!(error, StoreError::DiskFull), "{error:?}");
    assert!(bench.store.is_full());
    let upload = bench.store.put_blob(&alice.did, "text/plain".to_owned(), "x".into()).await;
    assert!(matches!(upload, Err(StoreError::DiskFull)));
    bench.write(&alice, vec![op("a", Change::Delete)]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), number);
    disk.0.store(1 << 30, Ordering::Relaxed);
    let began = std::time::Instant::now();
    while bench.write(&alice, vec![create("again", "x")]).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the room was never noticed");
    }
}
