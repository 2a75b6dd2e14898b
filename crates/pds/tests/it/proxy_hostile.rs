//! Servers behind that are broken, slow, endless or out to reach the inside; clients that go away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use atproto::{crypto::SigningKey, plc, syntax::Handle};
use futures_util::{StreamExt, stream};
use pds::config::Service;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use crate::{
    harness::{Account, NOW_US, PATIENCE, Pds, error},
    upstream::{Upstream, raw, say},
};

const SEARCH: &str = "app.bsky.feed.searchPosts";
const MIB: usize = 1024 * 1024;

async fn with_appview(url: String) -> (Pds, Account) {
    let service = Service { url, did: "did:web:api.example.com".to_owned() };
    let pds = Pds::start_with(|config| config.appview = Some(service)).await;
    let alice = pds.account("alice").await;
    (pds, alice)
}

#[tokio::test]
async fn answers_that_are_no_http_are_a_bad_gateway() {
    let huge_header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(MIB)).into_bytes();
    for bytes in [
        Vec::new(),
        b"hello\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_vec(),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec(),
        huge_header,
    ] {
        let mut tasks = JoinSet::new();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let url = raw(&mut tasks, move |stream| say(stream, bytes.clone())).await;
        let (pds, alice) = with_appview(url).await;
        for method in [SEARCH, "app.bsky.feed.getTimeline"] {
            let answer = pds.get_as(Some(&alice.access), method, &[]).await;
            assert_eq!(answer.error(), error(502, "UpstreamFailure"), "{shown}");
        }
    }
}

#[tokio::test]
async fn answer_shorter_than_announced_is_cut_off_and_never_passes_for_whole() {
    let mut tasks = JoinSet::new();
    let short =
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\ncontent-type: application/json\r\n\r\n{\"posts\":[";
    let url = raw(&mut tasks, |stream| say(stream, short.to_vec())).await;
    let (pds, alice) = with_appview(url).await;
    let request = pds.http.get(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.bytes().await.is_err());
}

/// Sends an answer without an end; counts what went out, and tells when the other side has gone.
async fn endless(mut stream: TcpStream, sent: Arc<AtomicUsize>, gone: Arc<Notify>) {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\natproto-repo-rev: 2222222222222\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let chunk = [b"8000\r\n".as_slice(), &[b'x'; 0x8000], b"\r\n"].concat();
    while stream.write_all(&chunk).await.is_ok() {
        sent.fetch_add(0x8000, Ordering::Relaxed);
    }
    gone.notify_one();
}

#[tokio::test]
async fn endless_answer_is_broken_off_at_ten_mebibytes() {
    let (sent, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counter, end) = (Arc::clone(&sent), Arc::clone(&gone));
    let mut tasks = JoinSet::new();
    let url = raw(&mut tasks, move |s| endless(s, Arc::clone(&counter), Arc::clone(&end))).await;
    let (pds, alice) = with_appview(url).await;
    for method in [SEARCH, "app.bsky.feed.getTimeline"] {
        let request = pds.http.get(format!("{}/xrpc/{method}", pds.url)).bearer_auth(&alice.access);
        let mut body = request.send().await.unwrap().bytes_stream();
        let mut got = 0;
        let broken = loop {
            match body.next().await.expect("it does not end well") {
                Ok(piece) => got += piece.len(),
                Err(_) => break true,
            }
        };
        assert!(broken && got <= 10 * MIB && got > 9 * MIB, "{got}");
        timeout(PATIENCE, gone.notified()).await.expect("the server behind is let go");
    }
}

#[tokio::test]
async fn client_that_goes_away_takes_its_call_with_it() {
    let (sent, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counter, end) = (Arc::clone(&sent), Arc::clone(&gone));
    let mut tasks = JoinSet::new();
    let url = raw(&mut tasks, move |s| endless(s, Arc::clone(&counter), Arc::clone(&end))).await;
    let (pds, alice) = with_appview(url).await;
    let request = pds.http.get(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
    drop(request.send().await.unwrap());
    timeout(PATIENCE, gone.notified()).await.expect("in the middle of an answer");
    assert!(sent.load(Ordering::Relaxed) < 10 * MIB, "not because the answer was too long");

    let gone = Arc::new(Notify::new());
    let (asked, end) = (Arc::new(Notify::new()), Arc::clone(&gone));
    let heard = Arc::clone(&asked);
    let url = raw(&mut tasks, move |mut stream| {
        let (heard, end) = (Arc::clone(&heard), Arc::clone(&end));
        async move {
            heard.notify_one();
            if matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)) {
                end.notify_one();
            }
        }
    })
    .await;
    let (pds, alice) = with_appview(url).await;
    let request = pds.http.get(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
    let mut calls = JoinSet::new();
    calls.spawn(request.send());
    timeout(PATIENCE, asked.notified()).await.unwrap();
    calls.shutdown().await;
    timeout(Duration::from_secs(8), gone.notified())
        .await
        .expect("before the answer, and before the time limit");
}

#[tokio::test]
async fn silent_server_times_out_after_ten_seconds() {
    let mut tasks = JoinSet::new();
    let url = raw(&mut tasks, |stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let (pds, alice) = with_appview(url).await;
    let begun = std::time::Instant::now();
    let (plain, merged) = tokio::join!(
        pds.get_as(Some(&alice.access), SEARCH, &[]),
        pds.get_as(Some(&alice.access), "app.bsky.feed.getTimeline", &[]),
    );
    assert_eq!(plain.error(), error(504, "UpstreamTimeout"));
    assert_eq!(merged.error(), error(504, "UpstreamTimeout"));
    assert!((9..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn upload_streams_and_one_too_large_or_broken_off_is_refused() {
    let appview = Upstream::start().await;
    let service = appview.service();
    let pds = Pds::start_with(|config| config.appview = Some(service)).await;
    let alice = pds.account("alice").await;
    let url = format!("{}/xrpc/app.bsky.example.put", pds.url);
    let send = async |pieces: usize| {
        let body = stream::iter((0..pieces).map(|_| Ok::<_, std::io::Error>(vec![b'x'; MIB])));
        let body = reqwest::Body::wrap_stream(body);
        Pds::read(pds.http.post(&url).bearer_auth(&alice.access).body(body).send().await.unwrap()).await
    };
    assert!(send(9).await.status.is_success());
    assert_eq!(appview.take_one().body.len(), 9 * MIB);
    assert_eq!(send(11).await.error(), error(413, "PayloadTooLarge"));
    let announced = pds.http.post(&url).bearer_auth(&alice.access).body(vec![0; 11 * MIB]);
    if let Ok(response) = announced.send().await {
        assert_eq!(Pds::read(response).await.error(), error(413, "PayloadTooLarge"));
    }

    // A call that ends in the middle never arrives as a whole one.
    let mut stream = TcpStream::connect(pds.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /xrpc/app.bsky.example.put HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\nhalf",
        alice.access
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap());
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn stranger_cannot_make_this_server_ask_the_inside() {
    let connected = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&connected);
    let mut tasks = JoinSet::new();
    let inside = raw(&mut tasks, move |stream| {
        mark.store(true, Ordering::Relaxed);
        say(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec())
    })
    .await;
    let pds = Pds::start_with(|config| config.dev_mode = false).await;
    let alice = pds.account("alice").await;
    let port = inside.rsplit(':').next().unwrap();
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    let (key, rotation) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let handle = Handle::parse("evil.example.com").unwrap();
    for (endpoint, want) in [
        (format!("http://localhost:{port}"), error(400, "InvalidRequest")),
        (format!("https://127.0.0.1:{port}"), error(400, "InvalidRequest")),
        (format!("https://[::1]:{port}"), error(400, "InvalidRequest")),
        (format!("https://user:pw@example.com:{port}"), error(400, "InvalidRequest")),
        (format!("https://localhost:{port}"), error(502, "UpstreamFailure")),
    ] {
        let (did, genesis) =
            plc::genesis(&[rotation.public_key()], &key.public_key(), &handle, &endpoint, &rotation, now);
        pds.directory.put(&did, genesis);
        let request = pds.http.get(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
        let request = request.header("atproto-proxy", format!("{did}#atproto_pds"));
        assert_eq!(Pds::read(request.send().await.unwrap()).await.error(), want, "{endpoint}");
    }
    assert!(!connected.load(Ordering::Relaxed));
}

#[tokio::test]
async fn one_accounts_calls_leave_room_for_the_others() {
    let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let (counter, gate) = (Arc::clone(&asked), Arc::clone(&go));
    let mut tasks = JoinSet::new();
    let url = raw(&mut tasks, move |stream| {
        let (counter, gate) = (Arc::clone(&counter), Arc::clone(&gate));
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            drop(gate.acquire().await);
            say(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec()).await;
        }
    })
    .await;
    let (pds, alice) = with_appview(url).await;
    let bob = pds.account("bobby").await;
    let ask = |account: &Account| {
        pds.http.get(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&account.access).send()
    };
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        calls.spawn(ask(&alice));
    }
    let all_asked = async {
        while asked.load(Ordering::Relaxed) < 32 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_asked).await.unwrap();
    assert_eq!(Pds::read(ask(&alice).await.unwrap()).await.error(), error(503, "ServerBusy"));
    calls.spawn(ask(&bob));
    go.add_permits(100);
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status().as_u16(), 200);
    }
    assert_eq!(ask(&alice).await.unwrap().status().as_u16(), 200);
}
