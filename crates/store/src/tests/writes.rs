//! Writing records: conditions, commits, events, revisions, and what a restart finds.

use std::time::Duration;

use atproto::event::{Frame, decode_frame};
use atproto::mst::{Tree, build_sorted};

use super::{Bench, NOW_US, create, kinds, nsid, op, record};
use crate::{Change, Outcome, Status, Store, StoreError, WriteRequest};

#[tokio::test]
async fn outcomes_say_what_happened() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let first = record("one");
    let made = bench.write(&alice, vec![op("a", Change::Put(first.clone()))]).await.unwrap();
    assert_eq!(made.outcomes, [Outcome::Created(first.cid)]);
    let events = bench.store.last_seq();
    let again = bench.write(&alice, vec![op("a", Change::Put(first.clone()))]).await.unwrap();
    assert_eq!((again.commit, &again.outcomes[..]), (None, &[Outcome::Unchanged(first.cid)][..]));
    let missing = bench.write(&alice, vec![op("b", Change::Delete)]).await.unwrap();
    assert_eq!((missing.commit, &missing.outcomes[..]), (None, &[Outcome::Missing][..]));
    assert_eq!(bench.store.last_seq(), events, "nothing changed, nothing is announced");
    let second = record("two");
    let both = vec![op("a", Change::Update(second.clone())), op("b", Change::Create(first.clone()))];
    let result = bench.write(&alice, both).await.unwrap();
    assert_eq!(result.outcomes, [Outcome::Updated(second.cid), Outcome::Created(first.cid)]);
    let gone = bench.write(&alice, vec![op("a", Change::Delete)]).await.unwrap();
    assert_eq!(gone.outcomes, [Outcome::Deleted]);
    assert_eq!(bench.verified(&alice).await.len(), 1);
}

#[tokio::test]
async fn refuses_what_the_request_did_not_expect() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let there = record("there");
    bench.write(&alice, vec![op("a", Change::Create(there.clone()))]).await.unwrap();
    let head = bench.head(&alice).await;
    let other = record("other");

    let error = bench.write(&alice, vec![op("a", Change::Create(other.clone()))]).await.unwrap_err();
    assert!(matches!(error, StoreError::RecordExists { .. }), "{error:?}");
    let error = bench.write(&alice, vec![op("b", Change::Update(other.clone()))]).await.unwrap_err();
    assert!(matches!(error, StoreError::RecordNotFound { .. }), "{error:?}");
    let error = bench.write(&alice, vec![create("c", "1"), create("c", "2")]).await.unwrap_err();
    assert!(matches!(error, StoreError::DuplicatePath { .. }), "{error:?}");
    for expected in [None, Some(other.cid)] {
        let mut swap = op("a", Change::Put(other.clone()));
        swap.swap_record = Some(expected);
        let error = bench.write(&alice, vec![swap]).await.unwrap_err();
        assert!(
            matches!(error, StoreError::InvalidSwap { current } if current == Some(there.cid)),
            "{error:?}"
        );
    }
    let request = |swap_commit| WriteRequest {
        did: alice.did.clone(),
        ops: vec![op("a", Change::Put(other.clone()))],
        swap_commit,
    };
    let error = bench.store.write(request(Some(there.cid))).await.unwrap_err();
    assert!(
        matches!(error, StoreError::InvalidSwap { current } if current == Some(head.commit)),
        "{error:?}"
    );
    assert_eq!(bench.head(&alice).await, head, "nothing of all this changed the repo");
    bench.store.write(request(Some(head.commit))).await.unwrap();
}

#[tokio::test]
async fn a_failing_operation_undoes_its_request() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    bench.write(&alice, vec![create("a", "1")]).await.unwrap();
    let seq = bench.store.last_seq();
    let ops = vec![create("b", "2"), create("a", "3")];
    bench.write(&alice, ops).await.unwrap_err();
    assert_eq!(bench.verified(&alice).await.len(), 1);
    bench.write(&alice, vec![create("b", "4")]).await.unwrap();
    assert_eq!(bench.store.last_seq(), seq + 1, "a failed request's number returns to the pool unseen");
    assert_eq!(bench.verified(&alice).await.len(), 2);
}

#[tokio::test]
async fn refuses_requests_that_no_event_can_carry() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let many = (0..201).map(|i| create(&format!("k{i}"), "x")).collect();
    let error = bench.write(&alice, many).await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyOps { count: 201, max: 200 }), "{error:?}");
    let large = "x".repeat(900_000);
    let three = (0..3).map(|i| create(&format!("k{i}"), &format!("{i}{large}"))).collect();
    let error = bench.write(&alice, three).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
    let two = (0..2).map(|i| create(&format!("k{i}"), &format!("{i}{large}"))).collect();
    bench.write(&alice, two).await.unwrap();
    bench.verified(&alice).await;
}

#[tokio::test]
async fn each_commit_event_proves_itself_and_follows_the_last() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let mut random = 7_u64;
    for round in 0..120 {
        bench.clock.advance(Duration::from_millis(3));
        let mut ops = Vec::new();
        for _ in 0..=round % 4 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let rkey = format!("k{}", (random >> 33) % 60);
            let change = if random.is_multiple_of(3) {
                Change::Delete
            } else {
                Change::Put(record(&format!("{round}")))
            };
            if !ops.iter().any(|seen: &crate::Op| seen.rkey.as_str() == rkey) {
                ops.push(op(&rkey, change));
            }
        }
        bench.write(&alice, ops).await.unwrap();
    }
    let (mut since, mut data, mut commits) = (None, None, 0);
    for event in bench.events(0).await {
        let Frame::Commit { seq, event: commit, .. } = decode_frame(&event.frame).unwrap() else { continue };
        assert_eq!(seq, event.seq);
        let verified = atproto::repo::verify_commit_event(&commit, &alice.public).unwrap();
        assert_eq!((commit.since, commit.prev_data), (since, data));
        assert!(since.is_none_or(|since| since < commit.rev));
        (since, data) = (Some(commit.rev), Some(verified.data));
        commits += 1;
    }
    assert!(commits > 60);
    let records = bench.verified(&alice).await;
    let rebuilt = build_sorted(records.iter().map(|(key, cid)| (key, *cid)), |_, _| {}).unwrap();
    assert_eq!(rebuilt, bench.head(&alice).await.data);
}

#[tokio::test]
async fn a_restart_finds_everything_and_reuses_no_number() {
    let mut bench = Bench::with(|config| config.limits.flush_commits = 7);
    let alice = bench.account("alice").await;
    let mut last_seq = bench.store.last_seq();
    for round in 0..5 {
        for i in 0..=round * 4 {
            bench.clock.advance(Duration::from_millis(1));
            bench.write(&alice, vec![create(&format!("r{round}x{i}"), "text")]).await.unwrap();
        }
        assert!(bench.store.last_seq() > last_seq);
        last_seq = bench.store.last_seq();
        let records = bench.verified(&alice).await;
        bench = bench.reopen().await;
        assert_eq!(bench.store.last_seq(), last_seq);
        assert_eq!(bench.verified(&alice).await, records);
    }
}

#[tokio::test]
async fn unflushed_nodes_come_back_from_the_events() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    for i in 0..50 {
        bench.write(&alice, vec![create(&format!("k{i}"), "text")]).await.unwrap();
    }
    let records = bench.verified(&alice).await;
    // A copy of the files as they are now is what a power cut would leave.
    let copy = bench.dir.path().join("copy");
    copy_dir(bench.data(), &copy);
    let config = crate::Config { dir: copy, ..bench.config.clone() };
    let cut = Store::open(config.clone()).unwrap();
    let after =
        Bench { store: cut, config, dir: tempfile::TempDir::new().unwrap(), clock: bench.clock.clone() };
    assert_eq!(after.verified(&alice).await, records);
    after.write(&alice, vec![create("after", "the cut")]).await.unwrap();
    assert_eq!(after.verified(&alice).await.len(), 51);
    after.store.close().await.unwrap();
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn revisions_rise_when_the_clock_stands_still_or_steps_back() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let mut last = bench.head(&alice).await.rev;
    for (i, at_us) in [NOW_US, NOW_US, NOW_US - 4_000_000].into_iter().enumerate() {
        bench.clock.trust_at(at_us);
        let rev = bench.write(&alice, vec![create(&format!("k{i}"), "x")]).await.unwrap().commit.unwrap().rev;
        assert!(rev > last && rev.micros() <= NOW_US + 10);
        last = rev;
    }
    bench.clock.trust_at(NOW_US - 30_000_000);
    let error = bench.write(&alice, vec![create("later", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::RevAhead { retry_after_s: 25..=26 }), "{error:?}");
    bench.clock.trust_at(NOW_US - 3_600_000_000);
    let error = bench.write(&alice, vec![create("later", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::RepoNeedsRepair { ahead_s: 3600 }), "{error:?}");
    let seq = bench.store.last_seq();
    let healed = bench.store.repair_repo(&alice.did).await.unwrap();
    assert!(healed.rev < last);
    assert_eq!(kinds(&bench.events(seq).await), ["sync"]);
    bench.clock.advance(Duration::from_millis(1));
    bench.write(&alice, vec![create("later", "x")]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), 4);
}

#[tokio::test]
async fn signs_nothing_while_the_clock_is_untrusted() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    bench.write(&alice, vec![create("a", "x")]).await.unwrap();
    bench.clock.distrust();
    let error = bench.write(&alice, vec![create("b", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::ClockUntrusted(_)), "{error:?}");
    assert_eq!(bench.verified(&alice).await.len(), 1, "reads go on");
    let nothing = bench.write(&alice, vec![op("missing", Change::Delete)]).await.unwrap();
    assert_eq!(nothing.commit, None, "what signs nothing needs no clock");
}

#[tokio::test]
async fn only_active_accounts_write() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    bench.store.set_status(&alice.did, Status::Deactivated).await.unwrap();
    let error = bench.write(&alice, vec![create("a", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::AccountInactive { status: Status::Deactivated }), "{error:?}");
}

#[tokio::test]
async fn waiting_requests_share_a_transaction_and_fail_alone() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let writes = (0..40).map(|i| {
        let rkey = format!("k{}", i % 30);
        bench.write(&alice, vec![create(&rkey, &format!("{i}"))])
    });
    let results = futures_join(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 30);
    assert_eq!(bench.verified(&alice).await.len(), 30);
    let seqs: Vec<u64> = bench.events(4).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (5..35).collect::<Vec<_>>());
}

/// Polls all at once, without a crate for it.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_subscriber_gets_every_event_in_order_from_any_place() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let mut early = bench.store.subscribe(0);
    for i in 0..300 {
        // Large enough that the ring cannot hold them all.
        bench.write(&alice, vec![create(&format!("k{i}"), &"x".repeat(4000))]).await.unwrap();
    }
    let mut late = bench.store.subscribe(bench.store.last_seq() - 3);
    for seq in 1..=304 {
        let event = early.next().await.unwrap().unwrap();
        assert_eq!(event.seq, seq);
    }
    assert_eq!(early.behind(), 0);
    assert_eq!(late.behind(), 3);
    for seq in 302..=304 {
        assert_eq!(late.next().await.unwrap().unwrap().seq, seq);
    }
    bench.store.close().await.unwrap();
    assert_eq!(late.next().await.unwrap(), None);
}

#[tokio::test]
async fn records_are_read_by_name_list_proof_and_cid() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let ops = (0..30).map(|i| create(&format!("k{i:02}"), &format!("{i}"))).collect();
    bench.write(&alice, ops).await.unwrap();
    let other = crate::Op {
        collection: atproto::syntax::Nsid::parse("app.test.pos").unwrap(),
        ..create("self", "neighbour by name")
    };
    bench.write(&alice, vec![other]).await.unwrap();
    let did = alice.did.clone();
    bench
        .store
        .read(move |r| {
            let account = r.account_by_did(&did)?.unwrap();
            let names = |limit, cursor, reverse| -> Vec<String> {
                let records = r.list_records(&account, &nsid(), limit, cursor, reverse).unwrap();
                records.iter().map(|record| record.rkey.as_str().to_owned()).collect()
            };
            assert_eq!(names(2, None, false), ["k29", "k28"]);
            assert_eq!(names(2, Some("k28"), false), ["k27", "k26"]);
            assert_eq!(names(2, None, true), ["k00", "k01"]);
            assert_eq!(names(5, Some("k27"), true), ["k28", "k29"]);
            assert_eq!(names(100, None, true).len(), 30);
            let collections = r.collections(&account)?;
            let collections: Vec<&str> = collections.iter().map(atproto::syntax::Nsid::as_str).collect();
            assert_eq!(collections, ["app.test.pos", "app.test.post"]);
            assert_eq!(r.counts(&account)?.records, 31);

            let one =
                r.record(&account, &nsid(), &atproto::syntax::RecordKey::parse("k05").unwrap())?.unwrap();
            assert_eq!(one.cid, record("5").cid);
            let wanted = [one.cid, account.head.data, account.head.commit, record("never").cid];
            let found = r.blocks(&account, &wanted)?;
            assert_eq!(found.len(), 3);
            assert!(found.iter().all(|(cid, block)| cid.names(block)));

            for (rkey, value) in [("k05", Some(one.cid)), ("nothing", None)] {
                let rkey = atproto::syntax::RecordKey::parse(rkey).unwrap();
                let car = r.record_proof(&account, &nsid(), &rkey)?;
                let blocks: std::collections::HashMap<_, _> =
                    atproto::car::Reader::new(&car[..]).unwrap().collect::<Result<_, _>>().unwrap();
                let mut tree = Tree::load(account.head.data);
                let key = format!("app.test.post/{}", rkey.as_str());
                assert_eq!(tree.get(&blocks, &key).unwrap(), value);
                assert!(value.is_none_or(|cid| blocks.contains_key(&cid)));
            }
            Ok(())
        })
        .await
        .unwrap();
}
