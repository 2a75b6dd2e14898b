//! Who the client is behind proxies, what one address may hold at a time, readers that fall asleep, and the figures.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Account, Answer, PATIENCE, Pds, error, post};

/// An acceptor of the kind that TLS will be: it shakes hands first, and HTTP runs on another stream than the socket.
struct Handshake;

/// What a client says first.
const HELLO: &[u8] = b"hello";

impl pds::Acceptor for Handshake {
    type Stream = tokio::io::BufStream<TcpStream>;

    async fn accept(&self, mut stream: TcpStream) -> std::io::Result<Self::Stream> {
        let mut hello = [0; HELLO.len()];
        stream.read_exact(&mut hello).await?;
        if hello != HELLO {
            return Err(std::io::Error::other("no hello"));
        }
        Ok(tokio::io::BufStream::new(stream))
    }
}

#[tokio::test]
async fn http_runs_on_whatever_stream_the_acceptor_makes() {
    let dir = tempfile::TempDir::new().unwrap();
    let (clock, _sim) = platform::sim::trusted_clock(crate::harness::NOW_US);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = pds::Config::local(dir.path().to_owned(), address.port(), "http://localhost:1".to_owned());
    let (status, mut watched) = tokio::sync::watch::channel(control::PdsStatus::default());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let platform = pds::Platform::new(clock, None);
    let mut server = tokio::task::JoinSet::new();
    server.spawn(pds::run_with(Handshake, config, platform, listener, status, shutdown.clone()));
    let serving = watched.wait_for(|status| status.state == control::status::PdsState::Serving);
    drop(timeout(PATIENCE, serving).await.expect("in time").unwrap());
    let call = async |hello: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(hello).await.unwrap();
        // The server may have hung up already.
        drop(stream.write_all(b"GET /robots.txt HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await);
        let mut answer = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time"));
        String::from_utf8(answer).unwrap()
    };
    assert!(call(HELLO).await.starts_with("HTTP/1.1 200"));
    assert_eq!(call(b"olleh").await, "");
    shutdown.cancel();
    timeout(PATIENCE, server.join_next()).await.expect("in time").unwrap().unwrap().unwrap();
}

/// Calls as a client that a proxy on this machine names.
async fn get_from(pds: &Pds, forwarded_for: &str, method: &str) -> Answer {
    let request = pds.http.get(format!("{}/xrpc/{method}", pds.url)).header("x-forwarded-for", forwarded_for);
    Pds::read(request.send().await.unwrap()).await
}

fn remaining(answer: &Answer) -> u32 {
    answer.headers["ratelimit-remaining"].to_str().unwrap().parse().unwrap()
}

const DESCRIBE: &str = "com.atproto.server.describeServer";

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limits() {
    let pds = Pds::start().await;
    assert_eq!(remaining(&get_from(&pds, "203.0.113.1", DESCRIBE).await), 2999);
    assert_eq!(remaining(&get_from(&pds, "203.0.113.1", DESCRIBE).await), 2998);
    assert_eq!(remaining(&get_from(&pds, "203.0.113.2", DESCRIBE).await), 2999, "another client");
    // What a client writes itself stands to the left of what the proxy adds.
    assert_eq!(remaining(&get_from(&pds, "198.51.100.7, 203.0.113.1", DESCRIBE).await), 2997, "forged");
    assert_eq!(remaining(&get_from(&pds, "198.51.100.8, 203.0.113.1", DESCRIBE).await), 2996, "forged anew");
}

#[tokio::test]
async fn without_a_trusted_proxy_the_header_counts_for_nothing() {
    let pds = Pds::start_with(|config| config.trusted_proxies.clear()).await;
    assert_eq!(remaining(&get_from(&pds, "203.0.113.1", DESCRIBE).await), 2999);
    assert_eq!(remaining(&get_from(&pds, "203.0.113.2", DESCRIBE).await), 2998);
}

#[tokio::test]
async fn sign_ins_are_counted_by_the_true_client() {
    let pds = Pds::start().await;
    pds.account("alice").await;
    let sign_in = async |from: &str| {
        let body = json!({ "identifier": "alice.test", "password": "hunter22" });
        let request = pds.http.post(format!("{}/xrpc/com.atproto.server.createSession", pds.url)).json(&body);
        Pds::read(request.header("x-forwarded-for", from).send().await.unwrap()).await
    };
    assert_eq!(remaining(&sign_in("203.0.113.1").await), 29);
    assert_eq!(remaining(&sign_in("203.0.113.2").await), 29);
    assert_eq!(remaining(&sign_in("203.0.113.1").await), 28);
}

#[tokio::test]
async fn the_owners_key_lifts_the_limits_and_a_wrong_one_does_not() {
    let key = "a key of the owner's";
    let pds = Pds::start_with(|config| {
        config.rate_limit_bypass_key = Some(pds::config::Secret::new(key.to_owned()));
    })
    .await;
    let call = async |key: &str| {
        let request = pds.http.get(format!("{}/xrpc/{DESCRIBE}", pds.url)).header("x-ratelimit-bypass", key);
        Pds::read(request.send().await.unwrap()).await
    };
    assert!(!call(key).await.headers.contains_key("ratelimit-remaining"));
    assert!(!call(key).await.headers.contains_key("ratelimit-remaining"));
    assert_eq!(remaining(&call("a key of nobody's").await), 2999, "the free calls were not counted");
}

/// Opens a getRepo and reads only the head of its answer; gives the connection and the status.
async fn half_read(pds: &Pds, did: &str, from: &str) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(pds.url.trim_start_matches("http://")).await.unwrap();
    let request = format!(
        "GET /xrpc/com.atproto.sync.getRepo?did={did} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {from}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time").unwrap();
    let status = std::str::from_utf8(&head[9..]).unwrap().parse().unwrap();
    (stream, status)
}

/// An account whose repo does not fit the buffers between server and client.
async fn large_repo(pds: &Pds) -> Account {
    let alice = pds.account("alice").await;
    for _ in 0..12 {
        pds.create(&alice, &json!({ "$type": "com.example.large", "text": "x".repeat(900_000) })).await.ok();
    }
    alice
}

#[tokio::test]
async fn one_address_does_not_get_all_places_for_downloads() {
    let pds = Pds::start_with(|config| config.places.exports_per_address = 3).await;
    let alice = large_repo(&pds).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let (stream, status) = half_read(&pds, &alice.did, "203.0.113.1").await;
        assert_eq!(status, 200);
        held.push(stream);
    }
    let (_refused, status) = half_read(&pds, &alice.did, "203.0.113.1").await;
    assert_eq!(status, 429);
    let (_other, status) = half_read(&pds, &alice.did, "203.0.113.2").await;
    assert_eq!(status, 200, "another address still reads");
    drop(held.pop());
    let freed = async {
        loop {
            let (_stream, status) = half_read(&pds, &alice.did, "203.0.113.1").await;
            if status == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("a place is free once its reader has gone");
}

#[tokio::test]
async fn one_address_does_not_get_all_connections() {
    let pds = Pds::start_with(|config| {
        config.trusted_proxies.clear();
        config.places.connections_per_address = 4;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(open(&pds, "127.0.0.1").await.expect("a place"));
    }
    assert!(open(&pds, "127.0.0.1").await.is_none(), "the fifth is closed");
    assert!(open(&pds, "127.0.0.2").await.is_some(), "another address gets in");
    held.clear();
    let freed = async {
        while open(&pds, "127.0.0.1").await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("places come free");
}

/// Connects from an address of this machine and asks something; none when the server hangs up.
async fn open(pds: &Pds, from: &str) -> Option<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(pds.url.trim_start_matches("http://").parse().unwrap()).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.ok()?;
    let mut head = [0; 12];
    let read = timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time");
    read.ok().map(|_| stream)
}

#[tokio::test]
async fn a_reader_that_falls_asleep_is_let_go_and_a_slow_one_is_not() {
    let stall = Duration::from_secs(2);
    let pds = Pds::start_with(|config| config.places.stall = stall).await;
    let alice = large_repo(&pds).await;
    let (mut asleep, status) = half_read(&pds, &alice.did, "203.0.113.1").await;
    assert_eq!(status, 200);
    // The slow one takes a little, with pauses shorter than the limit, for longer than the limit.
    let slow = tokio::net::TcpSocket::new_v4().unwrap();
    slow.set_recv_buffer_size(16 * 1024).unwrap();
    let mut slow = slow.connect(pds.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let request = format!("GET /xrpc/com.atproto.sync.getRepo?did={} HTTP/1.1\r\nhost: x\r\n\r\n", alice.did);
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut piece = vec![0; 32 * 1024];
    let mut taken = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < 4 * stall {
        tokio::time::sleep(stall / 8).await;
        taken += slow.read_exact(&mut piece).await.expect("a slow reader is served");
    }
    assert!(taken > 0);
    let ended = timeout(PATIENCE, async {
        let mut rest = 0;
        loop {
            match asleep.read(&mut piece).await {
                Ok(0) | Err(_) => return rest,
                Ok(n) => rest += n,
            }
        }
    });
    let rest = ended.await.expect("the server has let it go");
    assert!(rest < 10_000_000, "the sleeper got all of it: {rest}");
}

#[tokio::test]
async fn a_download_that_is_slower_than_any_line_is_broken_off() {
    let pds = Pds::start_with(|config| {
        config.places.export_bytes_per_s_min = 10_000_000_000;
        config.places.export_grace = Duration::ZERO;
    })
    .await;
    let alice = large_repo(&pds).await;
    let (mut stream, status) = half_read(&pds, &alice.did, "203.0.113.1").await;
    assert_eq!(status, 200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time");
    let whole = ended.is_ok() && rest.ends_with(b"0\r\n\r\n");
    assert!(!whole, "half a repo must not look like a whole one");
    let text = String::from_utf8(figures(&pds, &[]).await.bytes()).unwrap();
    assert!(text.contains("perch_exports_stalled_total 1"), "{text}");
}

async fn figures(pds: &Pds, headers: &[(&str, &str)]) -> Answer {
    let mut request = pds.http.get(format!("{}/metrics", pds.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Pds::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn figures_are_for_this_machine_and_name_nobody() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    pds.create_post(&alice, "counted").await;
    pds.create(&alice, &post(&"x".repeat(1_000_000))).await;
    pds.get("com.example.unheard", &[("x", "secret")]).await;
    let text = String::from_utf8(figures(&pds, &[]).await.bytes()).unwrap();
    for line in [
        "perch_requests_total{method=\"com.atproto.repo.createRecord\",status=\"200\"} 1",
        "perch_requests_total{method=\"com.atproto.repo.createRecord\",status=\"413\"} 1",
        "perch_request_duration_seconds_count{method=\"com.atproto.server.createAccount\"} 1",
        "perch_accounts 1",
        "perch_clock_trusted 1",
        "perch_firehose_subscribers 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("perch_database_bytes ") && !text.contains("perch_database_bytes 0\n"), "{text}");
    for private in ["alice", "did:plc", "unheard", "secret", "127.0.0.1"] {
        assert!(!text.contains(private), "{private}\n{text}");
    }
    for header in [("x-forwarded-for", "203.0.113.1"), ("via", "1.1 proxy"), ("forwarded", "for=203.0.113.1")]
    {
        assert_eq!(figures(&pds, &[header]).await.error(), error(404, "NotFound"), "{header:?}");
    }
}

#[tokio::test]
async fn age_assurance_is_answered_here_only_when_switched_on() {
    let off = Pds::start().await;
    let alice = off.account("alice").await;
    let ask = async |pds: &Pds, token: &str| {
        pds.get_as(Some(token), "app.bsky.ageassurance.getState", &[("countryCode", "GB")]).await
    };
    assert!(!ask(&off, &alice.access).await.status.is_success());
    let on = Pds::start_with(|config| config.age_assurance = true).await;
    let alice = on.account("alice").await;
    let state = ask(&on, &alice.access).await.ok();
    assert_eq!(state["state"], json!({ "status": "assured", "access": "full" }));
    assert_eq!(state["metadata"]["accountCreatedAt"], "2026-11-23T02:34:56.789Z");
    let older = on.get_as(Some(&alice.access), "app.bsky.unspecced.getAgeAssuranceState", &[]).await.ok();
    assert_eq!(older["status"], "assured");
    let config = on.get("app.bsky.ageassurance.getConfig", &[]).await.ok();
    assert_eq!(config["regions"], json!([]));
    assert_eq!(on.get("app.bsky.ageassurance.getState", &[("countryCode", "GB")]).await.error().0, 401);
    assert_eq!(on.get_as(Some(&alice.access), "app.bsky.ageassurance.getState", &[]).await.error().0, 400);
}
