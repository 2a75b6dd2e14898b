//! Handles, DIDs and PLC operations of accounts that exist, and identities of the kind `did:web`.

use std::sync::{Arc, Mutex};

use atproto::{
    crypto::{PublicKey, SigningKey},
    did_doc::DidDocument,
    didkey,
    event::Frame,
    plc::{Service, Signed, State},
    service_jwt,
    syntax::{Handle, Nsid},
};
use axum::{Router, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    dns::{self, Dns},
    firehose::Subscriber,
    harness::{Account, Answer, NOW_US, Pds, did, error},
    plc::Mood,
};

const PUBLIC_URL: &str = "http://localhost:2583";

async fn update_handle(pds: &Pds, account: &Account, handle: &str) -> Answer {
    let body = json!({ "handle": handle });
    pds.post(Some(&account.access), "com.atproto.identity.updateHandle", &body).await
}

async fn resolve(pds: &Pds, handle: &str) -> Answer {
    pds.get("com.atproto.identity.resolveHandle", &[("handle", handle)]).await
}

/// What a route that is not XRPC answers under a host name.
async fn at_host(pds: &Pds, host: &str, path: &str) -> Answer {
    Pds::read(pds.http.get(format!("{}{path}", pds.url)).header("host", host).send().await.unwrap()).await
}

fn state_of(pds: &Pds, account: &Account) -> State {
    pds.directory.log(&account.did).last().unwrap().state().unwrap()
}

fn key_text(key: &PublicKey) -> String {
    didkey::format_did_key(key)
}

/// The kinds of an account's events so far, `identity` with the handle.
async fn events(pds: &Pds, did: &str) -> Vec<String> {
    let sentinel = pds.account(&format!("end{}", pds.directory.count())).await;
    let mut subscriber = Subscriber::new(pds, Some(0)).await;
    let mut kinds = Vec::new();
    loop {
        let (of, kind) = match subscriber.frame().await.expect("more events") {
            Frame::Identity { event, .. } => (event.did, format!("identity {}", event.handle.unwrap())),
            Frame::Account { event, .. } => {
                let status = event.inactive.map_or("active", |status| status.as_str());
                (event.did, format!("account {status}"))
            }
            Frame::Commit { event, .. } => (event.did, "commit".to_owned()),
            Frame::Sync { event, .. } => (event.did, "sync".to_owned()),
            other => panic!("{other:?}"),
        };
        if of.as_str() == sentinel.did && kind == "sync" {
            return kinds;
        }
        if of.as_str() == did {
            kinds.push(kind);
        }
    }
}

const BIRTH: [&str; 4] = ["identity alice.test", "account active", "commit", "sync"];

#[tokio::test]
async fn handle_changes_at_the_directory_then_here_and_is_announced() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    update_handle(&pds, &alice, "@Wonder.test").await.ok();
    assert_eq!(pds.directory.log(&alice.did).len(), 2);
    assert_eq!(state_of(&pds, &alice).also_known_as, ["at://wonder.test"]);
    assert_eq!(resolve(&pds, "wonder.test").await.ok()["did"], alice.did.as_str());
    assert_eq!(resolve(&pds, "alice.test").await.error(), error(400, "HandleNotFound"));
    assert_eq!(at_host(&pds, "wonder.test", "/.well-known/atproto-did").await.bytes(), alice.did.as_bytes());
    assert_eq!(at_host(&pds, "alice.test", "/.well-known/atproto-did").await.status, 404);
    // The same again makes no operation, but tells the network once more.
    update_handle(&pds, &alice, "wonder.test").await.ok();
    assert_eq!(pds.directory.log(&alice.did).len(), 2);
    let told = [&BIRTH[..], &["identity wonder.test", "identity wonder.test"]].concat();
    assert_eq!(events(&pds, &alice.did).await, told);
    // The old name is free.
    let bobby = pds.account("bobby").await;
    update_handle(&pds, &bobby, "alice.test").await.ok();
}

#[tokio::test]
async fn handle_changes_are_refused_by_name_and_limited() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    pds.account("bobby").await;
    for (handle, name) in [
        ("bobby.test", "HandleNotAvailable"),
        ("admin.test", "HandleNotAvailable"),
        ("al.test", "InvalidHandle"),
        ("a.b.test", "InvalidHandle"),
        ("not a handle", "InvalidRequest"),
        ("alice.local", "InvalidHandle"),
        ("nobody.example.com", "InvalidRequest"),
    ] {
        assert_eq!(update_handle(&pds, &alice, handle).await.error(), error(400, name), "{handle}");
    }
    let body = json!({ "handle": "other.test" });
    let unsigned = pds.post(None, "com.atproto.identity.updateHandle", &body).await;
    assert_eq!(unsigned.error(), error(401, "AuthMissing"));
    let nameless = pds.post(Some(&alice.access), "com.atproto.identity.updateHandle", &json!({})).await;
    assert_eq!(nameless.error(), error(400, "InvalidRequest"));
    for _ in 0..3 {
        update_handle(&pds, &alice, "alice.test").await.ok();
    }
    assert_eq!(update_handle(&pds, &alice, "alice.test").await.error(), error(429, "RateLimitExceeded"));
    assert_eq!(pds.directory.log(&alice.did).len(), 1);
}

async fn with_dns() -> (Pds, Dns, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let dns = Dns::default();
    let address = dns.start(&mut tasks).await;
    let pds = Pds::start_with(|config| config.dns_servers = vec![address]).await;
    (pds, dns, tasks)
}

#[tokio::test]
async fn own_domain_becomes_a_handle_once_its_dns_names_the_did() {
    let (pds, dns, _tasks) = with_dns().await;
    let alice = pds.account("alice").await;
    let refused = error(400, "InvalidRequest");
    assert_eq!(update_handle(&pds, &alice, "alice.example.com").await.error(), refused);
    dns.set("_atproto.alice.example.com", &["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz"]);
    assert_eq!(update_handle(&pds, &alice, "alice.example.com").await.error(), refused);
    dns.set("_atproto.alice.example.com", &[&format!("did={}", alice.did), "did=did:web:other.example.com"]);
    assert_eq!(
        update_handle(&pds, &alice, "alice.example.com").await.error(),
        refused,
        "two answers are none"
    );
    dns.set("_atproto.alice.example.com", &["v=spf1 -all", &format!("did={}", alice.did)]);
    dns.set_mood(dns::Mood::Fails);
    assert_eq!(update_handle(&pds, &alice, "alice.example.com").await.error(), refused);
    dns.set_mood(dns::Mood::Fair);
    update_handle(&pds, &alice, "alice.example.com").await.ok();
    assert_eq!(state_of(&pds, &alice).also_known_as, ["at://alice.example.com"]);
    assert_eq!(resolve(&pds, "alice.example.com").await.ok()["did"], alice.did.as_str());
}

#[tokio::test]
async fn foreign_handles_are_resolved_and_remembered() {
    let (pds, dns, _tasks) = with_dns().await;
    let theirs = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
    dns.set("_atproto.jay.example.com", &[&format!("did={theirs}")]);
    assert_eq!(resolve(&pds, "Jay.example.com").await.ok()["did"], theirs);
    let asked = dns.asked();
    dns.set_mood(dns::Mood::Fails);
    assert_eq!(resolve(&pds, "jay.example.com").await.ok()["did"], theirs);
    assert_eq!(dns.asked(), asked, "remembered");
    // Old, but better than nothing while nobody answers; not for ever.
    pds.sim.advance(std::time::Duration::from_secs(1_200));
    assert_eq!(resolve(&pds, "jay.example.com").await.ok()["did"], theirs);
    assert!(dns.asked() > asked);
    pds.sim.advance(std::time::Duration::from_secs(7_200));
    assert_eq!(resolve(&pds, "jay.example.com").await.error(), error(400, "HandleNotFound"));
    // That nobody answered is remembered for a moment only.
    dns.set_mood(dns::Mood::Fair);
    assert_eq!(resolve(&pds, "jay.example.com").await.error(), error(400, "HandleNotFound"));
    pds.sim.advance(std::time::Duration::from_secs(31));
    assert_eq!(resolve(&pds, "jay.example.com").await.ok()["did"], theirs);
    for (handle, name) in [("nobody.test", "HandleNotFound"), ("no handle", "InvalidRequest")] {
        assert_eq!(resolve(&pds, handle).await.error(), error(400, name), "{handle}");
    }
}

#[tokio::test]
async fn directory_that_is_down_or_refuses_leaves_the_handle_as_it_was() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    pds.directory.set_down(true);
    assert_eq!(update_handle(&pds, &alice, "wonder.test").await.error(), error(502, "UpstreamFailure"));
    pds.directory.set_down(false);
    pds.directory.set_mood(Mood::Refuses);
    assert_eq!(update_handle(&pds, &alice, "wonder.test").await.error(), error(400, "InvalidRequest"));
    pds.directory.set_mood(Mood::Fair);
    assert_eq!(resolve(&pds, "alice.test").await.ok()["did"], alice.did.as_str());
    assert_eq!(events(&pds, &alice.did).await, BIRTH);
    pds.account("wonder").await;
    update_handle(&pds, &alice, "second.test").await.ok();
}

#[tokio::test]
async fn lost_answer_of_the_directory_is_found_out_and_the_change_made_once() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    pds.directory.set_mood(Mood::TakesAndFails);
    assert_eq!(update_handle(&pds, &alice, "wonder.test").await.error(), error(502, "UpstreamFailure"));
    assert_eq!(state_of(&pds, &alice).also_known_as, ["at://wonder.test"], "it did arrive");
    // Meanwhile the name is nobody else's, and no second change begins.
    assert_eq!(pds.try_account("wonder.test").await.error(), error(400, "HandleNotAvailable"));
    assert_eq!(update_handle(&pds, &alice, "third.test").await.error(), error(502, "UpstreamFailure"));

    pds.directory.set_mood(Mood::Fair);
    pds.restart().await;
    pds.until(async |pds| resolve(pds, "wonder.test").await.status.is_success()).await;
    assert_eq!(pds.directory.log(&alice.did).len(), 2, "the same bytes");
    assert_eq!(events(&pds, &alice.did).await, [&BIRTH[..], &["identity wonder.test"]].concat());
}

#[tokio::test]
async fn owner_puts_a_key_of_their_own_before_the_servers() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let mine = SigningKey::generate().unwrap();
    let recommended = "com.atproto.identity.getRecommendedDidCredentials";
    let said = pds.get_as(Some(&alice.access), recommended, &[]).await.ok();
    let server_key = said["rotationKeys"][0].as_str().unwrap().to_owned();
    assert_eq!(said["alsoKnownAs"], json!(["at://alice.test"]));
    assert_eq!(said["verificationMethods"]["atproto"], key_text(&pds.key_of(&alice.did).await));
    assert_eq!(said["services"]["atproto_pds"]["endpoint"], PUBLIC_URL);

    let sign = async |body: &Value| {
        pds.post(Some(&alice.access), "com.atproto.identity.signPlcOperation", body).await
    };
    let keys = [key_text(&mine.public_key()), server_key.clone()];
    assert_eq!(sign(&json!({ "rotationKeys": keys })).await.error(), error(400, "InvalidRequest"));
    let wrong = json!({ "token": "AAAAA-AAAAA", "rotationKeys": keys });
    assert_eq!(sign(&wrong).await.error(), error(400, "InvalidToken"));
    let request = "com.atproto.identity.requestPlcOperationSignature";
    assert!(pds.call(&alice.access, request).await.status.is_success());
    let body = json!({ "token": pds.screen.code(), "rotationKeys": keys });
    // A directory that does not answer costs no code.
    pds.directory.set_down(true);
    assert_eq!(sign(&body).await.error(), error(502, "UpstreamFailure"));
    pds.directory.set_down(false);
    let signed = sign(&body).await.ok();
    assert_eq!(sign(&body).await.error(), error(400, "InvalidToken"), "a code works once");

    submit(&pds, &alice, &signed["operation"]).await.ok();
    assert_eq!(state_of(&pds, &alice).rotation_keys, keys);
    assert_eq!(events(&pds, &alice.did).await, [&BIRTH[..], &["identity alice.test"]].concat());
    // The server can still change what it has to, and the owner's key can undo it.
    update_handle(&pds, &alice, "wonder.test").await.ok();
    assert_eq!(state_of(&pds, &alice).rotation_keys, keys);
    let log = pds.directory.log(&alice.did);
    assert_eq!(log.last().unwrap().signer(&keys).unwrap(), 1);
    let now = platform::sim::trusted_clock(NOW_US + 1_000_000).0.now().unwrap();
    let undo = log[1].state().unwrap().sign(Some(log[1].cid()), &mine, now);
    assert_eq!(undo.signer(&keys).unwrap(), 0);
}

async fn submit(pds: &Pds, account: &Account, operation: &Value) -> Answer {
    let body = json!({ "operation": operation });
    pds.post(Some(&account.access), "com.atproto.identity.submitPlcOperation", &body).await
}

#[tokio::test]
async fn operations_that_lock_the_account_out_are_refused() {
    let rotation = SigningKey::generate().unwrap();
    let given = rotation.clone();
    let pds = Pds::start_with(|config| config.plc_rotation_key = Some(given)).await;
    let alice = pds.account("alice").await;
    let last = pds.directory.log(&alice.did).pop().unwrap();
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let signed = |change: &dyn Fn(&mut State)| {
        let mut state = last.state().unwrap();
        change(&mut state);
        serde_json::to_value(state.sign(Some(last.cid()), &rotation, now)).unwrap()
    };
    let other = SigningKey::generate().unwrap().public_key();
    let no_type = Service { kind: "Other".to_owned(), endpoint: PUBLIC_URL.to_owned() };
    let bad: [(&str, Value); 7] = [
        ("rotation key", signed(&|s| s.rotation_keys = vec![key_text(&other)])),
        ("service type", signed(&|s| drop(s.services.insert("atproto_pds".to_owned(), no_type.clone())))),
        ("endpoint", signed(&|s| s.set_pds("https://elsewhere.example.com"))),
        ("signing key", signed(&|s| s.set_atproto_key(&other))),
        ("handle", signed(&|s| s.also_known_as.insert(0, "at://first.test".to_owned()))),
        (
            "tombstone",
            serde_json::to_value(atproto::plc::sign_tombstone(last.cid(), &rotation, now)).unwrap(),
        ),
        ("nonsense", json!({ "type": "plc_operation" })),
    ];
    for (what, operation) in &bad {
        assert_eq!(submit(&pds, &alice, operation).await.error(), error(400, "InvalidRequest"), "{what}");
    }
    let forged = last.state().unwrap().sign(Some(last.cid()), &SigningKey::generate().unwrap(), now);
    let forged = serde_json::to_value(forged).unwrap();
    assert_eq!(
        submit(&pds, &alice, &forged).await.error(),
        error(400, "InvalidRequest"),
        "the directory's no"
    );
    assert_eq!(pds.directory.log(&alice.did).len(), 1);
    assert_eq!(events(&pds, &alice.did).await, BIRTH);
    // Further names and keys are the owner's affair.
    let more = signed(&|s| s.also_known_as.push("https://alice.example.com".to_owned()));
    submit(&pds, &alice, &more).await.ok();
    // Sent twice it is taken once.
    submit(&pds, &alice, &more).await.ok();
    assert_eq!(pds.directory.log(&alice.did).len(), 2);
}

#[tokio::test]
async fn keys_of_the_settings_stand_in_new_identities_and_an_older_one_still_signs() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let [rotation, recovery, own] = [(); 3].map(|()| SigningKey::generate().unwrap());
    let (set, operators) = (rotation.clone(), recovery.public_key());
    pds.restart_with(|config| {
        config.plc_rotation_key = Some(set);
        config.recovery_key = Some(operators);
    })
    .await;
    update_handle(&pds, &alice, "wonder.test").await.ok();
    assert_eq!(state_of(&pds, &alice).also_known_as, ["at://wonder.test"]);

    let body = json!({
        "handle": "bobby.test",
        "email": "b@example.org",
        "password": "hunter22",
        "recoveryKey": key_text(&own.public_key()),
    });
    let out = pds.post(None, "com.atproto.server.createAccount", &body).await.ok();
    let state = pds.directory.log(out["did"].as_str().unwrap())[0].state().unwrap();
    assert_eq!(state.rotation_keys, [&own, &recovery, &rotation].map(|key| key_text(&key.public_key())));
    let token = out["accessJwt"].as_str();
    let said = pds.get_as(token, "com.atproto.identity.getRecommendedDidCredentials", &[]).await.ok();
    assert_eq!(said["rotationKeys"], json!([&recovery, &rotation].map(|key| key_text(&key.public_key()))));
}

/// A host that gives out the document of its own `did:web`.
struct Web {
    did: String,
    document: Arc<Mutex<DidDocument>>,
    key: SigningKey,
}

impl Web {
    async fn start(tasks: &mut JoinSet<()>, handle: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let did_text = format!("did:web:localhost%3A{}", listener.local_addr().unwrap().port());
        let key = SigningKey::generate().unwrap();
        let handle = Handle::parse(handle).unwrap();
        let state = State::for_account(&[], &key.public_key(), &handle, "https://old.example.com");
        let document = Arc::new(Mutex::new(DidDocument::from_plc(&did(&did_text), &state)));
        let served = Arc::clone(&document);
        let answer = async move || served.lock().unwrap().to_json();
        let router = Router::new().route("/.well-known/did.json", get(answer));
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { did: did_text, document, key }
    }

    fn set(&self, key: &str, handle: &str, url: &str) {
        let key = didkey::parse_did_key(key).unwrap();
        let state = State::for_account(&[], &key, &Handle::parse(handle).unwrap(), url);
        *self.document.lock().unwrap() = DidDocument::from_plc(&did(&self.did), &state);
    }
}

#[tokio::test]
async fn web_identity_is_brought_along_with_a_promised_key_and_switched_on() {
    let mut tasks = JoinSet::new();
    let pds = Pds::start().await;
    let web = Web::start(&mut tasks, "mover.test").await;
    let reserve = async |body: Value| {
        let out = pds.post(None, "com.atproto.server.reserveSigningKey", &body).await.ok();
        out["signingKey"].as_str().unwrap().to_owned()
    };
    let promised = reserve(json!({ "did": web.did })).await;
    assert_eq!(reserve(json!({ "did": web.did })).await, promised);
    assert_ne!(reserve(json!({})).await, promised);
    let not_a_did = pds.post(None, "com.atproto.server.reserveSigningKey", &json!({ "did": "x" })).await;
    assert_eq!(not_a_did.error(), error(400, "InvalidRequest"));

    let method = Nsid::parse("com.atproto.server.createAccount").unwrap();
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let token =
        service_jwt::make(&did(&web.did), "did:web:localhost", Some(&method), 60, &web.key, now).unwrap();
    let body =
        json!({ "handle": "mover.test", "email": "m@example.org", "password": "hunter22", "did": web.did });
    let create = "com.atproto.server.createAccount";
    assert_eq!(pds.post(None, create, &body).await.error(), error(401, "AuthenticationRequired"));
    let out = pds.post(Some(&token), create, &body).await.ok();
    let mover = Account {
        did: web.did.clone(),
        handle: "mover.test".to_owned(),
        access: out["accessJwt"].as_str().unwrap().to_owned(),
        refresh: out["refreshJwt"].as_str().unwrap().to_owned(),
    };
    assert_eq!(
        resolve(&pds, "mover.test").await.error(),
        error(400, "HandleNotFound"),
        "not yet switched on"
    );
    let said =
        pds.get_as(Some(&mover.access), "com.atproto.identity.getRecommendedDidCredentials", &[]).await.ok();
    assert_eq!(said["verificationMethods"]["atproto"], promised.as_str());
    assert!(said.get("rotationKeys").is_none());
    for method in ["requestPlcOperationSignature", "activateAccount"] {
        let space = if method == "activateAccount" { "server" } else { "identity" };
        let answer = pds.call(&mover.access, &format!("com.atproto.{space}.{method}")).await;
        assert_eq!(answer.error(), error(400, "InvalidRequest"), "{method}");
    }
    assert!(events(&pds, &mover.did).await.is_empty());

    web.set(&promised, "mover.test", PUBLIC_URL);
    assert!(pds.call(&mover.access, "com.atproto.server.activateAccount").await.status.is_success());
    assert_eq!(update_handle(&pds, &mover, "moved.test").await.error(), error(400, "InvalidRequest"));
    web.set(&promised, "moved.test", PUBLIC_URL);
    update_handle(&pds, &mover, "moved.test").await.ok();
    assert_eq!(resolve(&pds, "moved.test").await.ok()["did"], mover.did.as_str());
    let told = ["account active", "identity mover.test", "sync", "identity moved.test"];
    assert_eq!(events(&pds, &mover.did).await, told);
    assert_eq!(pds.directory.log(&mover.did), Vec::<Signed>::new());
}

#[tokio::test]
async fn web_identity_of_this_server_is_given_out_with_its_handle() {
    let mut pds = Pds::start().await;
    let body = |handle: &str, did: &str| json!({ "handle": handle, "did": did, "email": format!("{handle}@example.org"), "password": "hunter22" });
    let create = async |pds: &Pds, handle: &str, did: &str| {
        pds.post(None, "com.atproto.server.createAccount", &body(handle, did)).await
    };
    assert_eq!(create(&pds, "webby.test", "did:web:other.test").await.error(), error(400, "InvalidRequest"));
    let out = create(&pds, "webby.test", "did:web:webby.test").await.ok();
    assert_eq!(out["did"], "did:web:webby.test");
    let webby = Account {
        did: "did:web:webby.test".to_owned(),
        handle: "webby.test".to_owned(),
        access: out["accessJwt"].as_str().unwrap().to_owned(),
        refresh: out["refreshJwt"].as_str().unwrap().to_owned(),
    };
    pds.create_post(&webby, "hello").await;
    let check = pds.get_as(Some(&webby.access), "com.atproto.server.checkAccountStatus", &[]).await.ok();
    assert_eq!((&check["activated"], &check["validDid"]), (&json!(true), &json!(true)));

    let document = at_host(&pds, "webby.test:2583", "/.well-known/did.json").await.bytes();
    let document = DidDocument::parse(&did(&webby.did), &document).unwrap();
    assert_eq!(document.handle().unwrap(), "webby.test");
    assert_eq!(document.pds_endpoint(), Some(PUBLIC_URL));
    let head = pds.get("com.atproto.sync.getRepo", &[("did", &webby.did)]).await.bytes();
    let key = document.atproto_key().unwrap();
    assert!(atproto::repo::verify_repo(&head[..], &did(&webby.did), &key, |_, _| {}).is_ok());
    // Its own tokens are checked without asking the network for its document.
    let params = [("aud", "did:web:localhost"), ("lxm", "com.atproto.repo.uploadBlob")];
    let token = pds.get_as(Some(&webby.access), "com.atproto.server.getServiceAuth", &params).await.ok();
    let upload = pds.http.post(format!("{}/xrpc/com.atproto.repo.uploadBlob", pds.url));
    let upload = upload.bearer_auth(token["token"].as_str().unwrap()).header("content-type", "text/plain");
    Pds::read(upload.body("bytes").send().await.unwrap()).await.ok();

    update_handle(&pds, &webby, "spider.test").await.ok();
    pds.restart().await;
    let document = at_host(&pds, "webby.test", "/.well-known/did.json").await.bytes();
    let document = DidDocument::parse(&did(&webby.did), &document).unwrap();
    assert_eq!(document.handle().unwrap(), "spider.test");
    let bobby = pds.account("bobby").await;
    let taken = update_handle(&pds, &bobby, "webby.test").await;
    assert_eq!(taken.error(), error(400, "HandleNotAvailable"), "a document is served under that name");
    assert_eq!(pds.directory.log(&bobby.did).len(), 1);
    assert_eq!(at_host(&pds, "spider.test", "/.well-known/did.json").await.status, 404);
    let told = ["identity webby.test", "account active", "commit", "sync", "commit", "identity spider.test"];
    assert_eq!(events(&pds, &webby.did).await, told);
}

#[tokio::test]
async fn account_whose_identity_lacks_the_servers_key_is_not_switched_on() {
    let rotation = SigningKey::generate().unwrap();
    let given = rotation.clone();
    let pds = Pds::start_with(|config| config.plc_rotation_key = Some(given)).await;
    let alice = pds.account("alice").await;
    let switch = async |to: &str| pds.call(&alice.access, &format!("com.atproto.server.{to}Account")).await;
    let off = pds.post(Some(&alice.access), "com.atproto.server.deactivateAccount", &json!({})).await;
    assert!(off.status.is_success());
    // Its owner's own key may do without this server, and what it says counts.
    let own = SigningKey::generate().unwrap();
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let last = pds.directory.log(&alice.did).pop().unwrap();
    let mut state = last.state().unwrap();
    state.rotation_keys = vec![key_text(&own.public_key())];
    let gone = state.sign(Some(last.cid()), &rotation, now);
    pds.directory.put(&did(&alice.did), gone.clone());
    let refused = switch("activate").await;
    assert_eq!(refused.error(), error(400, "InvalidRequest"));
    assert_eq!(update_handle(&pds, &alice, "wonder.test").await.error(), error(400, "InvalidRequest"));
    let mut state = gone.state().unwrap();
    state.rotation_keys.push(key_text(&rotation.public_key()));
    pds.directory.put(&did(&alice.did), state.sign(Some(gone.cid()), &own, now));
    assert!(switch("activate").await.status.is_success());
    let told = ["account deactivated", "account active", "identity alice.test", "sync"];
    assert_eq!(events(&pds, &alice.did).await, [&BIRTH[..], &told].concat());
}

#[tokio::test]
async fn service_says_who_it_is_and_for_which_names_it_answers() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let document = at_host(&pds, "localhost:2583", "/.well-known/did.json").await.bytes();
    let document = DidDocument::parse(&did("did:web:localhost"), &document).unwrap();
    assert_eq!(document.pds_endpoint(), Some(PUBLIC_URL));
    assert_eq!(
        at_host(&pds, "alice.test", "/.well-known/did.json").await.status,
        404,
        "her DID is no did:web"
    );
    for (domain, status) in [
        ("localhost", 200),
        (alice.handle.as_str(), 200),
        ("nobody.test", 404),
        ("example.com", 400),
        ("", 400),
    ] {
        let answer = at_host(&pds, "localhost", &format!("/tls-check?domain={domain}")).await;
        assert_eq!(answer.status, status, "{domain}");
    }
    assert_eq!(at_host(&pds, "localhost", "/tls-check").await.status, 400);
}
