//! Blobs: up, referred to, down.

use serde_json::json;

use crate::harness::{Account, Answer, Pds, error};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

async fn upload(pds: &Pds, account: &Account, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = pds.http.post(format!("{}/xrpc/com.atproto.repo.uploadBlob", pds.url));
    Pds::read(
        request.bearer_auth(&account.access).header("content-type", kind).body(body).send().await.unwrap(),
    )
    .await
}

#[tokio::test]
async fn blob_goes_up_is_referred_to_and_comes_back_safely() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let blob = upload(&pds, &alice, "image/jpeg", PNG).await.ok()["blob"].clone();
    assert_eq!(
        (&blob["$type"], &blob["mimeType"], &blob["size"]),
        (&json!("blob"), &json!("image/png"), &json!(PNG.len()))
    );
    let cid = blob["ref"]["$link"].as_str().unwrap().to_owned();
    let list = async |pds: &Pds| {
        pds.get("com.atproto.sync.listBlobs", &[("did", &alice.did)]).await.ok()["cids"].clone()
    };
    assert_eq!(list(&pds).await, json!([]), "nothing refers to it yet");

    let put = async |pds: &Pds, blob: &serde_json::Value| {
        let body = json!({ "repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": { "avatar": blob } });
        pds.post(Some(&alice.access), "com.atproto.repo.putRecord", &body).await
    };
    put(&pds, &blob).await.ok();
    pds.restart().await;
    assert_eq!(list(&pds).await, json!([cid]));
    let params = [("did", alice.did.as_str()), ("cid", cid.as_str())];
    let back = pds.get("com.atproto.sync.getBlob", &params).await;
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", &PNG.len().to_string()),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("content-disposition", &format!("attachment; filename=\"{cid}\"")),
    ] {
        assert_eq!(back.headers[name], value, "{name}");
    }
    assert_eq!(back.bytes(), PNG);

    let mut wrong = blob.clone();
    wrong["mimeType"] = json!("image/jpeg");
    assert_eq!(put(&pds, &wrong).await.error(), error(400, "InvalidMimeType"));
    let mut wrong = blob.clone();
    wrong["size"] = json!(1);
    assert_eq!(put(&pds, &wrong).await.error(), error(400, "InvalidSize"));
    let mut wrong = blob;
    wrong["ref"]["$link"] = json!("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
    assert_eq!(put(&pds, &wrong).await.error(), error(400, "BlobNotFound"));
    let none = [params[0], ("cid", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")];
    assert_eq!(pds.get("com.atproto.sync.getBlob", &none).await.error(), error(400, "BlobNotFound"));
    let missing = pds.get_as(Some(&alice.access), "com.atproto.repo.listMissingBlobs", &[]).await.ok();
    assert_eq!(missing["blobs"], json!([]));
}

#[tokio::test]
async fn large_blob_streams_and_a_too_large_one_is_refused_both_ways() {
    let pds = Pds::start_with(|config| config.blob_bytes_max = 3_000_000).await;
    let alice = pds.account("alice").await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let blob = upload(&pds, &alice, "video/mp4", content.clone()).await.ok()["blob"].clone();
    assert_eq!(blob["mimeType"], "video/mp4");
    let cid = atproto::cid::Cid::for_raw(&content).to_string();
    assert_eq!(blob["ref"]["$link"], cid.as_str());
    pds.create(&alice, &json!({ "$type": "com.example.video", "video": blob })).await.ok();
    let back = pds.get("com.atproto.sync.getBlob", &[("did", &alice.did), ("cid", &cid)]).await;
    assert!(back.bytes() == content);

    assert_eq!(
        upload(&pds, &alice, "video/mp4", vec![0; 3_000_001]).await.error(),
        error(413, "PayloadTooLarge")
    );
    let pieces = futures_util::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![1_u8; 100_000])));
    let unannounced = upload(&pds, &alice, "video/mp4", reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(unannounced.error(), error(413, "PayloadTooLarge"));
    assert_eq!(
        std::fs::read_dir(pds.data_dir().join("uploads")).map_or(0, Iterator::count),
        0,
        "nothing is left behind"
    );
}
