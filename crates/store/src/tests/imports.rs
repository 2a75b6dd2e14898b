//! Imports: verified, invisible until whole, and refused with a reason.

use std::time::Duration;

use super::{Bench, Person, collect, create, kinds, op, record_with_blobs};
use crate::{BlobRef, Change, ImportError, Status, StoreError};

async fn import(bench: &Bench, person: &Person, car: &[u8]) -> Result<crate::Imported, StoreError> {
    let mut import = bench.store.begin_import(&person.did).await?;
    for piece in car.chunks(10_007) {
        import.write(piece).await?;
    }
    import.finish().await
}

/// A repo of its own with some records, one of them with a blob.
async fn elsewhere() -> (Bench, Person, BlobRef) {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let blob = bench.store.put_blob(&alice.did, "text/plain".to_owned(), "blob".into()).await.unwrap();
    let blob = BlobRef { cid: blob.cid, mime: blob.mime, size: Some(blob.size) };
    let mut ops: Vec<_> = (0..150).map(|i| create(&format!("k{i}"), &format!("old {i}"))).collect();
    ops.push(op("with", Change::Create(record_with_blobs("blob", vec![blob.clone()]))));
    bench.write(&alice, ops).await.unwrap();
    (bench, alice, blob)
}

#[tokio::test]
async fn takes_a_repo_over_and_signs_it_anew() {
    let (old, alice, blob) = elsewhere().await;
    let car = collect(&old.store, &alice, None).await;
    let records = old.verified(&alice).await;
    let bench = Bench::new();
    bench.clock.advance(Duration::from_secs(1));
    let alice = bench.account("alice").await;
    bench.write(&alice, vec![create("before", "goes")]).await.unwrap();
    bench.store.set_status(&alice.did, Status::Deactivated).await.unwrap();
    let seq = bench.store.last_seq();
    let imported = import(&bench, &alice, &car).await.unwrap();
    assert_eq!(imported.records, 151);
    assert!(bench.events(seq).await.is_empty(), "an inactive account imports silently");
    assert_eq!(bench.verified(&alice).await, records);
    assert_eq!(bench.head(&alice).await.commit, imported.commit.cid);

    let did = alice.did.clone();
    let missing = bench
        .store
        .read(move |r| r.missing_blobs(&r.account_by_did(&did)?.unwrap(), None, 10))
        .await
        .unwrap();
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].cid, missing[0].path.as_str()), (blob.cid, "app.test.post/with"));
    bench.store.put_blob(&alice.did, "text/plain".to_owned(), "blob".into()).await.unwrap();
    bench.clock.advance(Duration::from_secs(24 * 3600));
    let done = bench.store.maintain().await.unwrap();
    assert_eq!(done.blobs, 0, "an imported record refers to it");
    assert!(done.repo_rows > 0, "the old repo goes");

    bench.store.set_status(&alice.did, Status::Active).await.unwrap();
    let bench = bench.reopen().await;
    bench.write(&alice, vec![create("after", "stays")]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), 152);
    let seq = bench.store.last_seq();
    import(&bench, &alice, &car).await.unwrap();
    assert_eq!(kinds(&bench.events(seq).await), ["sync"]);
    assert_eq!(bench.verified(&alice).await, records);
}

#[tokio::test]
async fn refuses_what_is_not_a_sound_repo_of_the_account() {
    let (old, alice, _) = elsewhere().await;
    let car = collect(&old.store, &alice, None).await;
    let bench = Bench::new();
    let bob = bench.account("bob").await;
    let alice = bench.account("alice").await;
    let before = bench.head(&alice).await;

    let error = import(&bench, &bob, &car).await.unwrap_err();
    assert!(matches!(error, StoreError::Import(ImportError::OtherDid { .. })), "{error:?}");
    let error = import(&bench, &alice, &car[..car.len() - 10]).await.unwrap_err();
    assert!(matches!(error, StoreError::Import(ImportError::Car(_))), "{error:?}");
    let mut flipped = car.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let error = import(&bench, &alice, &flipped).await.unwrap_err();
    assert!(matches!(error, StoreError::Import(ImportError::Car(_))), "{error:?}");
    let error = import(&bench, &alice, b"").await.unwrap_err();
    assert!(matches!(error, StoreError::Import(ImportError::Car(_))), "{error:?}");

    let reader = atproto::car::Reader::new(&car[..]).unwrap();
    let roots = reader.roots().to_vec();
    let blocks: Vec<_> = reader.map(Result::unwrap).collect();
    for left_out in [1, 40, blocks.len() - 1] {
        let some = blocks.iter().enumerate().filter(|(i, _)| *i != left_out);
        let thin = atproto::car::to_vec(&roots, some.map(|(_, (cid, block))| (*cid, &block[..])));
        let error = import(&bench, &alice, &thin).await.unwrap_err();
        assert!(matches!(error, StoreError::Import(ImportError::Missing { .. })), "{error:?}");
    }
    assert_eq!(bench.head(&alice).await, before);
    assert!(bench.verified(&alice).await.is_empty());
    let done = bench.store.maintain().await.unwrap();
    assert!(done.repo_rows > 0, "what was staged is removed");
}

#[tokio::test]
async fn a_repo_larger_than_its_share_of_memory_is_taken_from_a_file() {
    let old = Bench::new();
    let alice = old.account("alice").await;
    let text = "x".repeat(20_000);
    for start in 0..3 {
        let ops = (0..50).map(|i| create(&format!("k{start}-{i}"), &format!("{start} {i} {text}"))).collect();
        old.write(&alice, ops).await.unwrap();
    }
    let car = collect(&old.store, &alice, None).await;
    for import_memory_bytes in [0, 1, usize::MAX] {
        let bench = Bench::with(|config| config.limits.import_memory_bytes = import_memory_bytes);
        let alice = bench.account("alice").await;
        assert_eq!(import(&bench, &alice, &car).await.unwrap().records, 150);
        assert_eq!(bench.verified(&alice).await.len(), 150);
    }
}

#[tokio::test]
async fn a_large_import_is_seen_wholly_or_not_at_all_while_others_write() {
    let old = Bench::new();
    let alice = old.account("alice").await;
    for start in 0..20 {
        let ops = (0..200).map(|i| create(&format!("k{start}-{i}"), "x")).collect();
        old.write(&alice, ops).await.unwrap();
    }
    let car = collect(&old.store, &alice, None).await;
    let bench = Bench::new();
    let (alice, bob) = (bench.account("alice").await, bench.account("bob").await);
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = async {
        let mut seen = std::collections::BTreeSet::new();
        let mut posts = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let did = alice.did.clone();
            let counts =
                bench.store.read(move |r| r.counts(&r.account_by_did(&did)?.unwrap())).await.unwrap();
            seen.insert(counts.records);
            bench.write(&bob, vec![create(&format!("p{posts}"), "meanwhile")]).await.unwrap();
            posts += 1;
        }
        (seen, posts)
    };
    let importing = async {
        let imported = import(&bench, &alice, &car).await.unwrap();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        imported
    };
    let ((seen, posts), imported) = tokio::join!(seen, importing);
    assert_eq!(imported.records, 4_000);
    assert!(posts > 3, "others write meanwhile: {posts}");
    assert!(seen.iter().all(|count| [0, 4_000].contains(count)), "{seen:?}");
    assert_eq!(bench.verified(&alice).await.len(), 4_000);
    assert_eq!(bench.verified(&bob).await.len(), posts);
}

#[tokio::test]
async fn one_import_at_a_time_and_none_over_new_writes() {
    let (old, alice, _) = elsewhere().await;
    let car = collect(&old.store, &alice, None).await;
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let mut first = bench.store.begin_import(&alice.did).await.unwrap();
    let error = bench.store.begin_import(&alice.did).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    first.write(&car).await.unwrap();
    bench.write(&alice, vec![create("meanwhile", "x")]).await.unwrap();
    let error = first.finish().await.unwrap_err();
    assert!(matches!(error, StoreError::Import(ImportError::Changed)), "{error:?}");
    assert_eq!(bench.verified(&alice).await.len(), 1);
}
