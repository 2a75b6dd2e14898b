//! What everybody does on the first day, and after a restart.

use std::process::Command;

use serde_json::json;

use crate::harness::{Perch, refused, wait_for};
use crate::http::ask;

#[test]
fn first_light() {
    let folder = tempfile::tempdir().unwrap();
    let perch = Perch::start(folder.path());
    perch.get("/xrpc/_health").expect_ok();
    let server = perch.get("/xrpc/com.atproto.server.describeServer").expect_ok();
    assert_eq!(server["availableUserDomains"][0], ".test");

    let alice = perch.join("alice.test");
    let post = alice.post("first light");
    assert_eq!(post.fetch(&perch, &alice).expect_ok()["value"]["text"], "first light");

    let picture = b"\x89PNG\r\n\x1a\n and so on".to_vec();
    let blob = alice.upload("image/png", &picture);
    let embed = json!({ "$type": "app.bsky.embed.images", "images": [{ "alt": "light", "image": blob }] });
    let record = json!({
        "$type": "app.bsky.feed.post", "text": "a picture", "createdAt": "2026-11-23T02:34:56.789Z", "embed": embed,
    });
    let body = json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "record": record });
    alice.call("com.atproto.repo.createRecord", &body).unwrap().expect_ok();
    let cid = blob["ref"]["$link"].as_str().unwrap();
    let read = perch.get(&format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", alice.did));
    assert_eq!((read.code, &read.body), (200, &picture));

    let list = format!("/xrpc/com.atproto.repo.listRecords?repo={}&collection=app.bsky.feed.post", alice.did);
    assert_eq!(perch.get(&list).expect_ok()["records"].as_array().unwrap().len(), 2);
    let resolved = perch.get("/xrpc/com.atproto.identity.resolveHandle?handle=alice.test").expect_ok();
    assert_eq!(resolved["did"], alice.did);
    let well_known =
        ask(perch.ports.pds, "GET", "/.well-known/atproto-did", &[("host", "alice.test")], b"").unwrap();
    assert_eq!(String::from_utf8_lossy(&well_known.body), alice.did);
    assert_eq!(perch.verify(&alice).0.records, 2);

    let page = perch.page();
    assert!(page.contains("SIMULATION"), "{page}");
    let picture = ask(perch.ports.panel, "GET", "/screen.png", &[], b"").unwrap();
    assert!(picture.body.starts_with(b"\x89PNG"));
    perch.terminate();
}

#[test]
fn restart_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let perch = Perch::start(folder.path());
    let ports = perch.ports;
    let alice = perch.join("alice.test");
    let bob = perch.join("bob.test");
    let posts: Vec<_> = (0..5).map(|number| alice.post(&format!("post {number}"))).collect();
    let head = |perch: &Perch| {
        perch.get(&format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", alice.did)).expect_ok()
    };
    let before = head(&perch);
    perch.terminate();

    let perch = Perch::start_on(folder.path(), ports);
    assert_eq!(head(&perch), before);
    // The tokens of before still hold, and so does the password.
    for person in [alice.clone(), alice.sign_in(&perch)] {
        let next = person.post("after the restart");
        assert!(next.rev > posts[4].rev, "{next:?}");
    }
    bob.post("me too");
    let (repo, records) = perch.verify(&alice);
    assert_eq!(repo.records, 7);
    for post in &posts {
        assert!(records.contains(&(post.key.clone(), post.cid.clone())), "{post:?} is gone");
    }
    perch.terminate();
}

#[test]
fn another_plc_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let perch = Perch::start(folder.path());
    perch.join("alice.test");
    perch.terminate();
    let (status, said) = refused(folder.path(), "https://plc.example");
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("builtin") && said.contains("https://plc.example"), "{said}");
    // The refusal changed nothing.
    let perch = Perch::start(folder.path());
    wait_for("the account is counted", || (perch.status()["pds"]["accounts"] == 1).then_some(()));
    perch.terminate();
}

#[test]
fn end_of_input_and_unknown_commands_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    perch.tell("button short");
    perch.type_line("make coffee");
    wait_for("an answer", || perch.heard().contains("make coffee").then_some(()));
    let perch = perch.close_input();
    perch.get("/xrpc/_health").expect_ok();
    perch.terminate();
}

#[test]
fn a_screenshot_shows_the_running_appliance() {
    let folder = tempfile::tempdir().unwrap();
    let perch = Perch::start(&folder.path().join("data"));
    let file = folder.path().join("time.png");
    let output = Command::new(env!("CARGO_BIN_EXE_perch"))
        .arg("screenshot")
        .arg("time")
        .arg(&file)
        .args(["--panel", &format!("127.0.0.1:{}", perch.ports.panel)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // Only an example is announced.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    perch.terminate();
}
