//! Exports: whole and since a revision, fast and slow clients, writes meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use atproto::cid::Cid;
use atproto::mst::{Step, Walk};
use bytes::Bytes;

use super::{Bench, Person, collect, create, op, record};
use crate::Change;

async fn fill(bench: &Bench, person: &Person, prefix: &str, count: usize, bytes: usize) {
    let text = "x".repeat(bytes);
    for start in (0..count).step_by(200) {
        bench.clock.advance(Duration::from_millis(1));
        let ops =
            (start..count.min(start + 200)).map(|i| create(&format!("{prefix}{i:06}"), &text)).collect();
        bench.write(person, ops).await.unwrap();
    }
}

fn blocks(car: &[u8]) -> HashMap<Cid, Bytes> {
    atproto::car::Reader::new(car).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_slow_client_gets_one_moment_and_holds_no_log() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    fill(&bench, &alice, "a", 3000, 600).await;
    let head = bench.head(&alice).await;
    let mut export = bench.store.export(&alice.did, None).await.unwrap();
    let mut car = export.next().await.unwrap().unwrap().to_vec();
    // The client sleeps; the reader must give its moment up, or the log grows with all of this.
    fill(&bench, &alice, "b", 12_000, 600).await;
    let log = std::fs::metadata(bench.data().join("perch.sqlite-wal")).unwrap().len();
    assert!(log < 8 * 1024 * 1024, "the log has {log} bytes");
    while let Some(chunk) = export.next().await.unwrap() {
        car.extend_from_slice(&chunk);
    }
    let verified = atproto::repo::verify_repo(&car[..], &alice.did, &alice.public, |_, _| {}).unwrap();
    assert_eq!((verified.head, verified.records, verified.strangers), (head.commit, 3000, 0));
    assert_eq!(bench.verified(&alice).await.len(), 15_000);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    fill(&bench, &alice, "a", 2000, 900).await;
    for _ in 0..100 {
        let mut export = bench.store.export(&alice.did, None).await.unwrap();
        export.next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn since_gives_all_that_the_difference_needs() {
    let bench = Bench::with(|config| config.limits.flush_commits = 5);
    let alice = bench.account("alice").await;
    fill(&bench, &alice, "a", 400, 10).await;
    let mut revs = vec![(bench.head(&alice).await.rev, collect(&bench.store, &alice, None).await)];
    // Changes that also take back: nodes of an earlier state come to life again.
    for round in 0..12 {
        bench.clock.advance(Duration::from_millis(1));
        let change = match round % 4 {
            0 => vec![create("zz", "there")],
            1 => vec![op("zz", Change::Delete)],
            2 => vec![op("a000123", Change::Delete)],
            _ => vec![create("a000123", &"x".repeat(10))],
        };
        bench.write(&alice, change).await.unwrap();
        bench.write(&alice, vec![op("a000007", Change::Put(record(&format!("{round}"))))]).await.unwrap();
        revs.push((bench.head(&alice).await.rev, collect(&bench.store, &alice, None).await));
    }
    let head = bench.head(&alice).await;
    for (rev, car) in &revs {
        let mut known = blocks(car);
        let difference = collect(&bench.store, &alice, Some(*rev)).await;
        let news = atproto::car::Reader::new(&difference[..]);
        if *rev < head.rev {
            known.extend(news.unwrap().map(Result::unwrap));
        }
        for step in Walk::new(&known, head.data) {
            if let Step::Record { value, .. } = step.unwrap() {
                assert!(known.contains_key(&value));
            }
        }
        assert!(difference.len() < car.len(), "{} of {}", difference.len(), car.len());
    }
}
