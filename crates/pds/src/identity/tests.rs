//! Documents from a host on this machine, and the refusal of hosts inside.

use std::sync::atomic::{AtomicU32, Ordering};

use atproto::{crypto::SigningKey, didkey, service_jwt, syntax::Nsid};
use axum::{Router, http, routing::get};
use platform::sim::SimClock;
use tokio::{net::TcpListener, task::JoinSet};

use super::*;

const NOW_US: u64 = 1_795_401_296_000_000;

/// A host that gives out a `did:web` document with whatever key is set.
struct Host {
    did: Did,
    key: Mutex<SigningKey>,
    broken: Mutex<bool>,
    asked: AtomicU32,
}

impl Host {
    fn answer(&self) -> (http::StatusCode, String) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *self.broken.lock().unwrap() {
            return (http::StatusCode::INTERNAL_SERVER_ERROR, "broken".to_owned());
        }
        let did = &self.did;
        let key = didkey::format_multikey(&self.key.lock().unwrap().public_key());
        let text = format!(
            r##"{{"id":"{did}","verificationMethod":[{{"id":"{did}#atproto","type":"Multikey","publicKeyMultibase":"{key}"}}]}}"##
        );
        (http::StatusCode::OK, text)
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn set_key(&self, seed: u8) {
        *self.key.lock().unwrap() = key(seed);
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32]).unwrap()
}

async fn host(tasks: &mut JoinSet<()>) -> Arc<Host> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Arc::new(Host {
        did: Did::parse(&format!("did:web:localhost%3A{port}")).unwrap(),
        key: Mutex::new(key(1)),
        broken: Mutex::new(false),
        asked: AtomicU32::new(0),
    });
    let shared = Arc::clone(&host);
    let router = Router::new().route("/.well-known/did.json", get(async move || shared.answer()));
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    host
}

fn resolver(dev_mode: bool) -> (Resolver, Arc<SimClock>) {
    let (clock, sim) = platform::sim::trusted_clock(NOW_US);
    let plc = PlcClient::new("http://127.0.0.1:1", dev_mode, clock.clone()).unwrap();
    (Resolver::new(plc, dev_mode, Vec::new(), clock).unwrap(), sim)
}

#[tokio::test]
async fn remembers_documents_and_outlives_a_failing_host() {
    let mut tasks = JoinSet::new();
    let host = host(&mut tasks).await;
    let (resolver, sim) = resolver(true);
    for _ in 0..3 {
        let document = resolver.document(&host.did).await.unwrap();
        assert_eq!(document.atproto_key().unwrap(), key(1).public_key());
    }
    assert_eq!(host.asked(), 1);
    *host.broken.lock().unwrap() = true;
    sim.advance(std::time::Duration::from_secs(1_200));
    assert!(resolver.document(&host.did).await.is_ok());
    assert_eq!(host.asked(), 2);
    sim.advance(std::time::Duration::from_secs(3_600));
    assert!(matches!(resolver.document(&host.did).await, Err(IdentityError::Status { status: 500 })));
    assert!(matches!(resolver.fresh_document(&host.did).await, Err(IdentityError::Status { status: 500 })));
}

#[tokio::test]
async fn looks_a_changed_key_up_but_not_for_ever() {
    let mut tasks = JoinSet::new();
    let host = host(&mut tasks).await;
    let (resolver, sim) = resolver(true);
    let now = || resolver.clock.now().unwrap();
    let method = Nsid::parse("com.atproto.server.createAccount").unwrap();
    let expected = Expected { audience: &["did:web:localhost"], method: &method };
    let token = |seed| {
        service_jwt::make(&host.did, "did:web:localhost", Some(&method), 600, &key(seed), now()).unwrap()
    };

    let good = resolver.verify_service_token(&token(1), &expected, now()).await.unwrap();
    assert_eq!(good.issuer, host.did);
    host.set_key(2);
    // Just asked: not asked again.
    assert!(matches!(
        resolver.verify_service_token(&token(2), &expected, now()).await,
        Err(ServiceTokenError::Token(ServiceJwtError::Signature(_)))
    ));
    assert_eq!(host.asked(), 1);
    sim.advance(std::time::Duration::from_secs(60));
    resolver.verify_service_token(&token(2), &expected, now()).await.unwrap();
    assert_eq!(host.asked(), 2);
}

#[tokio::test]
async fn refuses_hosts_inside_and_unknown_methods() {
    let mut tasks = JoinSet::new();
    let host = host(&mut tasks).await;
    let (resolver, _) = resolver(false);
    let inside = [
        "did:web:localhost",
        "did:web:127.0.0.1",
        "did:web:pi.local",
        "did:web:example.com:path",
        host.did.as_str(),
    ];
    for did in inside {
        let did = Did::parse(did).unwrap();
        assert!(matches!(resolver.document(&did).await, Err(IdentityError::Host)), "{did}");
    }
    let key = Did::parse("did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N").unwrap();
    assert!(matches!(resolver.document(&key).await, Err(IdentityError::Method)));
    assert_eq!(host.asked(), 0);
}

/// A host that answers every path in one hostile way.
async fn hostile(tasks: &mut JoinSet<()>, answer: Router) -> Did {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move { axum::serve(listener, answer).await.unwrap() });
    Did::parse(&format!("did:web:localhost%3A{port}")).unwrap()
}

#[tokio::test]
async fn hostile_hosts_neither_lead_away_nor_flood_nor_hold_up() {
    let mut tasks = JoinSet::new();
    let inside = host(&mut tasks).await;
    let (resolver, _) = resolver(true);
    let target = format!("http://{}/.well-known/did.json", inside.did.identifier().replace("%3A", ":"));
    let redirect = Router::new().fallback(async move || axum::response::Redirect::temporary(&target));
    let did = hostile(&mut tasks, redirect).await;
    let led = resolver.document(&did).await;
    assert!(matches!(led, Err(IdentityError::Status { status: 307 })), "{led:?}");
    assert_eq!(inside.asked(), 0, "redirects are not followed");

    let huge = Router::new().fallback(async || " ".repeat(DOCUMENT_BYTES_MAX + 1));
    let did = hostile(&mut tasks, huge).await;
    let flood = resolver.document(&did).await;
    assert!(matches!(flood, Err(IdentityError::Outbound(OutboundError::TooLarge { .. }))), "{flood:?}");

    let other = Router::new().fallback(async || r#"{"id":"did:web:other.example.com"}"#);
    let did = hostile(&mut tasks, other).await;
    assert!(matches!(resolver.document(&did).await, Err(IdentityError::BadDocument(_))));

    let silent = Router::new().fallback(async || std::future::pending::<String>().await);
    let did = hostile(&mut tasks, silent).await;
    let begun = tokio::time::Instant::now();
    let silence = resolver.document(&did).await;
    assert!(matches!(silence, Err(IdentityError::Outbound(OutboundError::Request(_)))), "{silence:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "given up after ten seconds");
}

#[tokio::test]
async fn a_did_that_is_not_there_is_not_asked_for_again_at_once() {
    let mut tasks = JoinSet::new();
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let missing = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        http::StatusCode::NOT_FOUND
    });
    let did = hostile(&mut tasks, missing).await;
    let (resolver, sim) = resolver(true);
    for _ in 0..3 {
        assert!(resolver.document(&did).await.unwrap_err().is_not_found());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    sim.advance(std::time::Duration::from_secs(31));
    assert!(resolver.document(&did).await.unwrap_err().is_not_found());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// A resolver that finds the host of every handle on this machine, and a name server that knows nothing.
async fn handle_resolver(tasks: &mut JoinSet<()>, handle: &Handle, answer: Router) -> Resolver {
    // The second test to come finds it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (mut resolver, _) = resolver(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move { axum::serve(listener, answer).await.unwrap() });
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    resolver.web = http.resolve(handle.as_str(), address).build().unwrap();
    resolver.handle_scheme = "http";
    let names = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    resolver.dns = TxtLookup::new(vec![names.local_addr().unwrap()], resolver.clock.clone());
    tasks.spawn(async move {
        let mut question = [0; 512];
        loop {
            let (len, from) = names.recv_from(&mut question).await.unwrap();
            // The question comes back as an answer that says: no such name.
            question[2] |= 0x80;
            question[3] = (question[3] & 0xf0) | 3;
            names.send_to(&question[..len], from).await.unwrap();
        }
    });
    resolver
}

#[tokio::test]
async fn handle_is_found_at_its_host_when_dns_knows_nothing() {
    let mut tasks = JoinSet::new();
    let handle = Handle::parse("alice.example.com").unwrap();
    let path = "/.well-known/atproto-did";
    let named = Router::new().route(path, get(async || "did:web:alice.example.com\n"));
    let resolver = handle_resolver(&mut tasks, &handle, named).await;
    let found = resolver.fresh_handle(&handle).await.unwrap().unwrap();
    assert_eq!(found.as_str(), "did:web:alice.example.com");

    let huge = Router::new().route(path, get(async || "did:web:x.example.com".repeat(200)));
    let page = Router::new().fallback(async || "<html>not found</html>");
    let elsewhere =
        Router::new().fallback(async || axum::response::Redirect::temporary("https://example.com/"));
    for (what, answer) in [("huge", huge), ("a page", page), ("elsewhere", elsewhere)] {
        let resolver = handle_resolver(&mut tasks, &handle, answer).await;
        assert!(resolver.fresh_handle(&handle).await.unwrap().is_none(), "{what}");
    }
    let broken = Router::new().fallback(async || http::StatusCode::BAD_GATEWAY);
    let resolver = handle_resolver(&mut tasks, &handle, broken).await;
    assert!(matches!(resolver.fresh_handle(&handle).await, Err(HandleError::Unavailable { status: 502 })));
}
