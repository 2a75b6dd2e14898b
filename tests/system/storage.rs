//! The disk goes away, or fills up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::harness::{Perch, Posted, wait_for};

#[test]
fn ssd_pulled_while_writing() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let (sender, acknowledged) = mpsc::channel();
    let stop = AtomicBool::new(false);
    let mut posts: Vec<Posted> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // A connection that breaks, or a refusal, is what pulling means.
                let answer = alice.try_post("while the disk is pulled");
                if let Some(answer) = answer.ok().filter(|answer| answer.code == 200) {
                    sender.send(Posted::new(&answer.json())).unwrap();
                }
            }
        });
        posts.extend(acknowledged.iter().take(20));
        perch.tell("ssd pull");
        let refusal = wait_for("the PDS says that its disk is gone", || {
            Some(alice.try_post("without a disk").ok()?).filter(|answer| answer.code == 503)
        });
        assert_eq!(refusal.error(), "StorageUnavailable");
        assert!(refusal.header("retry-after").is_some());
        wait_for("the page says which disk", || {
            perch.page().contains("Plug this disk back in").then_some(())
        });
        perch.tell("ssd plug");
        wait_for("the PDS is back", || (perch.get("/xrpc/_health").code == 200).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    posts.extend(acknowledged.try_iter());
    let last = alice.post("with the disk back");
    let (_, records) = perch.verify(&alice);
    for post in posts.iter().chain([&last]) {
        assert!(records.contains(&(post.key.clone(), post.cid.clone())), "{post:?} is gone");
    }
    wait_for("all is well", || perch.page().contains("All is well").then_some(()));
    perch.terminate();
}

#[test]
fn disk_full_refuses_writes_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let (keep, remove) = (alice.post("to keep"), alice.post("to remove"));
    perch.tell("disk full");
    let refusal = wait_for("posting is refused", || {
        let answer = alice.try_post("no room").unwrap();
        (answer.code != 200).then_some(answer)
    });
    assert!(refusal.code >= 500, "{refusal:?}");
    assert!(!refusal.error().is_empty() && refusal.error() != "InternalServerError", "{refusal:?}");
    keep.fetch(&perch, &alice).expect_ok();
    // Deleting is how an owner makes room.
    remove.delete(&alice).expect_ok();
    wait_for("the page says so", || perch.page().contains("Disk is full").then_some(()));
    let mut events = perch.firehose(Some(0));
    assert!(events.next().is_some(), "the firehose goes on");
    perch.tell("disk ok");
    wait_for("posting works again", || (alice.try_post("room again").unwrap().code == 200).then_some(()));
    perch.terminate();
}
