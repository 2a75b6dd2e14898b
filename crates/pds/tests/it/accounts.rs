//! Accounts and sessions.

use std::time::{Duration, Instant};

use atproto::{
    crypto::SigningKey,
    plc, service_jwt,
    syntax::{Handle, Nsid},
};
use serde_json::{Value, json};

use crate::harness::{Account, Pds, error};

async fn sign_in(pds: &Pds, identifier: &str, password: &str) -> crate::harness::Answer {
    let body = json!({ "identifier": identifier, "password": password });
    pds.post(None, "com.atproto.server.createSession", &body).await
}

#[tokio::test]
async fn new_account_is_registered_signs_in_and_survives_a_restart() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    assert!(alice.did.starts_with("did:plc:"));
    assert_eq!(pds.directory.count(), 1);
    let resolved = pds.get("com.atproto.identity.resolveHandle", &[("handle", "Alice.test")]).await.ok();
    assert_eq!(resolved["did"], alice.did.as_str());

    pds.restart().await;
    for identifier in [alice.handle.as_str(), alice.did.as_str(), "ALICE.test@Example.org"] {
        let session = sign_in(&pds, identifier, "hunter22").await.ok();
        assert_eq!(session["did"], alice.did.as_str(), "{identifier}");
        assert_eq!(session["active"], true);
    }
    let session = pds.get_as(Some(&alice.access), "com.atproto.server.getSession", &[]).await.ok();
    assert_eq!(
        (&session["handle"], &session["email"]),
        (&json!("alice.test"), &json!("alice.test@example.org"))
    );
    let well_known =
        pds.http.get(format!("{}/.well-known/atproto-did", pds.url)).header("host", "alice.test:80");
    assert_eq!(Pds::read(well_known.send().await.unwrap()).await.bytes(), alice.did.as_bytes());
}

#[tokio::test]
async fn create_account_refuses_bad_input_by_name() {
    let pds = Pds::start().await;
    pds.account("alice").await;
    for (handle, name) in [
        ("al.test", "InvalidHandle"),
        ("a.b.test", "InvalidHandle"),
        ("admin.test", "HandleNotAvailable"),
        ("alice.test", "InvalidRequest"),
        ("alice.example.com", "UnsupportedDomain"),
    ] {
        assert_eq!(pds.try_account(handle).await.error(), error(400, name), "{handle}");
    }
    let call = async |body: Value| pds.post(None, "com.atproto.server.createAccount", &body).await.error();
    let base = json!({ "handle": "bobby.test", "email": "b@example.org", "password": "x".repeat(257) });
    assert_eq!(call(base).await, error(400, "InvalidRequest"));
    let taken = json!({ "handle": "bobby.test", "email": "ALICE.test@example.org", "password": "hunter22" });
    assert_eq!(call(taken).await, error(400, "InvalidRequest"));
    assert_eq!(
        call(json!({ "handle": "bobby.test", "password": "hunter22" })).await,
        error(400, "InvalidRequest")
    );
    assert_eq!(call(json!({ "email": "b@example.org" })).await, error(400, "InvalidRequest"));
    assert_eq!(pds.directory.count(), 1, "nothing was registered for refused accounts");
}

#[tokio::test]
async fn unknown_account_and_wrong_password_fail_alike_and_slowly() {
    let pds = Pds::start().await;
    pds.account("alice").await;
    let mut answers = Vec::new();
    for identifier in ["alice.test", "nobody.test", "not an identifier"] {
        let begun = Instant::now();
        let answer = sign_in(&pds, identifier, "wrong").await;
        assert!(begun.elapsed() >= Duration::from_millis(350));
        assert_eq!(answer.error(), error(401, "AuthenticationRequired"));
        answers.push(answer.body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn tokens_are_checked_by_kind_age_and_header() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let get = async |token: Option<&str>| pds.get_as(token, "com.atproto.server.getSession", &[]).await;
    assert_eq!(get(None).await.error(), error(401, "AuthMissing"));
    assert_eq!(get(Some("nonsense")).await.error(), error(400, "InvalidToken"));
    assert_eq!(get(Some(&alice.refresh)).await.error(), error(400, "InvalidToken"));
    let answer = get(Some(&alice.access)).await;
    assert_eq!(
        (&answer.headers["cache-control"], &answer.headers["vary"]),
        (&"private".parse().unwrap(), &"Authorization".parse().unwrap())
    );
    let basic =
        pds.http.get(format!("{}/xrpc/com.atproto.server.getSession", pds.url)).basic_auth("a", Some("b"));
    assert_eq!(Pds::read(basic.send().await.unwrap()).await.error(), error(400, "InvalidToken"));

    pds.sim.advance(Duration::from_secs(30 * 60 + 1));
    assert_eq!(get(Some(&alice.access)).await.error(), error(400, "ExpiredToken"));
    assert!(pds.call(&alice.refresh, "com.atproto.server.refreshSession").await.status.is_success());
}

async fn refresh(pds: &Pds, token: &str) -> Result<String, (u16, String)> {
    let answer = pds.call(token, "com.atproto.server.refreshSession").await;
    if answer.status.is_success() {
        Ok(answer.json()["refreshJwt"].as_str().unwrap().to_owned())
    } else {
        Err(answer.error())
    }
}

/// The id inside a refresh token.
fn id_of(token: &str) -> String {
    let payload = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["jti"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn refresh_repeats_within_two_hours_and_not_after() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let first = refresh(&pds, &alice.refresh).await.unwrap();
    assert_ne!(id_of(&first), id_of(&alice.refresh));
    pds.sim.advance(Duration::from_secs(3600));
    assert_eq!(id_of(&refresh(&pds, &alice.refresh).await.unwrap()), id_of(&first));
    pds.sim.advance(Duration::from_secs(2 * 3600));
    assert_eq!(refresh(&pds, &alice.refresh).await, Err(error(400, "ExpiredToken")));
    assert!(refresh(&pds, &first).await.is_ok());
}

#[tokio::test]
async fn signing_out_ends_the_session_also_with_an_expired_token() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    pds.sim.advance(Duration::from_secs(91 * 86_400));
    for _ in 0..2 {
        assert!(pds.call(&alice.refresh, "com.atproto.server.deleteSession").await.status.is_success());
    }
    let session = sign_in(&pds, "alice.test", "hunter22").await.ok();
    let token = session["refreshJwt"].as_str().unwrap();
    assert!(pds.call(token, "com.atproto.server.deleteSession").await.status.is_success());
    assert_eq!(refresh(&pds, token).await, Err(error(400, "ExpiredToken")));
}

#[tokio::test]
async fn directory_outage_loses_no_identity_and_gives_the_handle_back_or_finishes() {
    let mut pds = Pds::start().await;
    pds.directory.set_down(true);
    assert_eq!(pds.try_account("alice.test").await.error(), error(502, "UpstreamFailure"));
    assert_eq!(
        pds.try_account("alice.test").await.error(),
        error(400, "HandleNotAvailable"),
        "it is still being made"
    );
    pds.directory.set_down(false);
    // A restart goes on where the outage left it, with the same bytes.
    pds.restart().await;
    pds.wait_status(|s| s.accounts == 1).await;
    assert_eq!(pds.directory.count(), 1);
    sign_in(&pds, "alice.test", "hunter22").await.ok();
}

#[tokio::test]
async fn account_with_its_own_did_begins_deactivated_and_is_switched_on_by_its_document() {
    let pds = Pds::start().await;
    let clock = platform::sim::trusted_clock(crate::harness::NOW_US).0;
    let key = SigningKey::generate().unwrap();
    let rotation = SigningKey::generate().unwrap();
    let handle = Handle::parse("mover.test").unwrap();
    let now = clock.now().unwrap();
    let (did, genesis) = plc::genesis(
        &[rotation.public_key()],
        &key.public_key(),
        &handle,
        "https://old.example.com",
        &rotation,
        now,
    );
    pds.directory.put(&did, genesis.clone());

    let body = json!({ "handle": "mover.test", "email": "m@example.org", "password": "hunter22", "did": did.as_str() });
    let create = async |token: Option<&str>| pds.post(token, "com.atproto.server.createAccount", &body).await;
    assert_eq!(create(None).await.error(), error(401, "AuthenticationRequired"));
    let method = Nsid::parse("com.atproto.server.createAccount").unwrap();
    let token =
        |aud: &str, key: &SigningKey| service_jwt::make(&did, aud, Some(&method), 60, key, now).unwrap();
    assert_eq!(create(Some("nonsense")).await.error(), error(401, "BadJwt"));
    assert_eq!(create(Some(&token("did:web:elsewhere", &key))).await.error(), error(401, "BadJwtAudience"));
    assert_eq!(
        create(Some(&token("did:web:localhost", &rotation))).await.error(),
        error(401, "BadJwtSignature")
    );
    let out = create(Some(&token("did:web:localhost", &key))).await.ok();
    let mover = Account {
        did: did.to_string(),
        handle: "mover.test".to_owned(),
        access: out["accessJwt"].as_str().unwrap().to_owned(),
        refresh: out["refreshJwt"].as_str().unwrap().to_owned(),
    };

    let status = pds.get("com.atproto.sync.getRepoStatus", &[("did", &mover.did)]).await.ok();
    assert_eq!((&status["active"], &status["status"]), (&json!(false), &json!("deactivated")));
    assert_eq!(
        pds.create(&mover, &crate::harness::post("too early")).await.error(),
        error(401, "AccountDeactivated")
    );
    assert_eq!(
        pds.get("com.atproto.sync.getRepo", &[("did", &mover.did)]).await.error(),
        error(400, "RepoDeactivated")
    );
    let own = pds.get_as(Some(&mover.access), "com.atproto.sync.getRepo", &[("did", &mover.did)]).await;
    assert!(own.status.is_success(), "the owner may read");
    let check = pds.get_as(Some(&mover.access), "com.atproto.server.checkAccountStatus", &[]).await.ok();
    assert_eq!((&check["activated"], &check["validDid"]), (&json!(false), &json!(false)));
    let activate = pds.call(&mover.access, "com.atproto.server.activateAccount").await;
    assert_eq!(activate.error(), error(400, "InvalidRequest"), "the document still names the old server");
}
