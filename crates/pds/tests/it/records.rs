//! Writing and reading records.

use serde_json::{Value, json};

use crate::harness::{Account, Answer, Pds, error, post, rkey_of};

const POSTS: &str = "app.bsky.feed.post";

async fn write(pds: &Pds, account: &Account, method: &str, mut body: Value) -> Answer {
    body["repo"] = json!(account.did);
    pds.post(Some(&account.access), &format!("com.atproto.repo.{method}"), &body).await
}

async fn list(pds: &Pds, account: &Account, params: &[(&str, &str)]) -> Value {
    let mut all = vec![("repo", account.did.as_str()), ("collection", POSTS)];
    all.extend_from_slice(params);
    pds.get("com.atproto.repo.listRecords", &all).await.ok()
}

fn texts(page: &Value) -> Vec<&str> {
    page["records"].as_array().unwrap().iter().map(|r| r["value"]["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn record_is_created_read_replaced_and_removed() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let made = pds.create_post(&alice, "hello").await;
    assert_eq!(made["validationStatus"], "valid");
    let rkey = rkey_of(&made);
    assert_eq!(rkey.len(), 13);
    let params = [("repo", "alice.test"), ("collection", POSTS), ("rkey", rkey.as_str())];
    let read = pds.get("com.atproto.repo.getRecord", &params).await.ok();
    assert_eq!((&read["uri"], &read["cid"], &read["value"]), (&made["uri"], &made["cid"], &post("hello")));

    let put =
        json!({ "collection": POSTS, "rkey": rkey, "record": post("changed"), "swapRecord": made["cid"] });
    let changed = write(&pds, &alice, "putRecord", put.clone()).await.ok();
    assert_ne!(changed["cid"], made["cid"]);
    assert_eq!(write(&pds, &alice, "putRecord", put).await.error(), error(400, "InvalidSwap"));
    let again = json!({ "collection": POSTS, "rkey": rkey, "record": post("changed") });
    let unchanged = write(&pds, &alice, "putRecord", again).await.ok();
    assert_eq!(
        (&unchanged["cid"], unchanged.get("commit")),
        (&changed["cid"], None),
        "nothing changed: no commit"
    );
    let must_be_new = json!({ "collection": POSTS, "rkey": rkey, "record": post("x"), "swapRecord": null });
    assert_eq!(write(&pds, &alice, "putRecord", must_be_new).await.error(), error(400, "InvalidSwap"));

    let old = [params[0], params[1], params[2], ("cid", made["cid"].as_str().unwrap())];
    assert_eq!(pds.get("com.atproto.repo.getRecord", &old).await.error(), error(400, "RecordNotFound"));
    let delete = json!({ "collection": POSTS, "rkey": rkey });
    assert!(write(&pds, &alice, "deleteRecord", delete.clone()).await.ok()["commit"].is_object());
    assert!(
        write(&pds, &alice, "deleteRecord", delete).await.ok()["commit"].is_null(),
        "missing: success without commit"
    );
    assert_eq!(pds.get("com.atproto.repo.getRecord", &params).await.error(), error(400, "RecordNotFound"));
}

#[tokio::test]
async fn swap_commit_holds_or_refuses() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let first = pds.create_post(&alice, "first").await;
    let with = |swap: &Value| json!({ "collection": POSTS, "record": post("next"), "swapCommit": swap });
    let second = write(&pds, &alice, "createRecord", with(&first["commit"]["cid"])).await.ok();
    assert_eq!(
        write(&pds, &alice, "createRecord", with(&first["commit"]["cid"])).await.error(),
        error(400, "InvalidSwap")
    );
    assert!(second["commit"]["rev"].as_str().unwrap() > first["commit"]["rev"].as_str().unwrap());
}

#[tokio::test]
async fn record_input_is_checked() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for body in [
        json!({ "collection": "nodots", "record": post("x") }),
        json!({ "collection": POSTS, "record": { "$type": "app.bsky.feed.like" } }),
        json!({ "collection": POSTS, "record": { "text": 1.5 } }),
        json!({ "collection": POSTS, "record": [] }),
        json!({ "collection": POSTS, "rkey": "a/b", "record": post("x") }),
        json!({ "collection": POSTS, "rkey": "..", "record": post("x") }),
        json!({ "collection": "com.example.thing", "record": { "a": 1 }, "validate": true }),
        json!({ "collection": POSTS, "record": { "text": "no date" } }),
        json!({ "collection": POSTS }),
    ] {
        assert_eq!(
            write(&pds, &alice, "createRecord", body.clone()).await.error(),
            error(400, "InvalidRequest"),
            "{body}"
        );
    }
    let demanded = json!({ "collection": POSTS, "record": post("typed by me"), "rkey": "3kznmn7xqxl22", "validate": true });
    assert!(write(&pds, &alice, "createRecord", demanded).await.ok()["validationStatus"].is_string());
    let delete = json!({ "collection": POSTS, "rkey": "3kznmn7xqxl22" });
    write(&pds, &alice, "deleteRecord", delete).await.ok();
    let unknown = json!({ "collection": "com.example.thing", "record": { "a": 1 } });
    assert_eq!(write(&pds, &alice, "createRecord", unknown).await.ok()["validationStatus"], "unknown");
    let untyped =
        json!({ "collection": POSTS, "rkey": "self", "record": { "text": "typed" }, "validate": false });
    let made = write(&pds, &alice, "createRecord", untyped.clone()).await.ok();
    assert!(made["validationStatus"].is_null());
    assert_eq!(texts(&list(&pds, &alice, &[]).await), ["typed"]);
    assert_eq!(list(&pds, &alice, &[]).await["records"][0]["value"]["$type"], POSTS);
    assert_eq!(
        write(&pds, &alice, "createRecord", untyped).await.error(),
        error(400, "InvalidRequest"),
        "it exists"
    );

    let bob = pds.account("bobby").await;
    let foreign = json!({ "repo": alice.did, "collection": POSTS, "record": post("x") });
    let answer = pds.post(Some(&bob.access), "com.atproto.repo.createRecord", &foreign).await;
    assert_eq!(answer.error(), error(401, "AuthenticationRequired"));
    let nobody = json!({ "repo": "nobody.test", "collection": POSTS, "record": post("x") });
    let answer = pds.post(Some(&bob.access), "com.atproto.repo.createRecord", &nobody).await;
    assert_eq!(answer.error(), error(403, "AccountNotFound"));
    let by_handle = json!({ "repo": "bobby.test", "collection": POSTS, "record": post("x") });
    pds.post(Some(&bob.access), "com.atproto.repo.createRecord", &by_handle).await.ok();
}

#[tokio::test]
async fn list_goes_newest_first_by_pages_and_backwards() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for i in 0..5 {
        pds.create_post(&alice, &i.to_string()).await;
    }
    assert_eq!(texts(&list(&pds, &alice, &[]).await), ["4", "3", "2", "1", "0"]);
    let page = list(&pds, &alice, &[("limit", "2")]).await;
    assert_eq!(texts(&page), ["4", "3"]);
    let cursor = page["cursor"].as_str().unwrap();
    assert_eq!(texts(&list(&pds, &alice, &[("limit", "2"), ("cursor", cursor)]).await), ["2", "1"]);
    assert_eq!(texts(&list(&pds, &alice, &[("reverse", "true"), ("cursor", cursor)]).await), ["4"]);
    let all = [("repo", alice.did.as_str()), ("collection", POSTS)];
    for bad in [("limit", "0"), ("limit", "101"), ("limit", "x"), ("reverse", "1")] {
        let answer = pds.get("com.atproto.repo.listRecords", &[all[0], all[1], bad]).await;
        assert_eq!(answer.error(), error(400, "InvalidRequest"), "{bad:?}");
    }
    let described = pds.get("com.atproto.repo.describeRepo", &[("repo", &alice.did)]).await.ok();
    assert_eq!((&described["collections"], &described["handleIsCorrect"]), (&json!([POSTS]), &json!(true)));
    assert_eq!(described["didDoc"]["id"], alice.did.as_str());
}

#[tokio::test]
async fn apply_writes_keeps_order_and_does_all_or_nothing() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let create = |text: &str| json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": POSTS, "value": post(text) });
    let made = write(&pds, &alice, "applyWrites", json!({ "writes": [create("a"), create("b")] })).await.ok();
    let results = made["results"].as_array().unwrap();
    assert_eq!(results[0]["$type"], "com.atproto.repo.applyWrites#createResult");
    let keys: Vec<String> = results.iter().map(rkey_of).collect();
    assert!(keys[0] < keys[1]);
    let mixed = json!({ "writes": [
        { "$type": "com.atproto.repo.applyWrites#delete", "collection": POSTS, "rkey": keys[0] },
        { "$type": "com.atproto.repo.applyWrites#update", "collection": POSTS, "rkey": keys[1], "value": post("B") },
        create("c"),
    ] });
    let mixed = write(&pds, &alice, "applyWrites", mixed).await.ok();
    let kinds: Vec<&str> = mixed["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["$type"].as_str().unwrap().rsplit('#').next().unwrap())
        .collect();
    assert_eq!(kinds, ["deleteResult", "updateResult", "createResult"]);
    assert_eq!(texts(&list(&pds, &alice, &[]).await), ["c", "B"]);

    let failing = json!({ "writes": [create("d"), { "$type": "com.atproto.repo.applyWrites#update", "collection": POSTS, "rkey": "none", "value": post("x") }] });
    assert_eq!(write(&pds, &alice, "applyWrites", failing).await.status.as_u16(), 400);
    assert_eq!(texts(&list(&pds, &alice, &[]).await), ["c", "B"], "nothing of it was written");
    let many: Vec<Value> = (0..201).map(|i| create(&i.to_string())).collect();
    let answer = write(&pds, &alice, "applyWrites", json!({ "writes": many })).await;
    assert_eq!(answer.error(), error(400, "InvalidRequest"));
    let full: Vec<Value> = (0..200).map(|i| create(&i.to_string())).collect();
    assert_eq!(
        write(&pds, &alice, "applyWrites", json!({ "writes": full })).await.ok()["results"]
            .as_array()
            .unwrap()
            .len(),
        200
    );
}

#[tokio::test]
async fn profile_and_preferences_are_answered_without_an_appview() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let profile = async || {
        pds.get_as(Some(&alice.access), "app.bsky.actor.getProfile", &[("actor", "alice.test")]).await
    };
    assert_eq!(profile().await.ok()["did"], alice.did.as_str());
    let record = json!({ "collection": "app.bsky.actor.profile", "rkey": "self", "record": { "displayName": "Alice" } });
    write(&pds, &alice, "putRecord", record).await.ok();
    assert_eq!(profile().await.ok()["displayName"], "Alice");
    let params = [("actors", alice.did.as_str()), ("actors", "nobody.test")];
    let both = pds.get_as(Some(&alice.access), "app.bsky.actor.getProfiles", &params).await.ok();
    assert_eq!(both["profiles"].as_array().unwrap().len(), 1);

    let none = pds.get_as(Some(&alice.access), "app.bsky.actor.getPreferences", &[]).await.ok();
    assert_eq!(none, json!({ "preferences": [] }));
    let some =
        json!({ "preferences": [{ "$type": "app.bsky.actor.defs#adultContentPref", "enabled": false }] });
    pds.post(Some(&alice.access), "app.bsky.actor.putPreferences", &some).await.ok();
    assert_eq!(pds.get_as(Some(&alice.access), "app.bsky.actor.getPreferences", &[]).await.ok(), some);
    let bad = json!({ "preferences": [{ "enabled": false }] });
    assert_eq!(
        pds.post(Some(&alice.access), "app.bsky.actor.putPreferences", &bad).await.error(),
        error(400, "InvalidRequest")
    );
}
