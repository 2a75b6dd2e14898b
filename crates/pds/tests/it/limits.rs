//! Limits of bodies and rates, CORS, and what is not a method.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Pds, error, post};

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let large = json!({ "identifier": "alice.test", "password": "x".repeat(150 * 1024) });
    assert_eq!(
        pds.post(None, "com.atproto.server.createSession", &large).await.error(),
        error(413, "PayloadTooLargeError")
    );
    pds.create(&alice, &json!({ "$type": "com.example.large", "text": "x".repeat(900_000) })).await.ok();
    assert_eq!(
        pds.create(&alice, &post(&"x".repeat(1_000_000))).await.error(),
        error(413, "PayloadTooLargeError")
    );
    let request = pds.http.post(format!("{}/xrpc/com.atproto.server.createSession", pds.url));
    let answer =
        Pds::read(request.header("content-type", "text/plain").body("{}").send().await.unwrap()).await;
    assert_eq!(answer.error(), error(400, "InvalidRequest"));
    let bad = json!({ "identifier": 5, "password": "secret" });
    let answer = pds.post(None, "com.atproto.server.createSession", &bad).await;
    assert_eq!(answer.error(), error(400, "InvalidRequest"));
    assert!(!String::from_utf8(answer.body).unwrap().contains("secret"));
}

#[tokio::test]
async fn sign_ins_are_limited_by_name_and_address_and_say_so() {
    let pds = Pds::start().await;
    pds.account("alice").await;
    let body = json!({ "identifier": "alice.test", "password": "hunter22" });
    let call = async || pds.post(None, "com.atproto.server.createSession", &body).await;
    let first = call().await;
    assert_eq!(
        (&first.headers["ratelimit-limit"], &first.headers["ratelimit-remaining"]),
        (&"30".parse().unwrap(), &"29".parse().unwrap())
    );
    assert_eq!(first.headers["ratelimit-policy"], "30;w=300");
    for _ in 0..29 {
        assert!(call().await.status.is_success());
    }
    let refused = call().await;
    assert_eq!(refused.error(), error(429, "RateLimitExceeded"));
    assert_eq!(
        (&refused.headers["retry-after"], &refused.headers["ratelimit-remaining"]),
        (&"300".parse().unwrap(), &"0".parse().unwrap())
    );
    pds.sim.advance(Duration::from_secs(300));
    assert!(call().await.status.is_success());
}

#[tokio::test]
async fn writes_cost_points_of_their_account() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let answer = pds.create(&alice, &post("x")).await;
    assert_eq!(
        (&answer.headers["ratelimit-limit"], &answer.headers["ratelimit-remaining"]),
        (&"3000".parse().unwrap(), &"2998".parse().unwrap()),
        "the rule that leaves the least is told: here the one by address"
    );
    let answer = pds.get("com.atproto.server.describeServer", &[]).await;
    assert_eq!(answer.headers["ratelimit-limit"], "3000");
}

#[tokio::test]
async fn preflight_is_answered_and_every_answer_is_open_to_scripts() {
    let pds = Pds::start().await;
    let preflight = pds
        .http
        .request(reqwest::Method::OPTIONS, format!("{}/xrpc/com.atproto.repo.createRecord", pds.url))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,atproto-proxy");
    let preflight = Pds::read(preflight.send().await.unwrap()).await;
    assert!(preflight.status.is_success());
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    assert_eq!(preflight.headers["access-control-max-age"], "86400");
    assert_eq!(preflight.headers["access-control-allow-headers"], "authorization,atproto-proxy");
    let refused = pds.get("com.atproto.server.getSession", &[]).await;
    assert_eq!(refused.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn unknown_methods_paths_and_verbs_are_named() {
    let pds = Pds::start().await;
    assert_eq!(pds.get("app.bsky.feed.getTimeline", &[]).await.error(), error(400, "InvalidRequest"));
    assert_eq!(pds.get("com.example.unknown", &[]).await.error(), error(400, "InvalidRequest"));
    assert_eq!(pds.get("nonsense", &[]).await.error(), error(400, "InvalidRequest"));
    assert_eq!(pds.get("com.atproto.repo.createRecord", &[]).await.error(), error(400, "InvalidRequest"));
    assert_eq!(pds.get("com.atproto.sync.subscribeRepos", &[]).await.error(), error(426, "UpgradeRequired"));
    let plain =
        async |path: &str| Pds::read(pds.http.get(format!("{}{path}", pds.url)).send().await.unwrap()).await;
    assert_eq!(plain("/nothing").await.status.as_u16(), 404);
    assert_eq!(plain("/.well-known/atproto-did").await.status.as_u16(), 404);
    assert!(String::from_utf8(plain("/robots.txt").await.bytes()).unwrap().contains("Allow: /"));
    assert!(plain("/").await.status.is_success());
    assert!(plain("/xrpc/_health").await.ok()["version"].is_string());
    let described = pds.get("com.atproto.server.describeServer", &[]).await.ok();
    assert_eq!(
        (&described["did"], &described["availableUserDomains"]),
        (&json!("did:web:localhost"), &json!([".test"]))
    );
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let pds = Pds::start().await;
    let address = pds.url.strip_prefix("http://").unwrap();
    let mut client = tokio::net::TcpStream::connect(address.replace("localhost", "127.0.0.1")).await.unwrap();
    // More than all buffers on the way hold, so that the whole can only be sent if it is read.
    let body = vec![0_u8; 32 * 1024 * 1024];
    let head = format!(
        "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nhost: {address}\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.expect("the server reads on");
    let mut answer = vec![0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
}

/// How large a body each procedure takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// None, so that any is refused or not read.
    Nothing,
    Json(usize),
    Raw(&'static str, usize),
}

fn body_of(procedure: &str) -> Body {
    match procedure {
        "com.atproto.repo.createRecord" | "com.atproto.repo.putRecord" | "com.atproto.repo.applyWrites" => {
            Body::Json(1_000_000)
        }
        "com.atproto.repo.uploadBlob" => Body::Raw("image/png", BLOB_BYTES_MAX),
        "com.atproto.repo.importRepo" => Body::Raw("application/vnd.ipld.car", IMPORT_BYTES_MAX),
        "com.atproto.server.activateAccount"
        | "com.atproto.server.deleteSession"
        | "com.atproto.server.refreshSession"
        | "com.atproto.server.requestAccountDelete"
        | "com.atproto.server.requestEmailConfirmation"
        | "com.atproto.server.requestEmailUpdate"
        | "com.atproto.identity.requestPlcOperationSignature" => Body::Nothing,
        _ => Body::Json(150 * 1024),
    }
}

const BLOB_BYTES_MAX: usize = 300_000;
const IMPORT_BYTES_MAX: usize = 400_000;

#[tokio::test]
async fn every_procedure_has_its_body_limit_announced_or_not() {
    let pds = Pds::start_with(|config| {
        config.blob_bytes_max = BLOB_BYTES_MAX as u64;
        config.import_bytes_max = IMPORT_BYTES_MAX as u64;
        config.admin_password = Some(pds::config::Secret::new("admin".to_owned()));
        config.rate_limits.enabled = false;
        // Bodies are bounded before they are passed on, so that nobody need answer there.
        let nobody =
            |did: &str| pds::config::Service { url: "http://localhost:1".to_owned(), did: did.to_owned() };
        config.appview = Some(nobody("did:web:appview.test"));
        config.report_service = Some(nobody("did:web:reports.test"));
    })
    .await;
    let alice = pds.account("alice").await;
    let send = async |procedure: &str, kind: &str, bytes: usize, chunked: bool| {
        let mut request =
            pds.http.post(format!("{}/xrpc/{procedure}", pds.url)).header("content-type", kind.to_owned());
        request = if procedure.starts_with("com.atproto.admin.") || procedure.contains("createInviteCode") {
            request.basic_auth("admin", Some("admin"))
        } else if procedure == "com.atproto.server.createAccount" {
            // It takes no session, and says so before it reads.
            request
        } else {
            request.bearer_auth(&alice.access)
        };
        // No method takes this text, so that one below the limit is refused for another reason.
        let text = vec![b'x'; bytes];
        let body = if chunked {
            let pieces: Vec<_> =
                text.chunks(64 * 1024).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
            reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
        } else {
            text.into()
        };
        let answer = Pds::read(request.body(body).send().await.unwrap()).await;
        let name = if answer.body.is_empty() { String::new() } else { answer.error().1 };
        (answer.status.as_u16(), name)
    };
    let (mut checked, mut wrong) = (0, Vec::new());
    for procedure in pds::procedures() {
        let (kind, limit) = match body_of(procedure) {
            Body::Nothing => continue,
            Body::Json(limit) => ("application/json", limit),
            Body::Raw(kind, limit) => (kind, limit),
        };
        for chunked in [false, true] {
            // It is read as it comes, and given up at once for what is no CAR.
            if chunked && procedure == "com.atproto.repo.importRepo" {
                continue;
            }
            let (status, name) = send(procedure, kind, limit + 1, chunked).await;
            if status != 413 || !name.starts_with("PayloadTooLarge") {
                wrong.push(format!("{procedure}, chunked {chunked}: {status} {name}"));
            }
        }
        // A blob of that size is taken.
        if kind == "application/json" && send(procedure, kind, limit, false).await.0 == 413 {
            wrong.push(format!("{procedure}: refuses what is just within its limit"));
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= 15, "{checked} procedures");
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for path in [
        "/".to_owned(),
        "/robots.txt".to_owned(),
        "/xrpc/_health".to_owned(),
        "/xrpc/com.atproto.server.describeServer".to_owned(),
        format!("/xrpc/com.atproto.sync.getRepo?did={}", alice.did),
    ] {
        let url = format!("{}{path}", pds.url);
        let get = pds.http.get(&url).send().await.unwrap();
        let head = pds.http.head(&url).send().await.unwrap();
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_list_is_no_input_even_where_every_field_may_be_missing() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let answer = pds.post(Some(&alice.access), "com.atproto.server.deactivateAccount", &json!([])).await;
    assert_eq!(answer.error(), error(400, "InvalidRequest"));
    let answer = pds.post(None, "com.atproto.server.createSession", &json!("text")).await;
    assert_eq!(answer.error(), error(400, "SyntaxError"));
}
