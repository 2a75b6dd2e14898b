//! What the operator and the moderation service may do, and nobody else.

use atproto::{
    crypto::SigningKey,
    event::{AccountStatus, Frame, decode_frame},
    plc, service_jwt,
    syntax::{Did, Handle, Nsid},
};
use pds::config::Service;
use serde_json::{Value, json};

use crate::{
    harness::{Account, Answer, NOW_US, PATIENCE, Pds, did, error, rkey_of},
    operator,
};

const UPDATE: &str = "com.atproto.admin.updateSubjectStatus";
const STATUS: &str = "com.atproto.admin.getSubjectStatus";
const INFO: &str = "com.atproto.admin.getAccountInfo";

#[tokio::test]
async fn only_the_right_password_makes_an_operator() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let params = [("did", alice.did.as_str())];
    assert_eq!(operator::get(&pds, INFO, &params).await.ok()["handle"], "alice.test");
    let url = format!("{}/xrpc/{INFO}?did={}", pds.url, alice.did);
    for (name, password) in
        [("admin", "wrong"), ("admin", ""), ("root", operator::PASSWORD), ("admin", "correct")]
    {
        let answer =
            Pds::read(pds.http.get(&url).basic_auth(name, Some(password)).send().await.unwrap()).await;
        assert_eq!(answer.error(), error(401, "AuthenticationRequired"), "{name}:{password}");
    }
    assert_eq!(pds.get(INFO, &params).await.error(), error(401, "AuthenticationRequired"));
    // An account's token is of another kind, and nobody was named as moderation service.
    assert_eq!(pds.get_as(Some(&alice.access), INFO, &params).await.error(), error(401, "UntrustedIss"));
    let password = json!({ "did": alice.did, "password": "new password" });
    let method = "com.atproto.admin.updateAccountPassword";
    assert_eq!(
        pds.post(Some(&alice.access), method, &password).await.error(),
        error(401, "AuthenticationRequired")
    );
}

#[tokio::test]
async fn without_a_password_in_the_settings_nobody_is_the_operator() {
    for set in [None, Some("")] {
        let pds = Pds::start_with(|config| {
            config.admin_password = set.map(|text| pds::config::Secret::new(text.to_owned()));
        })
        .await;
        let body = json!({ "subject": operator::account("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa") });
        for password in ["", operator::PASSWORD] {
            let answer = operator::post_with(&pds, password, UPDATE, &body).await;
            assert_eq!(answer.error(), error(401, "AuthenticationRequired"));
        }
    }
}

#[tokio::test]
async fn guessing_the_operators_password_ends_soon_and_only_for_a_while() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let params = [("did", alice.did.as_str())];
    let url = format!("{}/xrpc/com.atproto.sync.getLatestCommit?did={}", pds.url, alice.did);
    for i in 0..20 {
        // Also where no password is needed: a public method is no place to guess at.
        let request = pds.http.get(&url).basic_auth("admin", Some(i.to_string()));
        assert_eq!(
            Pds::read(request.send().await.unwrap()).await.error(),
            error(401, "AuthenticationRequired")
        );
    }
    let refused = operator::get(&pds, INFO, &params).await;
    assert_eq!(refused.error(), error(429, "RateLimitExceeded"));
    assert!(refused.headers.contains_key("retry-after"));
    assert!(pds.get("com.atproto.sync.getLatestCommit", &params).await.status.is_success());
    pds.sim.advance(std::time::Duration::from_secs(301));
    for _ in 0..30 {
        operator::get(&pds, INFO, &params).await.ok();
    }
}

/// The states that `#account` events announce from a number on, until one is the last that is waited for.
async fn announced(pds: &Pds, cursor: u64, count: usize) -> Vec<Option<AccountStatus>> {
    use futures_util::StreamExt;
    let url = format!("{}/xrpc/com.atproto.sync.subscribeRepos?cursor={cursor}", pds.url);
    let address = pds.url.strip_prefix("http://").unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(url.replacen("http", "ws", 1), stream).await.unwrap();
    let mut states = Vec::new();
    while states.len() < count {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").unwrap().unwrap();
        if !message.is_binary() {
            continue;
        }
        if let Frame::Account { event, .. } = decode_frame(&message.into_data()).unwrap() {
            states.push(event.inactive);
        }
    }
    states
}

async fn sign_in(pds: &Pds, body: Value) -> Answer {
    pds.post(None, "com.atproto.server.createSession", &body).await
}

#[tokio::test]
async fn takedown_ends_sessions_hides_the_account_and_is_undone_without_a_trace() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let written = pds.create_post(&alice, "x").await;
    let params = [("did", alice.did.as_str())];
    let out = operator::take_down(&pds, &operator::account(&alice.did), Some("case 7")).await;
    assert_eq!(out["subject"], operator::account(&alice.did));
    assert_eq!(out["takedown"], json!({ "applied": true, "ref": "case 7" }));
    let status = operator::get(&pds, STATUS, &params).await.ok();
    assert_eq!(status["takedown"], json!({ "applied": true, "ref": "case 7" }));
    assert_eq!(status["deactivated"], json!({ "applied": false }));

    assert_eq!(
        pds.call(&alice.refresh, "com.atproto.server.refreshSession").await.error(),
        error(401, "AccountTakedown")
    );
    let password = json!({ "identifier": alice.did, "password": "hunter22" });
    assert_eq!(sign_in(&pds, password.clone()).await.error(), error(401, "AccountTakedown"));
    let mut allowed = password.clone();
    allowed["allowTakendown"] = json!(true);
    let session = sign_in(&pds, allowed).await.ok();
    assert_eq!((&session["active"], &session["status"]), (&json!(false), &json!("takendown")));
    let token = session["accessJwt"].as_str().unwrap();
    assert_eq!(pds.get("com.atproto.sync.getRepo", &params).await.error(), error(400, "RepoTakendown"));
    let whole = pds.get_as(Some(token), "com.atproto.sync.getRepo", &params).await.bytes();
    assert_eq!(whole, operator::get(&pds, "com.atproto.sync.getRepo", &params).await.bytes());

    // The owner switches the account off underneath: that is what comes to light again.
    let off = pds.post(Some(&alice.access), "com.atproto.server.deactivateAccount", &json!({})).await;
    assert!(off.status.is_success());
    operator::take_account_down(&pds, &alice, Some("BSKY-SUSPEND-3")).await;
    operator::take_account_down(&pds, &alice, None).await;
    let status = operator::get(&pds, STATUS, &params).await.ok();
    assert_eq!(
        (&status["takedown"], &status["deactivated"]),
        (&json!({ "applied": false }), &json!({ "applied": true }))
    );
    let body = json!({ "subject": operator::account(&alice.did), "deactivated": { "applied": false } });
    operator::post(&pds, UPDATE, &body).await.ok();
    // What was signed in before the takedown is not any more.
    assert_eq!(
        pds.call(&alice.refresh, "com.atproto.server.refreshSession").await.error(),
        error(400, "ExpiredToken")
    );
    assert!(sign_in(&pds, password).await.status.is_success());
    let read =
        [("repo", alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", &rkey_of(&written))];
    assert_eq!(pds.get("com.atproto.repo.getRecord", &read).await.ok()["cid"], written["cid"]);
    assert_eq!(
        announced(&pds, 0, 5).await,
        [
            None,
            Some(AccountStatus::Takendown),
            Some(AccountStatus::Suspended),
            Some(AccountStatus::Deactivated),
            None
        ]
    );
}

#[tokio::test]
async fn account_is_not_switched_on_and_taken_down_at_once_nor_made_up() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let call = async |body: Value| operator::post(&pds, UPDATE, &body).await.error();
    let subject = operator::account(&alice.did);
    let on = json!({ "applied": false });
    let down = json!({ "applied": true });
    assert_eq!(
        call(json!({ "subject": subject, "takedown": down, "deactivated": on })).await,
        error(400, "InvalidRequest")
    );
    operator::take_account_down(&pds, &alice, Some("x")).await;
    assert_eq!(call(json!({ "subject": subject, "deactivated": on })).await, error(400, "InvalidRequest"));
    let nobody = operator::account("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(call(json!({ "subject": nobody, "takedown": down })).await, error(400, "NotFound"));
    assert_eq!(call(json!({ "subject": nobody })).await, error(400, "NotFound"));
    let long = json!({ "applied": true, "ref": "x".repeat(1025) });
    assert_eq!(call(json!({ "subject": subject, "takedown": long })).await, error(400, "InvalidRequest"));
    assert_eq!(call(json!({ "subject": { "$type": "a.b#c" } })).await, error(400, "InvalidRequest"));
    for params in [vec![], vec![("blob", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")]] {
        assert_eq!(operator::get(&pds, STATUS, &params).await.error(), error(400, "InvalidRequest"));
    }
    let unknown = [("did", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")];
    assert_eq!(operator::get(&pds, STATUS, &unknown).await.error(), error(400, "NotFound"));
}

#[tokio::test]
async fn hidden_record_is_not_found_but_still_proven() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let (kept, hidden) = (pds.create_post(&alice, "kept").await, pds.create_post(&alice, "hidden").await);
    let uri = hidden["uri"].as_str().unwrap().to_owned();
    let subject = operator::record(&uri, hidden["cid"].as_str().unwrap());
    let rkey = rkey_of(&hidden);
    let of = |key: &'static str| {
        [(key, alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", rkey.as_str())]
    };
    let listed = async || {
        let page = pds.get("com.atproto.repo.listRecords", &of("repo")[..2]).await.ok();
        let uris = page["records"].as_array().unwrap().iter().map(|record| record["uri"].clone());
        uris.collect::<Vec<_>>()
    };
    operator::take_down(&pds, &subject, Some("case 8")).await;
    let get = async || pds.get("com.atproto.repo.getRecord", &of("repo")).await;
    assert_eq!(get().await.error(), error(400, "RecordNotFound"));
    assert_eq!(listed().await, [kept["uri"].clone()]);
    let proof = pds.get("com.atproto.sync.getRecord", &of("did")).await.bytes();
    let cid = atproto::cid::Cid::parse(hidden["cid"].as_str().unwrap()).unwrap();
    assert!(atproto::car::Reader::new(&proof[..]).unwrap().any(|block| block.unwrap().0 == cid));
    let status = operator::get(&pds, STATUS, &[("uri", &uri)]).await.ok();
    assert_eq!((&status["subject"], &status["takedown"]["ref"]), (&subject, &json!("case 8")));
    operator::take_down(&pds, &subject, None).await;
    assert_eq!(get().await.ok()["cid"], hidden["cid"]);
    assert_eq!(listed().await.len(), 2);
    let status = operator::get(&pds, STATUS, &[("uri", &uri)]).await.ok();
    assert_eq!(status["takedown"], json!({ "applied": false }));
}

async fn upload(pds: &Pds, account: &Account) -> Answer {
    let request = pds.http.post(format!("{}/xrpc/com.atproto.repo.uploadBlob", pds.url));
    let request = request.bearer_auth(&account.access).header("content-type", "text/plain");
    Pds::read(request.body("a blob").send().await.unwrap()).await
}

#[tokio::test]
async fn hidden_blob_is_refused_both_ways_until_it_is_restored() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let blob = upload(&pds, &alice).await.ok()["blob"].clone();
    let record = json!({ "$type": "com.example.picture", "picture": blob });
    pds.create(&alice, &record).await.ok();
    let cid = blob["ref"]["$link"].as_str().unwrap();
    let subject = operator::blob(&alice.did, cid);
    let params = [("did", alice.did.as_str()), ("cid", cid)];
    let out = operator::take_down(&pds, &subject, Some("case 9")).await;
    assert_eq!(out["subject"], subject);
    for token in [None, Some(alice.access.as_str())] {
        let answer = pds.get_as(token, "com.atproto.sync.getBlob", &params).await;
        assert_eq!(answer.error(), error(400, "BlobNotFound"));
    }
    assert_eq!(upload(&pds, &alice).await.error(), error(400, "InvalidRequest"));
    assert_eq!(pds.create(&alice, &record).await.error(), error(400, "BlobNotFound"));
    let status = operator::get(&pds, STATUS, &[("did", &alice.did), ("blob", cid)]).await.ok();
    assert_eq!((&status["subject"], &status["takedown"]["ref"]), (&subject, &json!("case 9")));
    operator::take_down(&pds, &subject, None).await;
    assert_eq!(pds.get("com.atproto.sync.getBlob", &params).await.bytes(), b"a blob");
    assert!(upload(&pds, &alice).await.status.is_success());
}

#[tokio::test]
async fn operator_sees_accounts_sets_a_password_and_deletes() {
    let pds = operator::start().await;
    let (alice, bobby) = (pds.account("alice").await, pds.account("bobby").await);
    let info = operator::get(&pds, INFO, &[("did", &alice.did)]).await.ok();
    assert_eq!(
        (&info["email"], &info["indexedAt"], &info["deactivatedAt"]),
        (&json!("alice.test@example.org"), &json!("2026-11-23T02:34:56.789Z"), &Value::Null)
    );
    let nobody = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(operator::get(&pds, INFO, &[("did", nobody)]).await.error(), error(400, "NotFound"));
    let dids = [("dids", alice.did.as_str()), ("dids", nobody), ("dids", bobby.did.as_str())];
    let infos = operator::get(&pds, "com.atproto.admin.getAccountInfos", &dids).await.ok();
    assert_eq!(infos["infos"].as_array().unwrap().len(), 2);

    let set = async |did: &str, password: &str| {
        let body = json!({ "did": did, "password": password });
        operator::post(&pds, "com.atproto.admin.updateAccountPassword", &body).await
    };
    assert!(set(&alice.did, "a new password").await.status.is_success());
    assert_eq!(set(&alice.did, "").await.error(), error(400, "InvalidRequest"));
    assert_eq!(set(&alice.did, &"x".repeat(257)).await.error(), error(400, "InvalidRequest"));
    assert_eq!(set(nobody, "a new password").await.error(), error(400, "NotFound"));
    let old = json!({ "identifier": "alice.test", "password": "hunter22" });
    assert_eq!(sign_in(&pds, old).await.error(), error(401, "AuthenticationRequired"));
    sign_in(&pds, json!({ "identifier": "alice.test", "password": "a new password" })).await.ok();
    assert_eq!(
        pds.call(&alice.refresh, "com.atproto.server.refreshSession").await.error(),
        error(400, "ExpiredToken")
    );

    let delete = async |did: &str| {
        operator::post(&pds, "com.atproto.admin.deleteAccount", &json!({ "did": did })).await
    };
    assert!(delete(&bobby.did).await.status.is_success());
    assert_eq!(delete(&bobby.did).await.error(), error(400, "NotFound"));
    let gone = pds.get("com.atproto.sync.getRepo", &[("did", &bobby.did)]).await;
    assert_eq!(gone.error(), error(400, "RepoNotFound"));
    assert_eq!(announced(&pds, 0, 2).await, [None, Some(AccountStatus::Deleted)]);
}

/// A moderation service with an identity in the directory.
struct Moderator {
    did: Did,
    key: SigningKey,
    labeling: SigningKey,
}

impl Moderator {
    fn token(&self, issuer: &str, audience: &str, method: &str, key: &SigningKey) -> String {
        let encode = |value: Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let claims = json!({
            "iss": issuer, "aud": audience, "lxm": method, "exp": NOW_US / 1_000_000 + 60, "jti": "1",
        });
        let signed = format!("{}.{}", encode(json!({ "typ": "JWT", "alg": "ES256K" })), encode(claims));
        let signature = data_encoding::BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

#[tokio::test]
async fn moderation_service_takes_down_by_token_for_just_that_method() {
    let (key, labeling, rotation) =
        (SigningKey::generate().unwrap(), SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let handle = Handle::parse("mod.example.com").unwrap();
    let url = "https://mod.example.com";
    let mut state = plc::State::for_account(&[rotation.public_key()], &key.public_key(), &handle, url);
    state
        .verification_methods
        .insert("atproto_label".to_owned(), atproto::didkey::format_did_key(&labeling.public_key()));
    let genesis = state.sign(None, &rotation, now);
    let did = genesis.did();
    let service = Service { url: url.to_owned(), did: did.to_string() };
    let pds = operator::start_with(|config| config.moderation_service = Some(service)).await;
    pds.directory.put(&did, genesis);
    let moderator = Moderator { did, key, labeling };
    let alice = pds.account("alice").await;

    let here = "did:web:localhost";
    let plain = moderator.did.to_string();
    let labeler = format!("{plain}#atproto_labeler");
    let body = json!({ "subject": operator::account(&alice.did), "takedown": { "applied": true } });
    let call = async |token: String| pds.post(Some(&token), UPDATE, &body).await;
    for (token, name) in [
        (moderator.token(&plain, here, STATUS, &moderator.key), "BadJwtLexiconMethod"),
        (moderator.token(&plain, "did:web:other.test", UPDATE, &moderator.key), "BadJwtAudience"),
        (moderator.token(&plain, here, UPDATE, &moderator.labeling), "BadJwtSignature"),
        (moderator.token(&labeler, here, UPDATE, &moderator.key), "BadJwtSignature"),
        (moderator.token(&format!("{plain}#atproto_pds"), here, UPDATE, &moderator.key), "UntrustedIss"),
        (moderator.token(&alice.did, here, UPDATE, &moderator.key), "UntrustedIss"),
    ] {
        assert_eq!(call(token).await.error(), error(401, name));
    }
    let own = service_jwt::make(
        &self::did(&plain),
        here,
        Some(&Nsid::parse("com.atproto.admin.deleteAccount").unwrap()),
        60,
        &moderator.key,
        now,
    );
    let delete = json!({ "did": alice.did });
    let refused = pds.post(Some(&own.unwrap()), "com.atproto.admin.deleteAccount", &delete).await;
    assert_eq!(refused.error(), error(401, "AuthenticationRequired"), "what only the operator may");
    call(moderator.token(&plain, here, UPDATE, &moderator.key)).await.ok();
    call(moderator.token(&labeler, here, UPDATE, &moderator.labeling)).await.ok();
    let status = operator::get(&pds, STATUS, &[("did", &alice.did)]).await.ok();
    assert_eq!(status["takedown"], json!({ "applied": true, "ref": "2026-11-23T02:34:56.789Z" }));
}

#[tokio::test]
async fn invite_codes_are_made_listed_and_disabled() {
    let pds = operator::start_with(|config| config.invite_required = true).await;
    let join = async |name: &str, code: &str| {
        let body = json!({
            "handle": format!("{name}.test"), "email": format!("{name}@example.org"), "password": "hunter22",
            "inviteCode": code,
        });
        pds.post(None, "com.atproto.server.createAccount", &body).await
    };
    let call = async |method: &str, body: Value| operator::post(&pds, method, &body).await;
    let made = call("com.atproto.server.createInviteCode", json!({ "useCount": 1 })).await.ok();
    let code = made["code"].as_str().unwrap().to_owned();
    assert!(code.starts_with("localhost-"), "{code}");
    let did = join("alice", &code).await.ok()["did"].as_str().unwrap().to_owned();
    assert_eq!(join("bobby", &code).await.error(), error(400, "InvalidInviteCode"));

    let many = json!({ "codeCount": 2, "useCount": 1, "forAccounts": [did] });
    let made = call("com.atproto.server.createInviteCodes", many).await.ok();
    assert_eq!(made["codes"][0]["account"], did.as_str());
    let own: Vec<String> = serde_json::from_value(made["codes"][0]["codes"].clone()).unwrap();
    for body in [
        json!({ "codeCount": 1001, "useCount": 1 }),
        json!({ "codeCount": 1, "useCount": -1 }),
        json!({ "codeCount": 1, "useCount": 1, "forAccounts": ["admin"] }),
    ] {
        let answer = call("com.atproto.server.createInviteCodes", body).await;
        assert_eq!(answer.error(), error(400, "InvalidRequest"));
    }

    let info = operator::get(&pds, INFO, &[("did", &did)]).await.ok();
    assert_eq!(info["invitedBy"]["code"], code.as_str());
    assert_eq!(info["invitedBy"]["uses"][0]["usedBy"], did.as_str());
    assert_eq!(info["invites"].as_array().unwrap().len(), 2);
    let page = async |params: &[(&str, &str)]| {
        operator::get(&pds, "com.atproto.admin.getInviteCodes", params).await.ok()
    };
    let first = page(&[("sort", "usage"), ("limit", "1")]).await;
    assert_eq!(first["codes"][0]["code"], code.as_str());
    let cursor = first["cursor"].as_str().unwrap();
    let rest = page(&[("sort", "usage"), ("cursor", cursor)]).await;
    assert_eq!(rest["codes"].as_array().unwrap().len(), 2);
    let wrong = operator::get(&pds, "com.atproto.admin.getInviteCodes", &[("sort", "age")]).await;
    assert_eq!(wrong.error(), error(400, "InvalidRequest"));

    let disable = "com.atproto.admin.disableInviteCodes";
    assert_eq!(call(disable, json!({ "accounts": ["admin"] })).await.error(), error(400, "InvalidRequest"));
    assert!(call(disable, json!({ "codes": [own[0]] })).await.status.is_success());
    assert_eq!(join("bobby", &own[0]).await.error(), error(400, "InvalidInviteCode"));
    // A giver who is taken down invites nobody.
    operator::take_down(&pds, &operator::account(&did), Some("x")).await;
    assert_eq!(join("bobby", &own[1]).await.error(), error(400, "InvalidInviteCode"));
    operator::take_down(&pds, &operator::account(&did), None).await;
    join("bobby", &own[1]).await.ok();
    assert!(call(disable, json!({ "accounts": [did] })).await.status.is_success());

    let note = json!({ "account": did, "note": "sells them" });
    assert!(call("com.atproto.admin.disableAccountInvites", note).await.status.is_success());
    let info = operator::get(&pds, INFO, &[("did", &did)]).await.ok();
    assert_eq!((&info["invitesDisabled"], &info["inviteNote"]), (&json!(true), &json!("sells them")));
    assert_eq!(info["invites"][1]["disabled"], true);
    let enable = json!({ "account": did });
    assert!(call("com.atproto.admin.enableAccountInvites", enable).await.status.is_success());
    assert_eq!(operator::get(&pds, INFO, &[("did", &did)]).await.ok()["invitesDisabled"], false);
}

#[tokio::test]
async fn operator_sets_an_address_and_hears_plainly_that_no_mail_goes_out() {
    let pds = operator::start().await;
    let (alice, bobby) = (pds.account("alice").await, pds.account("bobby").await);
    let set = async |account: &str, email: &str| {
        let body = json!({ "account": account, "email": email });
        operator::post(&pds, "com.atproto.admin.updateAccountEmail", &body).await
    };
    assert!(set("alice.test", "New@Example.org").await.status.is_success());
    let info = operator::get(&pds, INFO, &[("did", &alice.did)]).await.ok();
    assert_eq!(info["email"], "new@example.org");
    assert_eq!(set(&bobby.did, "new@example.org").await.error(), error(400, "InvalidRequest"));
    assert_eq!(set(&bobby.did, "no address").await.error(), error(400, "InvalidRequest"));
    assert_eq!(set("nobody.test", "b@example.org").await.error(), error(400, "InvalidRequest"));
    let mail = json!({ "recipientDid": alice.did, "senderDid": "did:web:localhost", "content": "Hello" });
    let answer = operator::post(&pds, "com.atproto.admin.sendEmail", &mail).await;
    assert_eq!(answer.error(), error(501, "MethodNotImplemented"));
}

#[tokio::test]
async fn operator_changes_a_handle_at_the_directory_and_may_give_reserved_ones() {
    let pds = operator::start().await;
    let (alice, bobby) = (pds.account("alice").await, pds.account("bobby").await);
    let set = async |did: &str, handle: &str| {
        let body = json!({ "did": did, "handle": handle });
        operator::post(&pds, "com.atproto.admin.updateAccountHandle", &body).await
    };
    assert!(set(&alice.did, "admin.test").await.status.is_success());
    let resolved = pds.get("com.atproto.identity.resolveHandle", &[("handle", "admin.test")]).await.ok();
    assert_eq!(resolved["did"], alice.did.as_str());
    let described = pds.get("com.atproto.repo.describeRepo", &[("repo", &alice.did)]).await.ok();
    assert_eq!(described["handleIsCorrect"], true);
    assert_eq!(set(&bobby.did, "admin.test").await.error(), error(400, "HandleNotAvailable"));
    assert_eq!(set(&bobby.did, "b.test").await.error(), error(400, "InvalidHandle"));
    assert_eq!(set(&bobby.did, "bobby.example.com").await.error(), error(400, "InvalidRequest"));
    let nobody = set("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "carol.test").await;
    assert_eq!(nobody.error(), error(400, "NotFound"));
}

#[tokio::test]
async fn failures_to_sign_in_look_alike_whatever_the_account_is() {
    let pds = operator::start().await;
    let (alice, bobby) = (pds.account("alice").await, pds.account("bobby").await);
    let name = json!({ "name": "app" });
    let made = pds.post(Some(&bobby.access), "com.atproto.server.createAppPassword", &name).await.ok();
    let app_password = made["password"].as_str().unwrap().to_owned();
    sign_in(&pds, json!({ "identifier": bobby.did, "password": app_password })).await.ok();
    operator::take_account_down(&pds, &bobby, Some("case 7")).await;
    let long = "x".repeat(600);
    let mut bodies = Vec::new();
    for (identifier, password) in [
        (alice.did.as_str(), "wrong"),
        ("nobody.test", "wrong"),
        ("nobody@example.org", "wrong"),
        (bobby.did.as_str(), "wrong"),
        // Known, right, and still the same answer: an app does not get in where its owner was put out.
        (bobby.did.as_str(), app_password.as_str()),
        (alice.did.as_str(), long.as_str()),
    ] {
        let begun = std::time::Instant::now();
        let body = json!({ "identifier": identifier, "password": password, "allowTakendown": true });
        let answer = sign_in(&pds, body).await;
        assert!(begun.elapsed() >= std::time::Duration::from_millis(350), "{identifier}");
        assert_eq!(answer.error(), error(401, "AuthenticationRequired"), "{identifier}");
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn answers_end_before_large_records_fill_the_memory() {
    let pds = operator::start().await;
    let alice = pds.account("alice").await;
    let mut cids = Vec::new();
    for i in 0..5 {
        let record = json!({ "$type": "com.example.large", "text": format!("{i}{}", "x".repeat(900_000)) });
        let written = pds.create(&alice, &record).await.ok();
        cids.push(written["cid"].as_str().unwrap().to_owned());
    }
    let of_alice = [("repo", alice.did.as_str()), ("collection", "com.example.large")];
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut params = of_alice.to_vec();
        params.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let answer = pds.get("com.atproto.repo.listRecords", &params).await;
        assert!(answer.body.len() < 4_000_000, "{}", answer.body.len());
        let page = answer.ok();
        let records = page["records"].as_array().unwrap();
        seen.extend(records.iter().map(|record| record["cid"].as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, cids, "nothing is left out");
    let mut params = vec![("did", alice.did.as_str())];
    params.extend(cids.iter().map(|cid| ("cids", cid.as_str())));
    let answer = pds.get("com.atproto.sync.getBlocks", &params).await;
    assert_eq!(answer.error(), error(400, "InvalidRequest"));
    assert!(pds.get("com.atproto.sync.getBlocks", &params[..3]).await.status.is_success());
}
