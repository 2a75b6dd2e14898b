//! Accounts: creation in two steps, names that are taken, states, sessions, secrets, the folder itself.

use std::time::Duration;

use atproto::crypto::SigningKey;
use atproto::syntax::{Did, Handle};

use super::{Bench, NOW_US, create, kinds};
use crate::{
    Announcement, AppPassword, Config, NewAccount, NewRefreshToken, OpenError, Status, Store, StoreError,
};

fn new(did: &str, handle: &str, email: &str) -> NewAccount {
    NewAccount {
        did: Did::parse(did).unwrap(),
        handle: Handle::parse(handle).unwrap(),
        email: Some(email.to_owned()),
        password_hash: "hash".to_owned(),
        signing_key: SigningKey::generate().unwrap(),
        plc_operation: Some(b"signed".to_vec()),
        invite: None,
    }
}

#[tokio::test]
async fn creation_sends_four_events_and_outlives_a_restart_in_between() {
    let bench = Bench::new();
    let wanted = new("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "Alice.test", "A@mail.test");
    let (did, key) = (wanted.did.clone(), wanted.signing_key.to_bytes());
    bench.store.begin_account(wanted).await.unwrap();
    let bench = bench.reopen().await;
    let intents = bench.store.intents().await.unwrap();
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0].plc_operation.as_deref(), Some(&b"signed"[..]), "the same bytes are sent again");
    let account = bench.store.complete_account(&did, Status::Active).await.unwrap();
    assert_eq!(account.handle.as_str(), "alice.test");
    assert_eq!(kinds(&bench.events(0).await), ["identity", "account", "commit", "sync"]);
    assert!(bench.store.intents().await.unwrap().is_empty());
    assert_eq!(bench.store.signing_key(&did).await.unwrap().to_bytes(), key);
    let found = bench.store.read(|r| r.account_by_email("a@MAIL.test")).await.unwrap().unwrap();
    assert_eq!(found.did, did);
    let error = bench.store.complete_account(&did, Status::Active).await.unwrap_err();
    assert!(matches!(error, StoreError::AccountNotFound), "{error:?}");
}

#[tokio::test]
async fn key_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    bench.account("alice").await;
    bench.store.secret("jwt", None).await.unwrap();
    for folder in ["keys", "secrets"] {
        let dir = bench.data().join(folder);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn taken_names_are_told_apart() {
    let bench = Bench::new();
    bench.account("alice").await;
    bench.store.begin_account(new("did:plc:bbb", "bob.test", "bob@mail.test")).await.unwrap();
    let refused =
        async |did, handle, email| bench.store.begin_account(new(did, handle, email)).await.unwrap_err();
    for handle in ["alice.test", "ALICE.test", "bob.test"] {
        let error = refused("did:plc:new", handle, "new@mail.test").await;
        assert!(matches!(error, StoreError::HandleTaken), "{error:?}");
    }
    for email in ["alice@mail.test", "BOB@mail.test"] {
        let error = refused("did:plc:new", "new.test", email).await;
        assert!(matches!(error, StoreError::EmailTaken), "{error:?}");
    }
    let error = refused("did:plc:bbb", "new.test", "new@mail.test").await;
    assert!(matches!(error, StoreError::DidTaken), "{error:?}");
}

#[tokio::test]
async fn an_abandoned_creation_leaves_nothing() {
    let bench = Bench::new();
    let wanted = new("did:plc:bbb", "bob.test", "bob@mail.test");
    let did = wanted.did.clone();
    bench.store.begin_account(wanted).await.unwrap();
    bench.store.abandon_account(&did).await.unwrap();
    bench.store.abandon_account(&did).await.unwrap();
    assert!(bench.store.signing_key(&did).await.is_err());
    let again = new("did:plc:bbb", "bob.test", "bob@mail.test");
    let key = again.signing_key.to_bytes();
    bench.store.begin_account(again).await.unwrap();
    let bench = bench.reopen().await;
    assert_eq!(
        bench.store.signing_key(&did).await.unwrap().to_bytes(),
        key,
        "the new key outlives the old one's end"
    );
}

#[tokio::test]
async fn states_are_announced_in_order() {
    let bench = Bench::new();
    let wanted = new("did:plc:bbb", "bob.test", "bob@mail.test");
    let did = wanted.did.clone();
    bench.store.begin_account(wanted).await.unwrap();
    bench.store.complete_account(&did, Status::Deactivated).await.unwrap();
    assert!(bench.events(0).await.is_empty(), "an account that moves in is silent");
    bench.store.set_status(&did, Status::Active).await.unwrap();
    bench.store.set_status(&did, Status::Active).await.unwrap();
    bench.store.set_status(&did, Status::Takendown).await.unwrap();
    bench.store.set_handle(&did, Handle::parse("robert.test").unwrap()).await.unwrap();
    bench.store.announce(&did, vec![Announcement::Sync]).await.unwrap();
    let order = ["account", "identity", "sync", "account", "identity", "sync"];
    assert_eq!(kinds(&bench.events(0).await), order);
}

#[tokio::test]
async fn a_deleted_account_is_gone_with_all_it_had() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    bench.write(&alice, (0..100).map(|i| create(&format!("k{i}"), "x")).collect()).await.unwrap();
    let blob = bench.store.put_blob(&alice.did, "text/plain".to_owned(), "blob".into()).await.unwrap();
    bench.store.delete_account(&alice.did).await.unwrap();
    let error = bench.write(&alice, vec![create("k", "x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::AccountNotFound), "{error:?}");
    assert_eq!(kinds(&bench.events(0).await), ["account"], "older events go too");
    assert!(bench.store.open_blob(&alice.did, &blob.cid).await.is_err());
    let done = bench.store.maintain().await.unwrap();
    assert!(done.repo_rows >= 100);
    let bench = bench.reopen().await;
    assert!(std::fs::read_dir(bench.data().join("keys")).unwrap().next().is_none());
    bench.account("alice").await;
}

#[tokio::test]
async fn a_refresh_token_rotates_once_and_repeats_within_its_grace() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let token = NewRefreshToken {
        id: "first".to_owned(),
        did: alice.did.clone(),
        expires_at_us: NOW_US + 90 * 86_400_000_000,
        app_password: None,
    };
    let expires_at_us = token.expires_at_us + 1;
    bench.store.insert_refresh_token(token).await.unwrap();
    let rotate = async |id: &str, next: &str| {
        let now = bench.config.clock.now().unwrap();
        bench.store.rotate_refresh_token(id.to_owned(), next.to_owned(), expires_at_us, now).await
    };
    assert_eq!(rotate("first", "second").await.unwrap().next_id, "second");
    bench.clock.advance(Duration::from_secs(7000));
    let again = rotate("first", "other").await.unwrap();
    assert_eq!((again.next_id.as_str(), again.expires_at_us), ("second", expires_at_us));
    bench.clock.advance(Duration::from_secs(300));
    assert!(matches!(rotate("first", "third").await, Err(StoreError::SessionOver)));
    assert!(matches!(rotate("unknown", "third").await, Err(StoreError::SessionOver)));
    assert_eq!(rotate("second", "third").await.unwrap().account.did, alice.did);
    bench.store.revoke_refresh_token("second".to_owned()).await.unwrap();
    assert!(matches!(rotate("second", "fourth").await, Err(StoreError::SessionOver)));
    assert!(
        matches!(rotate("third", "fourth").await, Err(StoreError::SessionOver)),
        "the successor ends too"
    );
}

#[tokio::test]
async fn removing_an_app_password_ends_its_sessions() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let password = AppPassword {
        name: "phone".to_owned(),
        hash: "hash".to_owned(),
        privileged: false,
        created_at_us: NOW_US,
    };
    bench.store.add_app_password(&alice.did, password.clone()).await.unwrap();
    let error = bench.store.add_app_password(&alice.did, password.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error:?}");
    for (id, app_password) in [("app", Some("phone".to_owned())), ("full", None)] {
        let token = NewRefreshToken {
            id: id.to_owned(),
            did: alice.did.clone(),
            expires_at_us: NOW_US * 2,
            app_password,
        };
        bench.store.insert_refresh_token(token).await.unwrap();
    }
    bench.store.remove_app_password(&alice.did, "phone".to_owned()).await.unwrap();
    let now = bench.config.clock.now().unwrap();
    let rotate = async |id: &str| {
        bench.store.rotate_refresh_token(id.to_owned(), format!("{id}2"), NOW_US * 2, now).await
    };
    assert!(matches!(rotate("app").await, Err(StoreError::SessionOver)));
    rotate("full").await.unwrap();
}

#[tokio::test]
async fn a_code_works_once_and_in_time() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let now = bench.config.clock.now().unwrap();
    let take = async |hash: u8| bench.store.take_email_token(&alice.did, "reset", [hash; 32], now).await;
    bench.store.set_email_token(&alice.did, "reset", [1; 32], NOW_US - 1).await.unwrap();
    assert!(matches!(take(1).await, Err(StoreError::TokenExpired)));
    bench.store.set_email_token(&alice.did, "reset", [2; 32], NOW_US + 1_000_000).await.unwrap();
    assert!(matches!(take(1).await, Err(StoreError::TokenInvalid)));
    take(2).await.unwrap();
    assert!(matches!(take(2).await, Err(StoreError::TokenInvalid)));
}

#[tokio::test]
async fn secrets_are_made_once() {
    let bench = Bench::new();
    let jwt = bench.store.secret("jwt", None).await.unwrap();
    let rotation = bench.store.secret("plc-rotation", Some(|| b"made".to_vec())).await.unwrap();
    assert_eq!((jwt.len(), &rotation[..]), (32, &b"made"[..]));
    let bench = bench.reopen().await;
    assert_eq!(bench.store.secret("jwt", None).await.unwrap(), jwt);
    assert_eq!(bench.store.secret("plc-rotation", None).await.unwrap(), rotation);
}

#[tokio::test]
async fn a_folder_belongs_to_one_process_and_one_directory() {
    let bench = Bench::new();
    let error = Store::open(bench.config.clone()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    let other = Config { plc_url: "http://localhost:2582".to_owned(), ..bench.config.clone() };
    bench.store.close().await.unwrap();
    let error = Store::open(other).unwrap_err();
    assert!(matches!(error, OpenError::OtherPlc { .. }), "{error:?}");
    Store::open(bench.config.clone()).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn refuses_foreign_and_newer_databases() {
    let dir = tempfile::TempDir::new().unwrap();
    let (clock, _) = platform::sim::trusted_clock(NOW_US);
    let config = |name: &str| Config::new(dir.path().join(name), "plc".to_owned(), clock.clone());
    let plant = |name: &str, sql: &str| {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
        let conn = rusqlite::Connection::open(dir.path().join(name).join("perch.sqlite")).unwrap();
        conn.execute_batch(sql).unwrap();
    };
    plant("foreign", "CREATE TABLE other (x)");
    assert!(matches!(Store::open(config("foreign")), Err(OpenError::NotAStore { .. })));
    Store::open(config("newer")).unwrap().close().await.unwrap();
    plant("newer", "PRAGMA user_version = 1000");
    assert!(matches!(Store::open(config("newer")), Err(OpenError::TooNew { found: 1000, .. })));
}

fn invite(code: &str, account: &str, uses_max: u32) -> crate::NewInvite {
    crate::NewInvite {
        code: code.to_owned(),
        account: account.to_owned(),
        created_by: crate::ADMIN.to_owned(),
        uses_max,
    }
}

#[tokio::test]
async fn an_invite_is_used_as_often_as_it_allows_and_a_sign_up_given_up_gives_it_back() {
    let bench = Bench::new();
    let now = bench.config.clock.now().unwrap();
    bench.store.add_invites(vec![invite("two", "admin", 2), invite("void", "admin", 9)], now).await.unwrap();
    bench.store.disable_invites(vec!["void".to_owned()], Vec::new()).await.unwrap();
    let begin = async |name: &str, code: &str| {
        let wanted = NewAccount {
            invite: Some(code.to_owned()),
            ..new(&format!("did:plc:{name}"), &format!("{name}.test"), &format!("{name}@mail.test"))
        };
        bench.store.begin_account(wanted).await.map(|intent| intent.did)
    };
    for code in ["none", "void"] {
        assert!(matches!(begin("nobody", code).await, Err(StoreError::InviteUnavailable)), "{code}");
    }
    let first = begin("first", "two").await.unwrap();
    let second = begin("second", "two").await.unwrap();
    assert!(matches!(begin("third", "two").await, Err(StoreError::InviteUnavailable)));
    bench.store.abandon_account(&second).await.unwrap();
    let third = begin("third", "two").await.unwrap();
    for did in [&first, &third] {
        bench.store.complete_account(did, Status::Active).await.unwrap();
    }
    assert!(matches!(begin("fourth", "two").await, Err(StoreError::InviteUnavailable)));
    let (kept, by) = bench
        .store
        .read(move |r| Ok((r.invite("two")?.unwrap(), r.invited_by(&first)?.unwrap())))
        .await
        .unwrap();
    assert_eq!(kept, by);
    let mut used: Vec<&str> = kept.uses.iter().map(|u| u.used_by.as_str()).collect();
    used.sort_unstable();
    assert_eq!(used, ["did:plc:first", "did:plc:third"]);
}

#[tokio::test]
async fn earned_invites_are_minted_once_and_are_void_without_the_right() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let now = bench.config.clock.now().unwrap();
    let mint = async |code: &str, total: usize| {
        bench.store.mint_invites(&alice.did, vec![code.to_owned()], total, now).await
    };
    assert!(!mint("a", 1).await.unwrap()[0].disabled);
    assert!(matches!(mint("b", 1).await, Err(StoreError::InvitesMinted)));
    let rights = crate::InviteRights { disabled: true, note: Some("spam".to_owned()) };
    bench.store.set_invite_rights(&alice.did, rights.clone()).await.unwrap();
    assert!(mint("b", 2).await.unwrap()[0].disabled);
    let did = alice.did.clone();
    let (all, kept) = bench
        .store
        .read(move |r| {
            let account = r.account_by_did(&did)?.unwrap();
            Ok((r.invites_of(did.as_str())?, r.invite_rights(&account)?))
        })
        .await
        .unwrap();
    assert_eq!((all.len(), kept), (2, rights));
    bench.store.disable_invites(Vec::new(), vec![alice.did.to_string()]).await.unwrap();
    assert!(!bench.store.read(|r| r.invite_is_available("a")).await.unwrap());
}

#[tokio::test]
async fn invites_are_listed_page_by_page_in_both_orders() {
    use crate::InviteOrder::{Recent, Usage};
    let bench = Bench::new();
    for (second, code) in ["b", "a", "c"].into_iter().enumerate() {
        bench.clock.advance(Duration::from_secs(second as u64));
        let now = bench.config.clock.now().unwrap();
        bench.store.add_invites(vec![invite(code, "admin", 3)], now).await.unwrap();
    }
    let wanted =
        NewAccount { invite: Some("a".to_owned()), ..new("did:plc:first", "first.test", "first@mail.test") };
    let did = bench.store.begin_account(wanted).await.unwrap().did;
    bench.store.complete_account(&did, Status::Active).await.unwrap();
    for (order, expected) in [(Recent, ["c", "a", "b"]), (Usage, ["a", "b", "c"])] {
        let mut seen: Vec<String> = Vec::new();
        while seen.len() < 3 {
            let after = seen.last().cloned();
            let page = bench.store.read(move |r| r.list_invites(order, after.as_deref(), 1)).await.unwrap();
            seen.extend(page.into_iter().map(|i| i.code));
        }
        assert_eq!(seen, expected);
        let after = seen.last().cloned();
        let end = bench.store.read(move |r| r.list_invites(order, after.as_deref(), 1)).await.unwrap();
        assert!(end.is_empty());
    }
}
