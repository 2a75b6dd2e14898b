//! What grows with use, filled and left alone: it shrinks again, or stays.

use std::time::Duration;

use super::{Bench, create, op};
use crate::{AppPassword, Change, NewRefreshToken};

const DAY_S: u64 = 24 * 3600;

/// Bytes of all files in a folder and below.
fn bytes_below(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap();
    let size = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            bytes_below(&entry.path())
        } else {
            entry.metadata().unwrap().len()
        }
    };
    entries.map(size).sum()
}

/// A season of use: posts that are deleted, abandoned uploads, sessions, codes, an account that goes.
async fn season(bench: &Bench, number: u32) {
    let alice = bench.account(&format!("{}lice", char::from(b'a' + u8::try_from(number).unwrap()))).await;
    for i in 0..150 {
        bench.write(&alice, vec![create(&format!("k{i}"), &"x".repeat(2_000))]).await.unwrap();
        let blob = vec![u8::try_from(i).unwrap(); 5_000];
        bench.store.put_blob(&alice.did, "image/png".to_owned(), blob.into()).await.unwrap();
        let now = bench.config.clock.now().unwrap();
        let token = NewRefreshToken {
            id: format!("token {number} {i}"),
            did: alice.did.clone(),
            expires_at_us: now.unix_micros() + 1_000_000,
            app_password: None,
        };
        bench.store.insert_refresh_token(token).await.unwrap();
    }
    for i in 0..150 {
        bench.write(&alice, vec![op(&format!("k{i}"), Change::Delete)]).await.unwrap();
    }
    let password = AppPassword {
        name: "phone".to_owned(),
        hash: "hash".to_owned(),
        privileged: false,
        created_at_us: 1,
    };
    bench.store.add_app_password(&alice.did, password).await.unwrap();
    bench.store.delete_account(&alice.did).await.unwrap();
    bench.clock.advance(Duration::from_secs(4 * DAY_S));
    bench.store.maintain().await.unwrap();
}

fn rows(bench: &Bench, table: &str) -> i64 {
    let conn = rusqlite::Connection::open(bench.data().join("perch.sqlite")).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_store_that_is_used_for_years_stays_as_large_as_what_is_in_it() {
    let bench = Bench::new();
    let mut sizes = Vec::new();
    for number in 0..4 {
        season(&bench, number).await;
        sizes.push(bytes_below(bench.data()));
        for table in
            ["record_name", "record_body", "node_name", "node_body", "account", "repo", "blob", "record_blob"]
        {
            assert_eq!(rows(&bench, table), 0, "{table} in season {number}");
        }
        for table in ["doomed_repo", "doomed_file", "refresh_token", "email_token", "app_password", "intent"]
        {
            assert_eq!(rows(&bench, table), 0, "{table} in season {number}");
        }
        assert!(rows(&bench, "event") <= 1, "only the newest event is left");
        assert_eq!(bytes_below(&bench.data().join("keys")), 0);
        assert_eq!(bytes_below(&bench.data().join("blobs")), 0);
        assert_eq!(bytes_below(&bench.data().join("uploads")), 0);
    }
    let first = sizes[1];
    assert!(sizes.iter().skip(2).all(|size| *size <= first + first / 10), "{sizes:?}");
}
