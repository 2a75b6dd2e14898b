//! What goes with time, and what a full disk allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use platform::{DeviceError, Disk, DiskFacts, Space};

use super::{Bench, create, kinds, op};
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

#[tokio::test]
async fn the_event_log_is_bounded_by_bytes_whatever_its_age() {
    let max = 200_000;
    let bench = Bench::with(|config| config.limits.event_bytes_max = max);
    let alice = bench.account("alice").await;
    let text = "x".repeat(3_000);
    for i in 0..400 {
        bench.write(&alice, vec![create(&format!("k{i}"), &text)]).await.unwrap();
    }
    let last_seq = bench.store.last_seq();
    // What a restart needs stays until it is flushed, which closing does.
    bench.store.maintain().await.unwrap();
    let bench = bench.reopen().await;
    bench.store.maintain().await.unwrap();
    let bytes = bench.store.read(|r| r.event_bytes()).await.unwrap();
    assert!(bytes <= max && bytes > max / 2, "{bytes}");
    assert_eq!(bench.store.last_seq(), last_seq);
    for i in 0..100 {
        bench.write(&alice, vec![create(&format!("m{i}"), &text)]).await.unwrap();
    }
    let bench = bench.reopen().await;
    let done = bench.store.maintain().await.unwrap();
    assert!(done.events >= 99, "{done:?}");
    assert!(bench.store.read(|r| r.event_bytes()).await.unwrap() <= max);
    assert_eq!(bench.verified(&alice).await.len(), 500);
}

#[tokio::test]
async fn numbers_go_on_after_a_jump_and_every_account_is_announced() {
    let bench = Bench::new();
    let (alice, bob) = (bench.account("alice").await, bench.account("bob").await);
    bench.write(&alice, vec![create("a", "x")]).await.unwrap();
    bench.store.set_status(&bob.did, crate::Status::Deactivated).await.unwrap();
    let last_seq = bench.store.last_seq();
    let mut live = bench.store.subscribe(last_seq);
    assert_eq!(bench.store.jump_seq(last_seq).await.unwrap(), None);
    bench.clock.advance(Duration::from_secs(1));
    let before = bench.head(&alice).await;
    let jump = bench.store.jump_seq(1_000_000).await.unwrap().unwrap();
    assert_eq!((jump.from, jump.accounts), (last_seq, 2));
    assert!(jump.to > 1_000_000);
    assert_eq!(live.next().await.unwrap().unwrap().seq, jump.to + 1);
    let told = bench.events(last_seq).await;
    assert_eq!(kinds(&told), ["identity", "account", "sync", "identity", "account"]);
    assert!(bench.head(&alice).await.rev > before.rev);
    assert_eq!(bench.head(&alice).await.data, before.data);
    assert_eq!(bench.verified(&alice).await.len(), 1);
    assert_eq!(bench.store.jump_seq(1_000_000).await.unwrap(), None);

    let bench = bench.reopen().await;
    let last_seq = bench.store.last_seq();
    bench.write(&alice, vec![create("b", "x")]).await.unwrap();
    assert_eq!(bench.store.last_seq(), last_seq + 1);
    for far in [last_seq + crate::JUMP_MAX + 2, crate::SEQ_MAX, u64::MAX] {
        let error = bench.store.jump_seq(far).await.unwrap_err();
        assert!(matches!(error, StoreError::JumpTooFar { .. }), "{error:?}");
    }
    assert_eq!(bench.store.last_seq(), last_seq + 1);
}

#[tokio::test]
async fn a_jump_without_accounts_survives_a_restart() {
    let bench = Bench::new();
    let to = bench.store.jump_seq(77).await.unwrap().unwrap().to;
    assert_eq!(bench.store.last_seq(), to);
    let bench = bench.reopen().await;
    assert_eq!(bench.store.last_seq(), to);
    bench.account("alice").await;
    assert_eq!(bench.events(0).await[0].seq, to + 1);
}

#[tokio::test]
async fn a_repo_that_lies_ahead_is_listed_and_healed() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    bench.clock.trust_at(super::NOW_US + 3_600_000_000);
    bench.write(&alice, vec![create("a", "x")]).await.unwrap();
    let late = bench.config.clock.now().unwrap();
    bench.clock.trust_at(super::NOW_US + 1_000_000);
    let now = bench.config.clock.now().unwrap();
    let ahead =
        bench.store.read(move |r| Ok((r.repos_ahead(late, 9)?, r.repos_ahead(now, 9)?))).await.unwrap();
    assert_eq!((ahead.0.len(), ahead.1.len()), (0, 1));
    assert_eq!((&ahead.1[0].did, ahead.1[0].rev), (&alice.did, bench.head(&alice).await.rev));
    let error = bench.write(&alice, vec![create("b", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::RepoNeedsRepair { ahead_s: 3599 }), "{error:?}");
    let seq = bench.store.last_seq();
    let healed = bench.store.repair_repo(&alice.did).await.unwrap();
    assert!(healed.rev < ahead.1[0].rev);
    assert_eq!(kinds(&bench.events(seq).await), ["sync"]);
    bench.write(&alice, vec![create("b", "x")]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), 2);
    assert_eq!(bench.store.read(move |r| r.repos_ahead(now, 9)).await.unwrap(), []);
}

#[tokio::test]
async fn blocks_of_a_repo_are_counted_exactly() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    for i in 0..300 {
        // Every second record has the text of the one before.
        bench.write(&alice, vec![create(&format!("k{i}"), &format!("{}", i / 2))]).await.unwrap();
    }
    bench.write(&alice, vec![op("k7", Change::Delete)]).await.unwrap();
    for bench in [bench, Bench::new()] {
        let alice = if bench.store.last_seq() == 0 {
            bench.account("alice").await
        } else {
            super::Person { did: alice.did.clone(), public: alice.public }
        };
        let car = super::collect(&bench.store, &alice, None).await;
        let blocks: std::collections::HashSet<_> =
            atproto::car::Reader::new(&car[..]).unwrap().map(|block| block.unwrap().0).collect();
        let did = alice.did.clone();
        let counts = bench.store.read(move |r| r.counts(&r.account_by_did(&did)?.unwrap())).await.unwrap();
        assert_eq!(counts.blocks, u64::try_from(blocks.len()).unwrap());
    }
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
    // An upload notices by itself, without any other work of the store.
    let began = std::time::Instant::now();
    while bench.store.put_blob(&alice.did, "text/plain".to_owned(), "x".into()).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the room was never noticed");
    }
    bench.write(&alice, vec![create("again", "x")]).await.unwrap();
}

#[tokio::test]
async fn an_upload_and_an_import_under_way_end_when_the_disk_fills() {
    let disk = Arc::new(SmallDisk(AtomicU64::new(1 << 30)));
    let given = Arc::clone(&disk);
    let bench = Bench::with(|config| config.disk = Some(given));
    let alice = bench.account("alice").await;
    let piece = vec![7; 300_000];
    let mut upload = bench.store.begin_blob(&alice.did).await.unwrap();
    upload.write(&piece).await.unwrap();
    let mut import = bench.store.begin_import(&alice.did).await.unwrap();
    let car = super::collect(&bench.store, &alice, None).await;
    import.write(&car).await.unwrap();
    disk.0.store(1 << 20, Ordering::Relaxed);
    let began = std::time::Instant::now();
    loop {
        // A byte at a time: the room is measured every so often, and the upload must not reach its own bound before.
        match upload.write(b"7").await {
            Ok(()) => assert!(began.elapsed() < Duration::from_secs(10), "the full disk was never noticed"),
            Err(StoreError::DiskFull) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(matches!(import.finish().await, Err(StoreError::DiskFull)));
    drop(upload);
    assert_eq!(std::fs::read_dir(bench.data().join("uploads")).unwrap().count(), 0, "nothing is left of it");
}
