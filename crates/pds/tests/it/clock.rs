//! Without trusted time nothing is signed or checked, and what is public goes on.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Pds, error, post};

#[tokio::test]
async fn untrusted_clock_stops_what_signs_and_nothing_else() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let made = pds.create_post(&alice, "before").await;
    pds.sim.distrust();

    let refused = pds.create(&alice, &post("x")).await;
    assert_eq!(refused.error(), error(503, "ClockUntrusted"));
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert!(refused.json()["message"].as_str().unwrap().contains("clock"));
    let sign_in = json!({ "identifier": "alice.test", "password": "hunter22" });
    assert_eq!(
        pds.post(None, "com.atproto.server.createSession", &sign_in).await.error(),
        error(503, "ClockUntrusted")
    );
    assert_eq!(pds.try_account("bobby.test").await.error(), error(503, "ClockUntrusted"));
    for method in ["refreshSession", "deleteSession"] {
        assert_eq!(
            pds.call(&alice.refresh, &format!("com.atproto.server.{method}")).await.error(),
            error(503, "ClockUntrusted")
        );
    }
    assert_eq!(
        pds.get_as(Some(&alice.access), "com.atproto.server.getSession", &[]).await.error(),
        error(503, "ClockUntrusted")
    );

    let did = ("did", alice.did.as_str());
    let repo = ("repo", alice.did.as_str());
    let rkey = crate::harness::rkey_of(&made);
    let posts = ("collection", "app.bsky.feed.post");
    for (method, params) in [
        ("com.atproto.server.describeServer", vec![]),
        ("com.atproto.identity.resolveHandle", vec![("handle", "alice.test")]),
        ("com.atproto.repo.getRecord", vec![repo, posts, ("rkey", &rkey)]),
        ("com.atproto.repo.listRecords", vec![repo, posts]),
        ("com.atproto.sync.getRepo", vec![did]),
        ("com.atproto.sync.getRecord", vec![did, posts, ("rkey", &rkey)]),
        ("com.atproto.sync.getLatestCommit", vec![did]),
        ("com.atproto.sync.getRepoStatus", vec![did]),
        ("com.atproto.sync.listRepos", vec![]),
        ("com.atproto.sync.listBlobs", vec![did]),
        ("_health", vec![]),
    ] {
        let answer = pds.get(method, &params).await;
        assert!(answer.status.is_success(), "{method}: {}", answer.status);
        let with_token = pds.get_as(Some(&alice.access), method, &params).await;
        assert!(with_token.status.is_success(), "{method} with a token: {}", with_token.status);
    }
    assert!(
        !pds.get("_health", &[]).await.headers.contains_key("date"),
        "the system's clock tells nobody anything"
    );
    let status = pds.wait_status(|s| s.refuses_writes.is_some()).await;
    assert_eq!(status.accounts, 1);

    pds.sim.trust_at(crate::harness::NOW_US);
    pds.create_post(&alice, "after").await;
    assert_eq!(pds.get("_health", &[]).await.headers["date"], "Mon, 23 Nov 2026 02:34:56 GMT");
    let status = pds.wait_status(|s| s.refuses_writes.is_none() && s.last_post_unix_us.is_some()).await;
    assert_eq!(status.name, "alice.test");
}

#[tokio::test]
async fn clock_that_is_set_back_never_takes_a_rev_back() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let first = pds.create_post(&alice, "first").await;
    let rev = |written: &serde_json::Value| written["commit"]["rev"].as_str().unwrap().to_owned();
    // Three seconds back: followed at once.
    pds.sim.trust_at(crate::harness::NOW_US - 3_000_000);
    let second = pds.create_post(&alice, "second").await;
    assert!(rev(&second) > rev(&first));
    // Thirty seconds back: waited for.
    pds.sim.trust_at(crate::harness::NOW_US - 30_000_000);
    let refused = pds.create(&alice, &post("x")).await;
    assert_eq!(refused.error(), error(503, "RevAhead"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    pds.sim.advance(Duration::from_secs(wait));
    let third = pds.create_post(&alice, "third").await;
    assert!(rev(&third) > rev(&second));
    // Ten minutes back: only repair helps.
    pds.sim.trust_at(crate::harness::NOW_US - 600_000_000);
    assert_eq!(pds.create(&alice, &post("x")).await.error(), error(503, "RepoNeedsRepair"));
}
