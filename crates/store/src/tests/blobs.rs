//! Blobs: durable before known, temporary until used, gone with the last reference.

use std::io::Read;
use std::time::Duration;

use atproto::syntax::Tid;

use super::{Bench, Person, op, record_with_blobs};
use crate::{BlobMeta, BlobRef, Change, StoreError};

async fn upload(bench: &Bench, person: &Person, text: &'static str) -> BlobMeta {
    bench.store.put_blob(&person.did, "text/plain".to_owned(), text.into()).await.unwrap()
}

fn refer(blob: &BlobMeta) -> BlobRef {
    BlobRef { cid: blob.cid, mime: blob.mime.clone(), size: Some(blob.size) }
}

async fn content(bench: &Bench, person: &Person, blob: &BlobMeta) -> Option<String> {
    let mut found = bench.store.open_blob(&person.did, &blob.cid).await.unwrap()?;
    let mut text = String::new();
    found.file.read_to_string(&mut text).unwrap();
    Some(text)
}

#[tokio::test]
async fn an_upload_in_pieces_is_named_by_its_content() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let mut upload = bench.store.begin_blob(&alice.did).await.unwrap();
    let mut whole = Vec::new();
    for i in 0..100_u8 {
        let piece = vec![i; 7919];
        upload.write(&piece).await.unwrap();
        whole.extend(piece);
    }
    let meta = upload.finish("application/octet-stream".to_owned()).await.unwrap();
    assert_eq!(meta.cid, atproto::cid::Cid::for_raw(&whole));
    assert_eq!(meta.size, 791_900);
    let mut read = Vec::new();
    bench.store.open_blob(&alice.did, &meta.cid).await.unwrap().unwrap().file.read_to_end(&mut read).unwrap();
    assert_eq!(read, whole);
}

#[tokio::test]
async fn an_upload_given_up_or_too_large_leaves_no_file() {
    let bench = Bench::with(|config| config.limits.blob_bytes_max = 10);
    let alice = bench.account("alice").await;
    let mut upload = bench.store.begin_blob(&alice.did).await.unwrap();
    upload.write(b"12345").await.unwrap();
    let error = upload.write(b"678901").await.unwrap_err();
    assert!(matches!(error, StoreError::BlobTooLarge { max: 10 }), "{error:?}");
    drop(upload);
    assert!(std::fs::read_dir(bench.data().join("uploads")).unwrap().next().is_none());
}

#[tokio::test]
async fn what_no_record_refers_to_is_bounded_for_each_account() {
    let bench = Bench::with(|config| config.limits.temp_blob_bytes_max = 10);
    let (alice, bob) = (bench.account("alice").await, bench.account("bob").await);
    let first = upload(&bench, &alice, "123456").await;
    let second = bench.store.put_blob(&alice.did, "text/plain".to_owned(), "abcdef".into());
    let error = second.await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyTempBlobs { bytes_max: 10 }), "{error:?}");
    assert_eq!(std::fs::read_dir(bench.data().join("uploads")).unwrap().count(), 0);
    // The same again takes no more room, another account has its own, and what a record refers to does not count.
    upload(&bench, &alice, "123456").await;
    upload(&bench, &bob, "abcdef").await;
    let record = record_with_blobs("first", vec![refer(&first)]);
    bench.write(&alice, vec![op("one", Change::Create(record))]).await.unwrap();
    upload(&bench, &alice, "abcdef").await;
}

#[tokio::test]
async fn records_may_only_name_blobs_that_are_here_as_they_are() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let bob = bench.account("bob").await;
    let blob = upload(&bench, &alice, "picture").await;
    let post = |reference: BlobRef| vec![op("a", Change::Put(record_with_blobs("x", vec![reference])))];
    let error = bench.write(&bob, post(refer(&blob))).await.unwrap_err();
    assert!(matches!(error, StoreError::BlobNotFound { .. }), "another account's blob: {error:?}");
    let error = bench.write(&alice, post(BlobRef { size: Some(1), ..refer(&blob) })).await.unwrap_err();
    assert!(matches!(error, StoreError::BlobSizeMismatch { .. }), "{error:?}");
    let error = bench
        .write(&alice, post(BlobRef { mime: "image/png".to_owned(), ..refer(&blob) }))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::BlobMimeMismatch { .. }), "{error:?}");
    bench.write(&alice, post(refer(&blob))).await.unwrap();
}

#[tokio::test]
async fn a_blob_lives_as_long_as_a_record_refers_to_it() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let (kept, loose) = (upload(&bench, &alice, "kept").await, upload(&bench, &alice, "loose").await);
    let with = |text: &str| Change::Put(record_with_blobs(text, vec![refer(&kept)]));
    bench.write(&alice, vec![op("a", with("1")), op("b", with("2"))]).await.unwrap();
    bench.clock.advance(Duration::from_secs(7 * 3600));
    assert_eq!(bench.store.maintain().await.unwrap().blobs, 1);
    assert_eq!(content(&bench, &alice, &kept).await.as_deref(), Some("kept"));
    assert_eq!(content(&bench, &alice, &loose).await, None);

    bench.write(&alice, vec![op("a", Change::Delete)]).await.unwrap();
    assert!(content(&bench, &alice, &kept).await.is_some());
    // It moves from one record to another within one commit.
    bench.write(&alice, vec![op("b", Change::Delete), op("c", with("3"))]).await.unwrap();
    assert!(content(&bench, &alice, &kept).await.is_some());
    bench.write(&alice, vec![op("c", Change::Delete)]).await.unwrap();
    assert_eq!(content(&bench, &alice, &kept).await, None);
    let again = upload(&bench, &alice, "kept").await;
    assert_eq!(again, kept);
    let bench = bench.reopen().await;
    assert_eq!(
        content(&bench, &alice, &kept).await.as_deref(),
        Some("kept"),
        "the old end does not hit the new file"
    );
}

#[tokio::test]
async fn lists_the_blobs_of_records_since_a_revision() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let mut revs: Vec<Tid> = Vec::new();
    for (i, text) in ["one", "two", "three"].into_iter().enumerate() {
        let blob = upload(&bench, &alice, text).await;
        let change = Change::Put(record_with_blobs(text, vec![refer(&blob)]));
        let result = bench.write(&alice, vec![op(&format!("k{i}"), change)]).await.unwrap();
        revs.push(result.commit.unwrap().rev);
    }
    let did = alice.did.clone();
    bench
        .store
        .read(move |r| {
            let account = r.account_by_did(&did)?.unwrap();
            let all = r.list_blobs(&account, None, None, 10)?;
            assert_eq!(all.len(), 3);
            assert_eq!(r.list_blobs(&account, None, Some(&all[0]), 1)?, [all[1]]);
            assert_eq!(r.list_blobs(&account, Some(revs[1]), None, 10)?.len(), 1);
            assert!(r.missing_blobs(&account, None, 10)?.is_empty());
            let counts = r.counts(&account)?;
            assert_eq!((counts.blobs_expected, counts.blobs_here), (3, 3));
            Ok(())
        })
        .await
        .unwrap();
}
