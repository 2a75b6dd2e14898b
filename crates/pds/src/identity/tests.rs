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
