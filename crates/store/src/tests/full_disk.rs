//! A real file system that is full to the last byte. Needs the right to mount one; where that is missing the test says so.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::{DeviceError, Disk, DiskFacts, Space};

use super::{Bench, create, op};
use crate::{Change, StoreError};

/// Size of the file system, and the room below which writes are refused there.
const DISK_MIB: u64 = 48;
const MIN_FREE_BYTES: u64 = 6 << 20;

/// A small file system in memory.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Option<Self> {
        std::fs::create_dir_all(dir).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir.to_owned())),
            other => {
                println!("NOT RUN: no small file system can be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a thread of the store may hold a file for a moment still.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[derive(Debug)]
struct Room(PathBuf);

impl Disk for Room {
    fn is_present(&self) -> bool {
        true
    }

    fn facts(&self) -> Option<DiskFacts> {
        None
    }

    fn space(&self) -> Result<Space, DeviceError> {
        let output = Command::new("df").args(["-B1", "--output=size,avail"]).arg(&self.0).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut figures = text.lines().last().unwrap().split_whitespace().map(|word| word.parse().unwrap());
        Ok(Space { total_bytes: figures.next().unwrap(), free_bytes: figures.next().unwrap() })
    }
}

/// Writes a file until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let block = vec![1; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_refuses_writes_and_recovers() {
    let mut mounted = None;
    let bench = Bench::with(|config| {
        mounted = SmallDisk::mount(&config.dir);
        if mounted.is_some() {
            config.disk = Some(Arc::new(Room(config.dir.clone())));
            config.limits.min_free_bytes = MIN_FREE_BYTES;
        }
    });
    let Some(_mounted) = mounted else { return };
    let alice = bench.account("alice").await;
    for i in 0..100 {
        bench.write(&alice, vec![create(&format!("k{i}"), &"x".repeat(5_000))]).await.unwrap();
    }
    bench.store.maintain().await.unwrap();
    assert!(bench.data().join("reserve").exists());
    let mut upload = bench.store.begin_blob(&alice.did).await.unwrap();
    upload.write(&vec![7; 300_000]).await.unwrap();
    let mut import = bench.store.begin_import(&alice.did).await.unwrap();
    import.write(&super::collect(&bench.store, &alice, None).await).await.unwrap();

    let filler = bench.data().join("filler");
    fill(&filler);
    let began = Instant::now();
    while bench.write(&alice, vec![create("refused", "x")]).await.is_ok() {
        bench.write(&alice, vec![op("refused", Change::Delete)]).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "the full disk was never noticed");
    }
    let refused = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::DiskFull)), "{result:?}");
    };
    refused(upload.write(&vec![7; 600_000]).await);
    refused(import.finish().await.map(drop));
    refused(bench.store.begin_blob(&alice.did).await.map(drop));
    refused(bench.store.begin_import(&alice.did).await.map(drop));
    refused(bench.write(&alice, vec![create("more", "x")]).await.map(drop));
    drop(upload);

    // What makes room and what only reads goes on, checkpoints included.
    let mut live = bench.store.subscribe(bench.store.last_seq());
    for i in 0..100 {
        bench.write(&alice, vec![op(&format!("k{i}"), Change::Delete)]).await.unwrap();
        assert!(live.next().await.unwrap().is_some());
        if i == 50 {
            assert_eq!(bench.verified(&alice).await.len(), 49);
        }
    }
    std::fs::remove_file(&filler).unwrap();
    let began = Instant::now();
    while bench.write(&alice, vec![create("again", "x")]).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the room was never noticed");
    }
    bench.store.maintain().await.unwrap();
    assert!(bench.data().join("reserve").exists(), "kept again");
    let bench = bench.reopen().await;
    assert_eq!(bench.verified(&alice).await.len(), 1);
}
