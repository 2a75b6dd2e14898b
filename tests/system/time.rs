//! The clock goes wrong: nothing is signed meanwhile, and reading goes on.

use atproto::tid::Tid;

use crate::harness::{Perch, Person, wait_for};

/// Waits until posting is refused for want of a trusted clock, and checks how it is refused.
fn wait_untrusted(person: &Person) {
    let refusal = wait_for("posting is refused", || {
        let answer = person.try_post("with a wrong clock").unwrap();
        (answer.code == 503).then_some(answer)
    });
    assert_eq!(refusal.error(), "ClockUntrusted");
    let seconds: u32 = refusal.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
}

#[test]
fn clock_at_1970_then_ntp() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let post = alice.post("before");
    perch.tell("ntp off");
    perch.tell("rtc dead");
    perch.tell("clock 1970");
    wait_untrusted(&alice);

    // What needs no time goes on.
    post.fetch(&perch, &alice).expect_ok();
    perch.get("/xrpc/_health").expect_ok();
    perch.get(&format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", alice.did)).expect_ok();
    assert_eq!(perch.verify(&alice).0.records, 1);
    // What needs it is refused, even with the right password.
    let body = serde_json::json!({ "identifier": "alice.test", "password": "wrong or right" });
    assert_eq!(perch.post("com.atproto.server.createSession", &body).error(), "ClockUntrusted");
    wait_for("the page says so", || perch.page().contains("Clock not trusted").then_some(()));

    perch.tell("ntp on");
    let next = wait_for("posting works again", || {
        let answer = alice.try_post("after").unwrap();
        (answer.code == 200).then(|| answer.json())
    });
    let next = crate::harness::Posted::new(&next);
    assert!(next.rev > post.rev);
    assert_eq!(perch.verify(&alice).0.records, 2);
    perch.terminate();
}

#[test]
fn one_liar_among_four() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let honest = alice.post("before the lie");
    perch.tell("ntp lie 1");
    wait_for("the liar is found out", || {
        let sources = perch.status()["time"]["sources"].as_array().unwrap().clone();
        let liars = sources.iter().filter(|source| source["answers"] == "disagrees").count();
        (liars == 1).then_some(())
    });
    assert_eq!(perch.status()["time"]["trusted"], true);
    let post = alice.post("in spite of the lie");
    // The lie is ten minutes: a rev that followed it would be that far ahead of the one before.
    let micros = |rev: &str| Tid::parse(rev).unwrap().micros();
    let apart_us = micros(&post.rev) - micros(&honest.rev);
    assert!(apart_us < 300_000_000, "{apart_us}");
    wait_for("the page names it", || perch.page().contains("outvoted").then_some(()));
    perch.terminate();
}

#[test]
fn a_foreign_hand_moves_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let before = alice.post("before");
    perch.tell("ntp off");
    perch.tell("rtc dead");
    perch.tell("clock +600");
    wait_untrusted(&alice);
    perch.tell("ntp on");
    perch.tell("rtc alive");
    let after = wait_for("posting works again", || {
        let answer = alice.try_post("after").unwrap();
        (answer.code == 200).then(|| crate::harness::Posted::new(&answer.json()))
    });
    let micros = |rev: &str| Tid::parse(rev).unwrap().micros();
    let apart_us = micros(&after.rev) - micros(&before.rev);
    assert!(apart_us < 300_000_000, "{apart_us}");
    perch.terminate();
}
