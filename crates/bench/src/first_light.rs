//! The shortest check that a PDS works: account, session, post, blob, reading back, export, firehose.
//!
//! Clients that others wrote check more; this one needs nothing but this crate, so it also runs against a Perch that
//! is emulated.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    http::Http,
    server::Server,
    xrpc::{POSTS, create_account, log_in, post, procedure, query, query_json, text},
};

/// One white pixel, as PNG.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0,
    0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63,
    0x64, 0xf8, 0xcf, 0x50, 0x0f, 0, 0x03, 0x86, 0x01, 0x80, 0x5a, 0x34, 0x7d, 0x6b, 0, 0, 0, 0, 0x49, 0x45,
    0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

/// Checks a server that was started on an empty folder, restarts it on the way, and returns the number of checks.
pub fn check(server: &mut Server) -> Result<u32> {
    let mut http = Http::connect(&server.address())?;
    query_json(&mut http, "_health")?;
    let described = query_json(&mut http, "com.atproto.server.describeServer")?;
    ensure!(described.get("availableUserDomains").is_some_and(|domains| domains.is_array()), "{described}");

    let mut account = create_account(&mut http, "first-light.test")?;
    let did = account.did.clone();
    log_in(&mut http, &mut account)?;
    let resolved = query_json(&mut http, "com.atproto.identity.resolveHandle?handle=first-light.test")?;
    ensure!(text(&resolved, "did")? == did, "the handle leads to {resolved}");

    let record = post(1);
    let input = json!({ "repo": did, "collection": POSTS, "record": record });
    let refused = procedure(&mut http, "com.atproto.repo.createRecord", None, &input);
    ensure!(refused.is_err(), "a post without a session was accepted");
    let written = procedure(&mut http, "com.atproto.repo.createRecord", Some(&account.token), &input)?;
    let rkey = text(&written, "uri")?.rsplit('/').next().unwrap_or_default().to_owned();
    let get = format!("com.atproto.repo.getRecord?repo={did}&collection={POSTS}&rkey={rkey}");
    ensure!(query_json(&mut http, &get)?.get("value") == Some(&record), "the post reads differently");

    let path = "/xrpc/com.atproto.repo.uploadBlob";
    let upload = http.request("POST", path, Some(&account.token), Some(("image/png", PNG)));
    let uploaded: serde_json::Value = serde_json::from_slice(http.send(&upload)?.body)?;
    let blob = uploaded.get("blob").cloned().unwrap_or_default();
    let link = text(blob.get("ref").unwrap_or(&blob), "$link")?.to_owned();
    let mut picture = post(2);
    if let Some(fields) = picture.as_object_mut() {
        let image = json!({ "alt": "", "image": blob });
        fields.insert("embed".to_owned(), json!({ "$type": "app.bsky.embed.images", "images": [image] }));
    }
    let input = json!({ "repo": did, "collection": POSTS, "record": picture });
    procedure(&mut http, "com.atproto.repo.createRecord", Some(&account.token), &input)?;
    let get_blob = format!("com.atproto.sync.getBlob?did={did}&cid={link}");
    ensure!(query(&mut http, &get_blob)? == PNG, "the blob reads differently");

    let frames = Http::connect(&server.address())?
        .upgrade("/xrpc/com.atproto.sync.subscribeRepos?cursor=0", |bytes| count(bytes, b"#commit") >= 2)?;
    ensure!(count(&frames, did.as_bytes()) >= 2, "the firehose does not name {did}");

    server.restart()?;
    let mut http = Http::connect(&server.address())?;
    ensure!(query_json(&mut http, &get)?.get("value") == Some(&record), "the post is lost after a restart");
    ensure!(query(&mut http, &get_blob)? == PNG, "the blob is lost after a restart");
    let list = query_json(&mut http, &format!("com.atproto.repo.listRecords?repo={did}&collection={POSTS}"))?;
    let records = list.get("records").and_then(|records| records.as_array()).map_or(0, Vec::len);
    ensure!(records == 2, "{records} records instead of 2 after a restart");
    let car = query(&mut http, &format!("com.atproto.sync.getRepo?did={did}"))?;
    let has_posts = count(&car, b"quick brown fox") >= 2 && count(&car, did.as_bytes()) >= 1;
    ensure!(has_posts, "the export lacks records or the commit ({} bytes)", car.len());
    Ok(12)
}

/// How often `needle` occurs in `bytes`.
fn count(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).filter(|window| *window == needle).count()
}
