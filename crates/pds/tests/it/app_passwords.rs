//! App passwords, and what sessions of each kind may do.

use serde_json::{Value, json};
use store::Status;

use crate::harness::{Account, Answer, Pds, error};

async fn sign_in(pds: &Pds, identifier: &str, password: &str) -> Answer {
    let body = json!({ "identifier": identifier, "password": password });
    pds.post(None, "com.atproto.server.createSession", &body).await
}

/// The scope in a session token.
fn scope_of(session: &Value) -> String {
    let token = session["accessJwt"].as_str().unwrap();
    let payload = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["scope"].as_str().unwrap().to_owned()
}

async fn app_password(pds: &Pds, account: &Account, name: &str, privileged: bool) -> String {
    let body = json!({ "name": name, "privileged": privileged });
    let made = pds.post(Some(&account.access), "com.atproto.server.createAppPassword", &body).await.ok();
    assert_eq!((&made["name"], &made["privileged"]), (&json!(name), &json!(privileged)));
    made["password"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_app_password_opens_its_own_kind_of_session_and_refreshing_keeps_the_kind() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let bot = app_password(&pds, &alice, "bot", false).await;
    pds.sim.advance(std::time::Duration::from_secs(1));
    let phone = app_password(&pds, &alice, "phone", true).await;
    for (password, scope) in [(&bot, "com.atproto.appPass"), (&phone, "com.atproto.appPassPrivileged")] {
        for identifier in [alice.handle.as_str(), alice.did.as_str(), "alice.test@example.org"] {
            assert_eq!(scope_of(&sign_in(&pds, identifier, password).await.ok()), scope, "{identifier}");
        }
        let session = sign_in(&pds, "alice.test", password).await.ok();
        let refresh = session["refreshJwt"].as_str().unwrap();
        let next = pds.call(refresh, "com.atproto.server.refreshSession").await.ok();
        assert_eq!(scope_of(&next), scope);
        let again = pds.call(refresh, "com.atproto.server.refreshSession").await.ok();
        assert_eq!(scope_of(&again), scope, "also within the grace time");

        let access = next["accessJwt"].as_str().unwrap();
        pds.get_as(Some(access), "com.atproto.server.getSession", &[]).await.ok();
        let refused =
            pds.post(Some(access), "com.atproto.server.createAppPassword", &json!({ "name": "x" })).await;
        assert_eq!(refused.error(), error(400, "InvalidToken"));
        let list = pds.get_as(Some(access), "com.atproto.server.listAppPasswords", &[]).await.ok();
        let names: Vec<&str> =
            list["passwords"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["phone", "bot"], "the newest first");
        assert!(list["passwords"][0]["password"].is_null());
    }
    assert_eq!(
        sign_in(&pds, "alice.test", &bot.to_uppercase()).await.error(),
        error(401, "AuthenticationRequired")
    );
    let bob = pds.account("bobby").await;
    assert_eq!(sign_in(&pds, &bob.handle, &bot).await.error(), error(401, "AuthenticationRequired"));
}

#[tokio::test]
async fn revoking_an_app_password_ends_its_sessions_and_no_others() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let bot = app_password(&pds, &alice, "bot", false).await;
    let refresh = async |session: &Value| {
        pds.call(session["refreshJwt"].as_str().unwrap(), "com.atproto.server.refreshSession").await
    };
    let session = sign_in(&pds, "alice.test", &bot).await.ok();
    let next = refresh(&session).await.ok();
    for _ in 0..2 {
        let body = json!({ "name": "bot" });
        pds.post(Some(&alice.access), "com.atproto.server.revokeAppPassword", &body).await.ok();
    }
    assert_eq!(refresh(&session).await.error(), error(400, "ExpiredToken"));
    assert_eq!(refresh(&next).await.error(), error(400, "ExpiredToken"));
    assert_eq!(sign_in(&pds, "alice.test", &bot).await.error(), error(401, "AuthenticationRequired"));
    assert!(pds.call(&alice.refresh, "com.atproto.server.refreshSession").await.status.is_success());
    let none = pds.get_as(Some(&alice.access), "com.atproto.server.listAppPasswords", &[]).await.ok();
    assert_eq!(none["passwords"], json!([]));
}

#[tokio::test]
async fn names_of_app_passwords_are_checked() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    app_password(&pds, &alice, "bot", false).await;
    let make = async |body: Value| {
        pds.post(Some(&alice.access), "com.atproto.server.createAppPassword", &body).await.error()
    };
    assert_eq!(make(json!({ "name": "bot" })).await, error(400, "InvalidRequest"), "taken");
    assert_eq!(make(json!({ "name": "" })).await, error(400, "InvalidRequest"));
    assert_eq!(make(json!({ "name": "x".repeat(257) })).await, error(400, "InvalidRequest"));
    assert_eq!(make(json!({})).await, error(400, "InvalidRequest"));
    let none = pds.post(None, "com.atproto.server.revokeAppPassword", &json!({ "name": "bot" })).await;
    assert_eq!(none.error(), error(401, "AuthMissing"));
}

#[tokio::test]
async fn an_account_that_was_taken_down_has_a_narrow_door_for_its_owner_only() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let bot = app_password(&pds, &alice, "bot", true).await;
    let did = crate::harness::did(&alice.did);
    pds.with_store(async |store| {
        store.set_status(&did, Status::Takendown).await.unwrap();
    })
    .await;
    assert_eq!(sign_in(&pds, "alice.test", "hunter22").await.error(), error(401, "AccountTakedown"));
    let allowed = async |password: &str| {
        let body = json!({ "identifier": "alice.test", "password": password, "allowTakendown": true });
        pds.post(None, "com.atproto.server.createSession", &body).await
    };
    assert_eq!(allowed(&bot).await.error(), error(401, "AuthenticationRequired"));
    assert_eq!(allowed("wrong").await.error(), error(401, "AuthenticationRequired"));
    let session = allowed("hunter22").await.ok();
    assert_eq!(scope_of(&session), "com.atproto.takendown");
    assert_eq!((&session["active"], &session["status"]), (&json!(false), &json!("takendown")));
    let token = session["accessJwt"].as_str().unwrap();
    let get = async |token: &str| pds.get_as(Some(token), "com.atproto.server.getSession", &[]).await.error();
    assert_eq!(get(token).await, error(400, "InvalidToken"));
    assert_eq!(get(&alice.access).await, error(400, "InvalidRequest"), "a token from before");
    for refresh in [session["refreshJwt"].as_str().unwrap(), &alice.refresh] {
        let refused = pds.call(refresh, "com.atproto.server.refreshSession").await;
        assert_eq!(refused.error(), error(401, "AccountTakedown"));
    }
    for (method, body) in [
        ("createAppPassword", json!({ "name": "x" })),
        ("updateEmail", json!({ "email": "new@example.org" })),
        ("confirmEmail", json!({ "email": "new@example.org", "token": "x" })),
    ] {
        let refused = pds.post(Some(&alice.access), &format!("com.atproto.server.{method}"), &body).await;
        assert_eq!(refused.error(), error(401, "AccountTakedown"), "{method}");
    }
    for method in ["requestEmailConfirmation", "requestEmailUpdate", "requestAccountDelete"] {
        let refused = pds.call(&alice.access, &format!("com.atproto.server.{method}")).await;
        assert_eq!(refused.error(), error(401, "AccountTakedown"), "{method}");
    }
    // Switching off is what an owner may always do.
    pds.post(Some(token), "com.atproto.server.deactivateAccount", &json!({})).await.ok();
    let status = pds.get("com.atproto.sync.getRepoStatus", &[("did", &alice.did)]).await.ok();
    assert_eq!(status["status"], "takendown");
}

#[tokio::test]
async fn a_token_ends_with_its_account() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let did = crate::harness::did(&alice.did);
    pds.with_store(async |store| store.delete_account(&did).await.unwrap()).await;
    let session = pds.get_as(Some(&alice.access), "com.atproto.server.getSession", &[]).await;
    assert_eq!(session.error(), error(400, "InvalidRequest"));
    let refresh = pds.call(&alice.refresh, "com.atproto.server.refreshSession").await;
    assert_eq!(refresh.error(), error(400, "InvalidRequest"));
    let confirm = pds.call(&alice.access, "com.atproto.server.requestEmailConfirmation").await;
    assert_eq!(confirm.error(), error(403, "AccountNotFound"));
}

#[tokio::test]
async fn nobody_queues_here() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let queue = pds.get_as(Some(&alice.access), "com.atproto.temp.checkSignupQueue", &[]).await.ok();
    assert_eq!(queue, json!({ "activated": true }));
    let nobody = pds.get("com.atproto.temp.checkSignupQueue", &[]).await;
    assert_eq!(nobody.error(), error(401, "AuthMissing"));
}
