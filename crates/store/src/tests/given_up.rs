//! An older copy goes on after the disk with the newer one was given up: numbers and revisions pass the lost ones.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use platform::volumes::SEQUENCE_JUMP_FILE;

use super::{Bench, NOW_US, create, kinds};
use crate::files::{FileRead, FileWrite, FolderLock, Spool};
use crate::{Files, GivenUp, OsFiles, Store, StoreError};

/// How far numbers go forward.
const FAR: u64 = 50_000_000;

impl Bench {
    fn note(&self, content: &str) {
        std::fs::write(self.data().join(SEQUENCE_JUMP_FILE), content).unwrap();
    }

    fn has_note(&self) -> bool {
        self.data().join(SEQUENCE_JUMP_FILE).exists()
    }
}

#[tokio::test]
async fn numbers_and_revisions_pass_all_that_a_lost_copy_can_have_sent() {
    let bench = Bench::new();
    let (alice, bob) = (bench.account("alice").await, bench.account("bob").await);
    bench.write(&alice, vec![create("a", "x")]).await.unwrap();
    bench.store.set_status(&bob.did, crate::Status::Deactivated).await.unwrap();
    let last_seq = bench.store.last_seq();
    let before = bench.head(&alice).await;
    bench.note("first");

    let bench = bench.reopen().await;
    assert_eq!(bench.store.given_up(), Some(GivenUp { from: last_seq, to: last_seq + FAR }));
    assert!(!bench.has_note());
    assert_eq!(bench.store.last_seq(), last_seq + FAR, "before anybody asked for anything");
    assert!(bench.store.owes_announcements());

    // The first thing that is to be sent comes after the announcements.
    bench.store.set_status(&bob.did, crate::Status::Active).await.unwrap();
    assert!(!bench.store.owes_announcements());
    let told = bench.events(last_seq).await;
    let announced = ["identity", "account", "sync", "identity", "account"];
    assert_eq!(kinds(&told), [&announced[..], &["account", "identity", "sync"]].concat());
    assert_eq!(told[0].seq, last_seq + FAR + 1);
    let head = bench.head(&alice).await;
    // A commit of the lost copy may have been 5 s ahead of a time that was 5 s ahead of ours, which is 5 s behind.
    assert_eq!(head.rev.micros(), NOW_US + 15_000_000);
    assert_eq!(head.data, before.data);
    assert_eq!(bench.verified(&alice).await.len(), 1);
    let error = bench.write(&alice, vec![create("b", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::RevAhead { retry_after_s: 10 }), "{error:?}");
    bench.clock.advance(Duration::from_secs(10));
    bench.write(&alice, vec![create("b", "x")]).await.unwrap();

    let last_seq = bench.store.last_seq();
    let bench = bench.reopen().await;
    assert_eq!((bench.store.given_up(), bench.store.last_seq()), (None, last_seq));
    bench.note("second");
    let bench = bench.reopen().await;
    assert_eq!(bench.store.last_seq(), last_seq + FAR, "another disk was given up");
}

#[tokio::test]
async fn nothing_is_announced_before_the_time_is_known_and_the_debt_survives_a_restart() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let last_seq = bench.store.last_seq();
    bench.note("once");
    bench.clock.distrust();
    let bench = bench.reopen().await;
    assert_eq!(bench.store.last_seq(), last_seq + FAR);
    bench.store.announce_owed().await.unwrap();
    assert!(bench.store.owes_announcements());
    assert!(bench.events(last_seq).await.is_empty());

    bench.clock.trust_at(NOW_US);
    let bench = bench.reopen().await;
    assert!(bench.store.owes_announcements());
    bench.store.announce_owed().await.unwrap();
    assert_eq!(kinds(&bench.events(last_seq).await), ["identity", "account", "sync"]);
    assert!(bench.head(&alice).await.rev.micros() > NOW_US);
}

#[tokio::test]
async fn a_cut_before_the_note_is_removed_leaves_no_second_jump() {
    let power = Arc::new(Power::default());
    let files = Arc::clone(&power);
    let bench = Bench::with(|config| config.files = files);
    bench.account("alice").await;
    let last_seq = bench.store.last_seq();
    bench.note("once");
    bench.store.clone().close().await.unwrap();
    power.off.store(true, Ordering::Relaxed);
    let error = Store::open(bench.config.clone()).unwrap_err();
    assert!(format!("{error:?}").contains("removing the note of a given-up disk"), "{error:?}");
    assert!(bench.has_note());
    power.off.store(false, Ordering::Relaxed);
    let store = Store::open(bench.config.clone()).unwrap();
    assert_eq!((store.given_up(), store.last_seq()), (None, last_seq + FAR));
    assert!(store.owes_announcements(), "what was owed before the cut is owed after it");
    assert!(!bench.has_note());
}

#[tokio::test]
async fn a_store_that_begins_with_a_note_passes_the_lost_numbers_too() {
    let bench = Bench::new();
    bench.note("once");
    let bench = bench.reopen().await;
    bench.account("alice").await;
    assert_eq!(bench.events(0).await[0].seq, FAR + 1);
}

/// The system's files, until the power goes: then the note stays where it is.
#[derive(Debug, Default)]
struct Power {
    off: AtomicBool,
}

impl Files for Power {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        OsFiles.make_dir(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWrite>> {
        OsFiles.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn FileRead>> {
        OsFiles.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.ends_with(SEQUENCE_JUMP_FILE) && self.off.load(Ordering::Relaxed) {
            return Err(io::Error::other("the power is gone"));
        }
        OsFiles.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFiles.sync_dir(dir)
    }
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        OsFiles.len(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFiles.list(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FolderLock>>> {
        OsFiles.lock(path)
    }
    fn spool(&self, dir: &Path) -> io::Result<Box<dyn Spool>> {
        OsFiles.spool(dir)
    }
}
