//! The disk fills up: what is new is refused in plain words, also in the middle; the rest goes on; room is noticed.

use std::sync::Arc;

use futures_util::stream;
use platform::sim::SimDisk;
use reqwest::Body;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use crate::harness::{Account, Answer, Pds, error, post, rkey_of};

/// A body whose pieces a test sends when it wants.
fn body() -> (mpsc::Sender<Vec<u8>>, Body) {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(1);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
    });
    (sender, Body::wrap_stream(pieces))
}

fn begin(pds: &Pds, account: &Account, method: &str, kind: &str, body: Body) -> JoinSet<Answer> {
    let request = pds
        .http
        .post(format!("{}/xrpc/{method}", pds.url))
        .bearer_auth(&account.access)
        .header("content-type", kind)
        .body(body);
    let mut call = JoinSet::new();
    call.spawn(async move { Pds::read(request.send().await.unwrap()).await });
    call
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_also_under_way_and_recovers_by_itself() {
    let disk = SimDisk::default();
    let mut pds = Pds::start().await;
    pds.stop().await;
    pds.disk = Some(Arc::new(disk.clone()));
    pds.serve(|_| {}).await;
    let alice = pds.account("alice").await;
    let keep = pds.create_post(&alice, "to keep").await;
    let remove = pds.create_post(&alice, "to remove").await;
    let car = pds.get("com.atproto.sync.getRepo", &[("did", &alice.did)]).await.bytes();

    let (upload, uploading) = body();
    let mut uploaded = begin(&pds, &alice, "com.atproto.repo.uploadBlob", "image/png", uploading);
    upload.send(vec![7; 300_000]).await.unwrap();
    let (import, importing) = body();
    let mut imported =
        begin(&pds, &alice, "com.atproto.repo.importRepo", "application/vnd.ipld.car", importing);
    import.send(car[..car.len() / 2].to_vec()).await.unwrap();

    disk.set_full(true);
    let status = pds.wait_status(|s| s.refuses_writes.is_some()).await;
    assert!(status.refuses_writes.unwrap().contains("disk is full"));
    // The server may have refused and closed already: then nobody takes the rest.
    drop(upload.send(vec![7; 600_000]).await);
    drop(import.send(car[car.len() / 2..].to_vec()).await);
    drop((upload, import));
    assert_eq!(uploaded.join_next().await.unwrap().unwrap().error(), error(507, "DiskFull"));
    assert_eq!(imported.join_next().await.unwrap().unwrap().error(), error(507, "DiskFull"));
    assert_eq!(pds.create(&alice, &post("no room")).await.error(), error(507, "DiskFull"));
    let put = json!({ "preferences": [] });
    let refused = pds.post(Some(&alice.access), "app.bsky.actor.putPreferences", &put).await;
    assert_eq!(refused.error(), error(507, "DiskFull"));

    let last_seq = pds.status.borrow().last_seq;
    let gone = json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "rkey": rkey_of(&remove) });
    pds.post(Some(&alice.access), "com.atproto.repo.deleteRecord", &gone).await.ok();
    pds.wait_status(|s| s.last_seq > last_seq).await;
    let kept = rkey_of(&keep);
    let params = [("repo", alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", &kept)];
    pds.get("com.atproto.repo.getRecord", &params).await.ok();
    pds.get("com.atproto.sync.getRepo", &[("did", &alice.did)]).await.bytes();
    let session = json!({ "identifier": alice.handle, "password": "hunter22" });
    pds.post(None, "com.atproto.server.createSession", &session).await.ok();

    disk.set_full(false);
    pds.wait_status(|s| s.refuses_writes.is_none()).await;
    let (upload, uploading) = body();
    let mut uploaded = begin(&pds, &alice, "com.atproto.repo.uploadBlob", "image/png", uploading);
    upload.send(vec![7; 300_000]).await.unwrap();
    drop(upload);
    uploaded.join_next().await.unwrap().unwrap().ok();
    pds.create_post(&alice, "room again").await;
}
