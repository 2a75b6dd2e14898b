//! One-time codes by mail and on the box's screen: addresses, passwords, the end of an account.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use control::status::MailState;
use pds::{
    Config,
    config::{Mail, Secret},
};
use platform::{CodeOffer, CodeScreen, DeviceError};
use serde_json::{Value, json};

use crate::{
    harness::{Account, Answer, Pds, error},
    mail_server::{MailServer, Manner},
};

fn mail_by(server: &MailServer) -> impl FnOnce(&mut Config) + use<> {
    let url = format!("smtp://127.0.0.1:{}", server.port);
    move |config| {
        config.mail = Some(Mail { smtp_url: Secret::new(url), from: "perch@example.org".to_owned() });
    }
}

async fn with_mail() -> (Pds, MailServer) {
    let server = MailServer::start(Manner::default()).await;
    (Pds::start_with(mail_by(&server)).await, server)
}

async fn server_call(pds: &Pds, token: Option<&str>, method: &str, body: Value) -> Answer {
    pds.post(token, &format!("com.atproto.server.{method}"), &body).await
}

/// Asks for a code and takes it from the mail.
async fn code_by(pds: &Pds, server: &mut MailServer, account: &Account, method: &str) -> String {
    let before = server.count();
    pds.call(&account.access, &format!("com.atproto.server.{method}")).await.ok();
    server.wait(before + 1).await.code()
}

async fn session(pds: &Pds, account: &Account) -> Value {
    pds.get_as(Some(&account.access), "com.atproto.server.getSession", &[]).await.ok()
}

#[tokio::test]
async fn an_address_is_confirmed_by_the_mailed_code_once_and_in_time() {
    let (pds, mut server) = with_mail().await;
    let alice = pds.account("alice").await;
    let email = "alice.test@example.org";
    let confirm = async |email: &str, token: &str| {
        let body = json!({ "email": email, "token": token });
        server_call(&pds, Some(&alice.access), "confirmEmail", body).await
    };
    assert_eq!(confirm(email, "AAAAA-AAAAA").await.error(), error(400, "InvalidToken"));
    let old = code_by(&pds, &mut server, &alice, "requestEmailConfirmation").await;
    let first = server.wait(1).await;
    assert_eq!((first.to.as_str(), first.login, first.encrypted), (email, None, false));
    let code = code_by(&pds, &mut server, &alice, "requestEmailConfirmation").await;
    assert_eq!(
        confirm(email, &old).await.error(),
        error(400, "InvalidToken"),
        "a newer code voids the older"
    );
    assert_eq!(confirm("other@example.org", &code).await.error(), error(400, "InvalidEmail"));
    pds.sim.advance(Duration::from_secs(15 * 60));
    assert_eq!(confirm(email, &code).await.error(), error(400, "ExpiredToken"));
    let code = code_by(&pds, &mut server, &alice, "requestEmailConfirmation").await;
    assert_eq!(session(&pds, &alice).await["emailConfirmed"], false);
    confirm("Alice.Test@example.org", &code.to_lowercase()).await.ok();
    assert_eq!(session(&pds, &alice).await["emailConfirmed"], true);
    assert_eq!(confirm(email, &code).await.error(), error(400, "InvalidToken"), "used up");
    let nobody = server_call(&pds, None, "requestEmailConfirmation", json!({})).await;
    assert_eq!(nobody.error(), error(401, "AuthMissing"));
}

#[tokio::test]
async fn a_confirmed_address_changes_with_a_code_only() {
    let (pds, mut server) = with_mail().await;
    let alice = pds.account("alice").await;
    pds.account("bobby").await;
    let update = async |body: Value| server_call(&pds, Some(&alice.access), "updateEmail", body).await;
    let request = async || {
        let answer = pds.call(&alice.access, "com.atproto.server.requestEmailUpdate").await;
        answer.ok()["tokenRequired"].as_bool().unwrap()
    };
    assert!(!request().await, "an address that was never confirmed is free to change");
    update(json!({ "email": "First@Example.org" })).await.ok();
    assert_eq!(session(&pds, &alice).await["email"], "first@example.org");
    for wrong in ["nonsense", "x@mailinator.com", "bobby.test@example.org"] {
        assert_eq!(update(json!({ "email": wrong })).await.error(), error(400, "InvalidRequest"), "{wrong}");
    }
    let code = code_by(&pds, &mut server, &alice, "requestEmailConfirmation").await;
    let body = json!({ "email": "first@example.org", "token": code });
    server_call(&pds, Some(&alice.access), "confirmEmail", body).await.ok();

    assert_eq!(update(json!({ "email": "second@example.org" })).await.error(), error(400, "TokenRequired"));
    let wrong = json!({ "email": "second@example.org", "token": "AAAAA-AAAAA" });
    assert_eq!(update(wrong).await.error(), error(400, "InvalidToken"));
    let before = server.count();
    assert!(request().await);
    let mail = server.wait(before + 1).await;
    assert_eq!(mail.to, "first@example.org", "the old address decides");
    update(json!({ "email": "second@example.org", "token": mail.code() })).await.ok();
    let now = session(&pds, &alice).await;
    assert_eq!((&now["email"], &now["emailConfirmed"]), (&json!("second@example.org"), &json!(false)));
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_mail_and_strangers_learn_nothing() {
    let (pds, mut server) = with_mail().await;
    let alice = pds.account("alice").await;
    let request =
        async |email: &str| server_call(&pds, None, "requestPasswordReset", json!({ "email": email })).await;
    let reset = async |token: &str, password: &str| {
        let body = json!({ "token": token, "password": password });
        server_call(&pds, None, "resetPassword", body).await
    };
    let unknown = request("nobody@example.org").await;
    let known = request("ALICE.test@example.org").await;
    assert_eq!((unknown.status, unknown.ok()), (known.status, known.ok()), "both succeed alike");
    let mail = server.wait(1).await;
    assert_eq!((server.count(), mail.to.as_str()), (1, "alice.test@example.org"));
    let code = mail.code();
    assert_eq!(reset("AAAAA-AAAAA", "new password").await.error(), error(400, "InvalidToken"));
    assert_eq!(reset(&code, &"x".repeat(257)).await.error(), error(400, "InvalidRequest"));
    reset(&code, "new password").await.ok();
    assert_eq!(reset(&code, "another").await.error(), error(400, "InvalidToken"));
    let sign_in = async |password: &str| {
        let body = json!({ "identifier": "alice.test", "password": password });
        server_call(&pds, None, "createSession", body).await
    };
    assert_eq!(sign_in("hunter22").await.error(), error(401, "AuthenticationRequired"));
    sign_in("new password").await.ok();
    let refresh = pds.call(&alice.refresh, "com.atproto.server.refreshSession").await;
    assert_eq!(refresh.error(), error(400, "ExpiredToken"), "all sessions ended");

    request("alice.test@example.org").await.ok();
    let late = server.wait(2).await.code();
    pds.sim.advance(Duration::from_secs(15 * 60));
    assert_eq!(reset(&late, "too late").await.error(), error(400, "ExpiredToken"));
}

#[tokio::test]
async fn an_account_is_deleted_with_password_and_code_and_leaves_nothing() {
    let (pds, mut server) = with_mail().await;
    let alice = pds.account("alice").await;
    pds.create_post(&alice, "soon gone").await;
    let delete = async |did: &str, password: &str, token: &str| {
        let body = json!({ "did": did, "password": password, "token": token });
        server_call(&pds, None, "deleteAccount", body).await
    };
    let code = code_by(&pds, &mut server, &alice, "requestAccountDelete").await;
    assert_eq!(delete("did:plc:nobody", "hunter22", &code).await.error(), error(400, "InvalidRequest"));
    assert_eq!(delete(&alice.did, "wrong", &code).await.error(), error(401, "AuthenticationRequired"));
    assert_eq!(
        delete(&alice.did, &"x".repeat(513), &code).await.error(),
        error(401, "AuthenticationRequired")
    );
    assert_eq!(delete(&alice.did, "hunter22", "AAAAA-AAAAA").await.error(), error(400, "InvalidToken"));
    delete(&alice.did, "hunter22", &code).await.ok();
    let gone = pds.get("com.atproto.sync.getRepoStatus", &[("did", &alice.did)]).await;
    assert_eq!(gone.error(), error(400, "RepoNotFound"));
    assert_eq!(delete(&alice.did, "hunter22", &code).await.error(), error(400, "InvalidRequest"));
    // Its key is gone too; files are removed after the answer.
    pds.until(async |pds| std::fs::read_dir(pds.data_dir().join("keys")).unwrap().count() == 0).await;
    // The handle is free again.
    pds.account("alice").await;
}

#[tokio::test]
async fn deletion_at_a_set_time_is_carried_out_but_never_within_three_days() {
    let mut pds = Pds::start().await;
    let (alice, bob) = (pds.account("alice").await, pds.account("bobby").await);
    let body = json!({ "deleteAfter": "2026-11-23T03:00:00Z" });
    for account in [&alice, &bob] {
        server_call(&pds, Some(&account.access), "deactivateAccount", body.clone()).await.ok();
    }
    let bad =
        server_call(&pds, Some(&alice.access), "deactivateAccount", json!({ "deleteAfter": "soon" })).await;
    assert_eq!(bad.error(), error(400, "InvalidRequest"));
    let status = pds.get("com.atproto.sync.getRepoStatus", &[("did", &alice.did)]).await.ok();
    assert_eq!(status["status"], "deactivated");
    // Who comes back in time keeps the account.
    pds.call(&bob.access, "com.atproto.server.activateAccount").await.ok();

    pds.sim.advance(Duration::from_secs(71 * 3600));
    pds.restart().await;
    pds.wait_status(|s| s.accounts == 2).await;
    pds.get("com.atproto.sync.getRepoStatus", &[("did", &alice.did)]).await.ok();
    pds.sim.advance(Duration::from_secs(3600));
    pds.restart().await;
    pds.wait_status(|s| s.accounts == 1 && s.name == "bobby.test").await;
    let gone = pds.get("com.atproto.sync.getRepoStatus", &[("did", &alice.did)]).await;
    assert_eq!(gone.error(), error(400, "RepoNotFound"));
}

#[tokio::test]
async fn a_mail_that_is_not_taken_is_told_to_the_caller_and_the_owner() {
    let server = MailServer::start(Manner { refuses_login: true, ..Manner::default() }).await;
    let mut pds = Pds::start_with(|config| {
        let url = format!("smtp://me:hunter2@127.0.0.1:{}", server.port);
        config.mail = Some(Mail { smtp_url: Secret::new(url), from: "perch@example.org".to_owned() });
    })
    .await;
    // The test of the connection at the start finds it, before anybody needs a code.
    let status = pds.wait_status(|s| matches!(s.mail, MailState::Fails { .. })).await;
    let MailState::Fails { why } = status.mail else { unreachable!() };
    assert!(why.contains("user name and password") && !why.contains("hunter2"), "{why}");
    let alice = pds.account("alice").await;
    let refused = pds.call(&alice.access, "com.atproto.server.requestEmailConfirmation").await;
    assert_eq!(refused.error(), error(502, "UpstreamFailure"));
    let text = String::from_utf8(refused.body).unwrap();
    assert!(text.contains("user name and password") && !text.contains("hunter2"), "{text}");
    for email in ["alice.test@example.org", "nobody@example.org"] {
        let refused = server_call(&pds, None, "requestPasswordReset", json!({ "email": email })).await;
        assert_eq!(refused.error(), error(502, "UpstreamFailure"), "{email}");
    }
    drop(server);
    let unreachable = pds.call(&alice.access, "com.atproto.server.requestAccountDelete").await;
    assert_eq!(unreachable.error(), error(502, "UpstreamFailure"));
}

#[tokio::test]
async fn no_mail_leaves_while_the_clock_is_not_trusted() {
    let (pds, server) = with_mail().await;
    let alice = pds.account("alice").await;
    pds.sim.distrust();
    let refused = pds.call(&alice.access, "com.atproto.server.requestEmailConfirmation").await;
    assert_eq!(refused.error(), error(503, "ClockUntrusted"));
    for (method, body) in [
        ("requestPasswordReset", json!({ "email": "alice.test@example.org" })),
        ("resetPassword", json!({ "token": "AAAAA-AAAAA", "password": "new password" })),
        ("deleteAccount", json!({ "did": alice.did, "password": "hunter22", "token": "x" })),
    ] {
        let refused = server_call(&pds, None, method, body).await;
        assert_eq!(refused.error(), error(503, "ClockUntrusted"), "{method}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn mails_to_one_account_are_limited() {
    let (pds, server) = with_mail().await;
    let alice = pds.account("alice").await;
    let request = async || pds.call(&alice.access, "com.atproto.server.requestAccountDelete").await;
    for _ in 0..5 {
        request().await.ok();
    }
    assert_eq!(request().await.error(), error(429, "RateLimitExceeded"));
    assert_eq!(server.count(), 5);
}

#[tokio::test]
async fn strangers_cannot_fill_a_mailbox_with_codes_nor_void_the_owners() {
    let (pds, mut server) = with_mail().await;
    pds.account("alice").await;
    let request = async || {
        let body = json!({ "email": "alice.test@example.org" });
        server_call(&pds, None, "requestPasswordReset", body).await.ok();
    };
    for count in 1..=5 {
        request().await;
        server.wait(count).await;
    }
    let code = server.wait(5).await.code();
    request().await;
    let body = json!({ "token": code, "password": "new password" });
    server_call(&pds, None, "resetPassword", body).await.ok();
    assert_eq!(server.count(), 5);
}

/// A screen that keeps what it is offered, as the real one does until the button is pressed.
#[derive(Debug, Default)]
struct Screen {
    offered: Mutex<Vec<CodeOffer>>,
    broken: bool,
}

impl CodeScreen for Screen {
    fn offer(&self, offer: CodeOffer) -> Result<(), DeviceError> {
        if self.broken {
            return Err(DeviceError::new("screen", "show a code", std::io::Error::other("unplugged")));
        }
        self.offered.lock().unwrap().push(offer);
        Ok(())
    }
}

#[tokio::test]
async fn without_mail_a_code_waits_at_the_box_and_nowhere_else() {
    let screen = Arc::new(Screen::default());
    let mut pds = Pds::start_on(Some(screen.clone()), |_| {}).await;
    let alice = pds.account("alice").await;
    pds.call(&alice.access, "com.atproto.server.requestEmailConfirmation").await.ok();
    let offer = screen.offered.lock().unwrap().pop().unwrap();
    assert_eq!((offer.account.as_str(), offer.purpose), ("alice.test", "confirm the e-mail address"));
    let code = offer.code.expose().to_owned();
    assert!(!format!("{offer:?}").contains(&code));
    let status = pds.wait_status(|s| s.accounts == 1).await;
    assert_eq!(status.mail, MailState::NotSetUp);
    assert!(!serde_json::to_string(&status).unwrap().contains(&code));
    let body = json!({ "email": "alice.test@example.org", "token": code });
    server_call(&pds, Some(&alice.access), "confirmEmail", body).await.ok();
    // Whoever forgot the password is not signed in: the screen is not for them.
    let body = json!({ "email": "alice.test@example.org" });
    let refused = server_call(&pds, None, "requestPasswordReset", body).await;
    assert_eq!(refused.error(), error(501, "MethodNotImplemented"));
    assert!(screen.offered.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_mail_and_screen_the_error_says_what_to_do() {
    let pds = Pds::start_on(None, |_| {}).await;
    let alice = pds.account("alice").await;
    for method in ["requestEmailConfirmation", "requestAccountDelete"] {
        let refused = pds.call(&alice.access, &format!("com.atproto.server.{method}")).await;
        assert_eq!(refused.error(), error(501, "MethodNotImplemented"), "{method}");
        assert!(String::from_utf8(refused.body).unwrap().contains("smtp_url"));
    }
    let broken = Arc::new(Screen { broken: true, ..Screen::default() });
    let pds = Pds::start_on(Some(broken), |_| {}).await;
    let alice = pds.account("alice").await;
    let refused = pds.call(&alice.access, "com.atproto.server.requestAccountDelete").await;
    assert_eq!(refused.error(), error(502, "UpstreamFailure"));
}

#[tokio::test]
async fn mail_settings_that_cannot_work_stop_the_start() {
    let mut server = Config::local("unused".into(), 1, "http://127.0.0.1:1".to_owned());
    for (url, from, word) in [
        ("mail.example.org", "perch@example.org", "smtp_url"),
        ("smtps://me:p@mail.example.org", "perch", "email_from"),
    ] {
        server.mail = Some(Mail { smtp_url: Secret::new(url.to_owned()), from: from.to_owned() });
        let refused = pds::mail::check(server.mail.as_ref().unwrap()).unwrap_err();
        assert!(refused.to_string().contains(word), "{refused}");
    }
}
