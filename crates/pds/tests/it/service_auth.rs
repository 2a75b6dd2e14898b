//! Service tokens: those that this server makes for its accounts, and those that it takes.

use std::time::Duration;

use atproto::{
    crypto::SigningKey,
    plc,
    service_jwt::{self, Claims, Expected, Unverified},
    syntax::{Handle, Nsid},
};
use reqwest::StatusCode;

use crate::harness::{Account, NOW_US, Pds, did, error};

const NOW_S: u64 = NOW_US / 1_000_000;
const VIDEO: &str = "did:web:video.example";
const UPLOAD: &str = "com.atproto.repo.uploadBlob";

async fn ask(pds: &Pds, account: &Account, params: &[(&str, &str)]) -> Result<String, (u16, String)> {
    let answer = pds.get_as(Some(&account.access), "com.atproto.server.getServiceAuth", params).await;
    if answer.status.is_success() {
        Ok(answer.json()["token"].as_str().unwrap().to_owned())
    } else {
        Err(answer.error())
    }
}

/// Checks a token as the server it is for would.
async fn check(pds: &Pds, account: &Account, token: &str, audience: &str, method: &str) -> Claims {
    let key = pds.key_of(&account.did).await;
    let method = Nsid::parse(method).unwrap();
    let expected = Expected { audience: &[audience], method: &method };
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    Unverified::parse(token).unwrap().verify(&key, &expected, now).unwrap().clone()
}

#[tokio::test]
async fn service_token_is_the_accounts_own_for_one_server_method_and_time() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let token = ask(&pds, &alice, &[("aud", VIDEO), ("lxm", UPLOAD)]).await.unwrap();
    let claims = check(&pds, &alice, &token, VIDEO, UPLOAD).await;
    assert_eq!((claims.iss.as_str(), claims.exp), (alice.did.as_str(), NOW_S + 60));
    let exp = (NOW_S + 1800).to_string();
    let service = format!("{VIDEO}#video");
    let token = ask(&pds, &alice, &[("aud", &service), ("lxm", UPLOAD), ("exp", &exp)]).await.unwrap();
    assert_eq!(check(&pds, &alice, &token, &service, UPLOAD).await.exp, NOW_S + 1800);

    let far = (NOW_S + 3601).to_string();
    for (params, name) in [
        (vec![("aud", VIDEO), ("lxm", UPLOAD), ("exp", far.as_str())], "BadExpiration"),
        (vec![("aud", VIDEO), ("exp", exp.as_str())], "BadExpiration"),
        (vec![("aud", VIDEO), ("lxm", "com.atproto.server.getsession")], "InvalidRequest"),
        (vec![("aud", "video.example"), ("lxm", UPLOAD)], "InvalidRequest"),
        (vec![("lxm", UPLOAD)], "InvalidRequest"),
    ] {
        assert_eq!(ask(&pds, &alice, &params).await, Err(error(400, name)), "{params:?}");
    }
    assert_eq!(
        pds.get("com.atproto.server.getServiceAuth", &[("aud", VIDEO)]).await.error(),
        error(401, "AuthMissing")
    );
}

#[tokio::test]
async fn no_service_token_is_made_while_the_clock_is_not_trusted() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    pds.sim.distrust();
    assert_eq!(
        ask(&pds, &alice, &[("aud", VIDEO), ("lxm", UPLOAD)]).await,
        Err(error(503, "ClockUntrusted"))
    );
}

async fn upload(pds: &Pds, token: &str) -> crate::harness::Answer {
    let request = pds.http.post(format!("{}/xrpc/{UPLOAD}", pds.url)).bearer_auth(token);
    Pds::read(request.header("content-type", "text/plain").body("bytes").send().await.unwrap()).await
}

#[tokio::test]
async fn blob_is_taken_from_a_service_that_has_the_accounts_token_for_just_that() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let here = "did:web:localhost";
    let token = ask(&pds, &alice, &[("aud", here), ("lxm", UPLOAD)]).await.unwrap();
    let blob = upload(&pds, &token).await.ok();
    assert_eq!(blob["blob"]["size"], 5);

    let other_method =
        ask(&pds, &alice, &[("aud", here), ("lxm", "com.atproto.repo.createRecord")]).await.unwrap();
    assert_eq!(upload(&pds, &other_method).await.error(), error(401, "BadJwtLexiconMethod"));
    let elsewhere = ask(&pds, &alice, &[("aud", VIDEO), ("lxm", UPLOAD)]).await.unwrap();
    assert_eq!(upload(&pds, &elsewhere).await.error(), error(401, "BadJwtAudience"));
    let methodless = ask(&pds, &alice, &[("aud", here)]).await.unwrap();
    assert_eq!(upload(&pds, &methodless).await.error(), error(400, "InvalidToken"));
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let forged = SigningKey::generate().unwrap();
    let method = Nsid::parse(UPLOAD).unwrap();
    let forged = service_jwt::make(&did(&alice.did), here, Some(&method), 60, &forged, now).unwrap();
    assert_eq!(upload(&pds, &forged).await.error(), error(401, "BadJwtSignature"));
    // On a method that takes sessions only, a service token is none.
    let answer = pds.get_as(Some(&token), "com.atproto.server.getSession", &[]).await;
    assert_eq!(answer.error(), error(400, "InvalidToken"));

    pds.sim.advance(Duration::from_secs(61));
    assert_eq!(upload(&pds, &token).await.error(), error(401, "JwtExpired"));
}

#[tokio::test]
async fn token_of_an_account_that_is_not_here_uploads_nothing() {
    let pds = Pds::start().await;
    let (key, rotation) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let handle = Handle::parse("far.example.com").unwrap();
    let (stranger, genesis) = plc::genesis(
        &[rotation.public_key()],
        &key.public_key(),
        &handle,
        "https://far.example.com",
        &rotation,
        now,
    );
    pds.directory.put(&stranger, genesis);
    let method = Nsid::parse(UPLOAD).unwrap();
    let token = service_jwt::make(&stranger, "did:web:localhost", Some(&method), 60, &key, now).unwrap();
    assert_eq!(upload(&pds, &token).await.error(), error(403, "AccountNotFound"));
}

#[tokio::test]
async fn authorization_of_other_kinds_and_shapes_is_refused_by_name() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let call = async |value: String| {
        let url = format!("{}/xrpc/com.atproto.server.getSession", pds.url);
        Pds::read(pds.http.get(url).header("authorization", value).send().await.unwrap()).await
    };
    assert_eq!(call(format!("bEaReR {}", alice.access)).await.status, StatusCode::OK);
    for value in [
        format!("DPoP {}", alice.access),
        format!("Token {}", alice.access),
        format!("Bearer {} x", alice.access),
        alice.access.clone(),
        "Basic YWRtaW46eA==".to_owned(),
    ] {
        assert_eq!(call(value).await.error(), error(400, "InvalidToken"));
    }
}
