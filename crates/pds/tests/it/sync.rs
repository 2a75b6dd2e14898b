//! Repos as mirrors read them, checked by the protocol crate from scratch.

use std::collections::HashMap;

use atproto::{car, cid::Cid, repo::verify_repo, tid::Tid};
use serde_json::json;

use crate::harness::{Account, Pds, did, error, post, rkey_of};

/// Verifies a repo's CAR against the key in the DID document; gives its records by path.
async fn verified(pds: &Pds, account: &Account, bytes: &[u8]) -> HashMap<String, Cid> {
    let mut records = HashMap::new();
    let key = pds.key_of(&account.did).await;
    verify_repo(bytes, &did(&account.did), &key, |path, cid| {
        records.insert(path.to_owned(), cid);
    })
    .unwrap();
    records
}

fn blocks(bytes: &[u8]) -> HashMap<Cid, bytes::Bytes> {
    car::Reader::new(bytes).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn whole_repo_and_what_came_since_verify() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let mut written = Vec::new();
    for i in 0..30 {
        written.push(pds.create_post(&alice, &i.to_string()).await);
    }
    let params = [("did", alice.did.as_str())];
    let whole = pds.get("com.atproto.sync.getRepo", &params).await;
    assert_eq!(whole.headers["content-type"], "application/vnd.ipld.car");
    let whole = whole.bytes();
    let records = verified(&pds, &alice, &whole).await;
    assert_eq!(records.len(), 30);
    let path = format!("app.bsky.feed.post/{}", rkey_of(&written[7]));
    assert_eq!(records[&path].to_string(), written[7]["cid"].as_str().unwrap());

    let since = written[24]["commit"]["rev"].as_str().unwrap();
    let newer = blocks(&pds.get("com.atproto.sync.getRepo", &[params[0], ("since", since)]).await.bytes());
    for (i, written) in written.iter().enumerate() {
        let cid = Cid::parse(written["cid"].as_str().unwrap()).unwrap();
        assert_eq!(newer.contains_key(&cid), i > 24, "record {i}");
    }
    let mut merged = blocks(&whole);
    let before = merged.len();
    merged.extend(newer);
    assert_eq!(merged.len(), before, "nothing but blocks of the whole");

    let latest = pds.get("com.atproto.sync.getLatestCommit", &params).await.ok();
    assert_eq!(
        (&latest["cid"], &latest["rev"]),
        (&written[29]["commit"]["cid"], &written[29]["commit"]["rev"])
    );
    let head = pds.get("com.atproto.sync.getHead", &params).await.ok();
    assert_eq!(head["root"], latest["cid"]);
    let status = pds.get("com.atproto.sync.getRepoStatus", &params).await.ok();
    assert_eq!(status, json!({ "did": alice.did, "active": true, "rev": latest["rev"] }));
}

#[tokio::test]
async fn record_is_proven_present_and_absent() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for i in 0..20 {
        pds.create_post(&alice, &i.to_string()).await;
    }
    let written = pds.create_post(&alice, "this one").await;
    let proof = async |rkey: &str| {
        let params = [("did", alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", rkey)];
        blocks(&pds.get("com.atproto.sync.getRecord", &params).await.bytes())
    };
    for (rkey, present) in [(rkey_of(&written), true), ("absent".to_owned(), false)] {
        let proof = proof(&rkey).await;
        let head = Cid::parse(written["commit"]["cid"].as_str().unwrap()).unwrap();
        let commit = atproto::repo::decode_commit(&proof[&head]).unwrap();
        atproto::repo::verify(&commit, &pds.key_of(&alice.did).await).unwrap();
        let found =
            atproto::mst::Tree::load(commit.data).get(&proof, &format!("app.bsky.feed.post/{rkey}")).unwrap();
        assert_eq!(
            found.map(|cid| cid.to_string()).as_deref(),
            present.then_some(written["cid"].as_str().unwrap())
        );
        assert_eq!(found.is_some_and(|cid| proof.contains_key(&cid)), present);
    }
}

#[tokio::test]
async fn blocks_are_given_by_name_and_missing_ones_named() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let written = pds.create_post(&alice, "x").await;
    let (record, commit) = (written["cid"].as_str().unwrap(), written["commit"]["cid"].as_str().unwrap());
    let params = [("did", alice.did.as_str()), ("cids", record), ("cids", commit)];
    let found = blocks(&pds.get("com.atproto.sync.getBlocks", &params).await.bytes());
    assert_eq!(found.len(), 2);
    assert!(
        found.contains_key(&Cid::parse(record).unwrap()) && found.contains_key(&Cid::parse(commit).unwrap())
    );
    let other = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let answer = pds.get("com.atproto.sync.getBlocks", &[params[0], ("cids", other)]).await;
    assert_eq!(answer.error(), error(400, "BlockNotFound"));
    assert!(answer.json()["message"].as_str().unwrap().contains(other));
}

#[tokio::test]
async fn repos_are_listed_by_pages_and_unknown_ones_named() {
    let pds = Pds::start().await;
    let mut dids = Vec::new();
    for name in ["alice", "bobby", "carol"] {
        dids.push(pds.account(name).await.did);
    }
    let first = pds.get("com.atproto.sync.listRepos", &[("limit", "2")]).await.ok();
    let cursor = first["cursor"].as_str().unwrap();
    let second = pds.get("com.atproto.sync.listRepos", &[("limit", "2"), ("cursor", cursor)]).await.ok();
    let listed: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["repos"].as_array().unwrap())
        .map(|repo| repo["did"].as_str().unwrap())
        .collect();
    assert_eq!(listed, dids);
    assert!(second["cursor"].is_null());
    let nobody = [("did", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")];
    for method in ["getRepo", "getLatestCommit", "getRepoStatus", "listBlobs"] {
        assert_eq!(
            pds.get(&format!("com.atproto.sync.{method}"), &nobody).await.error(),
            error(400, "RepoNotFound")
        );
    }
    assert_eq!(pds.get("com.atproto.sync.getRepo", &[]).await.error(), error(400, "InvalidRequest"));
}

#[tokio::test]
async fn deactivated_account_is_hidden_until_it_is_activated() {
    let pds = Pds::start_with(|_| {}).await;
    let alice = pds.account("alice").await;
    pds.create_post(&alice, "x").await;
    pds.post(Some(&alice.access), "com.atproto.server.deactivateAccount", &json!({})).await.ok();
    let params = [("did", alice.did.as_str())];
    assert_eq!(pds.get("com.atproto.sync.getRepo", &params).await.error(), error(400, "RepoDeactivated"));
    assert_eq!(pds.create(&alice, &post("y")).await.error(), error(401, "AccountDeactivated"));
    let session = pds.get_as(Some(&alice.access), "com.atproto.server.getSession", &[]).await.ok();
    assert_eq!((&session["active"], &session["status"]), (&json!(false), &json!("deactivated")));
    let check = pds.get_as(Some(&alice.access), "com.atproto.server.checkAccountStatus", &[]).await.ok();
    assert_eq!((&check["validDid"], &check["indexedRecords"]), (&json!(true), &json!(1)));
    assert!(pds.call(&alice.access, "com.atproto.server.activateAccount").await.status.is_success());
    pds.create_post(&alice, "y").await;
}

#[tokio::test]
async fn imported_repo_replaces_the_old_one_and_is_signed_here() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let mut written = Vec::new();
    for i in 0..50 {
        written.push(pds.create_post(&alice, &i.to_string()).await);
    }
    let params = [("did", alice.did.as_str())];
    let old = pds.get("com.atproto.sync.getRepo", &params).await.bytes();
    let before =
        pds.get("com.atproto.sync.getLatestCommit", &params).await.ok()["rev"].as_str().unwrap().to_owned();
    pds.create_post(&alice, "not in the import").await;

    let import = async |body: Vec<u8>| {
        let request =
            pds.http.post(format!("{}/xrpc/com.atproto.repo.importRepo", pds.url)).bearer_auth(&alice.access);
        Pds::read(request.header("content-type", "application/vnd.ipld.car").body(body).send().await.unwrap())
            .await
    };
    assert_eq!(import(b"nonsense".to_vec()).await.error(), error(400, "InvalidRequest"));
    assert_eq!(import(old[..old.len() - 20].to_vec()).await.error(), error(400, "InvalidRequest"));
    assert!(import(old).await.status.is_success());
    let records = verified(&pds, &alice, &pds.get("com.atproto.sync.getRepo", &params).await.bytes()).await;
    assert_eq!(records.len(), 50);
    let after =
        pds.get("com.atproto.sync.getLatestCommit", &params).await.ok()["rev"].as_str().unwrap().to_owned();
    assert!(Tid::parse(&after).unwrap() > Tid::parse(&before).unwrap());
    pds.create_post(&alice, "and on it goes").await;
}
