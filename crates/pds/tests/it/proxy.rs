//! Calls that are passed on: to whom, with which token and headers, and what comes back.

use pds::config::Service;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Account, Answer, Pds, error},
    upstream::{Reply, Upstream},
};

const SEARCH: &str = "app.bsky.feed.searchPosts";

async fn with_appview() -> (Pds, Upstream, Account) {
    let appview = Upstream::start().await;
    let service = appview.service();
    let pds = Pds::start_with(|config| {
        config.report_service = Some(service.clone());
        config.appview = Some(service);
    })
    .await;
    let alice = pds.account("alice").await;
    (pds, appview, alice)
}

async fn call_via(pds: &Pds, account: &Account, proxy: &str, method: &str) -> Answer {
    let request = pds.http.get(format!("{}/xrpc/{method}", pds.url)).bearer_auth(&account.access);
    Pds::read(request.header("atproto-proxy", proxy).send().await.unwrap()).await
}

#[tokio::test]
async fn unserved_method_goes_to_the_appview_with_the_accounts_own_token() {
    let (pds, appview, alice) = with_appview().await;
    appview.set(
        SEARCH,
        Reply::json(&json!({ "posts": [] }))
            .header("atproto-repo-rev", "3jzfcijpj2z2a")
            .header("atproto-content-labelers", "did:web:labels.example")
            .header("content-language", "de")
            .header("set-cookie", "track=1")
            .header("server", "hidden")
            .header("x-other", "hidden"),
    );
    let request = pds
        .http
        .get(format!("{}/xrpc/{SEARCH}?q=a%20b&limit=3", pds.url))
        .bearer_auth(&alice.access)
        .header("accept-language", "de")
        .header("accept-encoding", "br, zstd")
        .header("atproto-accept-labelers", "did:web:labels.example")
        .header("x-bsky-topics", "birds")
        .header("cookie", "secret=1")
        .header("x-forwarded-for", "203.0.113.9")
        .header("dpop", "proof");
    let answer = Pds::read(request.send().await.unwrap()).await;
    assert_eq!(answer.status.as_u16(), 200);
    for (name, value) in [
        ("atproto-repo-rev", "3jzfcijpj2z2a"),
        ("atproto-content-labelers", "did:web:labels.example"),
        ("content-language", "de"),
        ("content-type", "application/json"),
        ("cache-control", "private"),
    ] {
        assert_eq!(answer.headers[name], value, "{name}");
    }
    for name in ["set-cookie", "server", "x-other"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_eq!(answer.json(), json!({ "posts": [] }));

    let seen = appview.take_one();
    assert_eq!((&seen.method, seen.path.as_str()), (&Method::GET, "/xrpc/app.bsky.feed.searchPosts"));
    assert_eq!(seen.query, "q=a%20b&limit=3");
    seen.check_token(&pds, &alice, &appview.did, SEARCH).await;
    for (name, value) in [
        ("accept-language", "de"),
        ("accept-encoding", "br, zstd"),
        ("atproto-accept-labelers", "did:web:labels.example"),
        ("x-bsky-topics", "birds"),
    ] {
        assert_eq!(seen.headers[name], value, "{name}");
    }
    for name in ["cookie", "x-forwarded-for", "dpop", "content-type", "content-length"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn procedure_goes_up_with_its_body_and_compressed_answers_come_back_untouched() {
    let (pds, appview, alice) = with_appview().await;
    let packed = b"\x1f\x8b not really gzip".to_vec();
    let mut reply = Reply::json(&json!({})).header("content-encoding", "gzip");
    reply.body.clone_from(&packed);
    appview.set("app.bsky.graph.muteActor", reply);
    let body = format!(r#"{{"actor":"{}"}}"#, "x".repeat(300_000));
    let request = pds
        .http
        .post(format!("{}/xrpc/app.bsky.graph.muteActor", pds.url))
        .bearer_auth(&alice.access)
        .header("content-type", "application/json")
        .header("content-encoding", "x-own")
        .header("accept-encoding", "gzip")
        .body(body.clone());
    let answer = Pds::read(request.send().await.unwrap()).await;
    assert_eq!((answer.headers["content-encoding"].to_str().unwrap(), &answer.body), ("gzip", &packed));
    let seen = appview.take_one();
    assert_eq!((seen.method, seen.body.len()), (Method::POST, body.len()));
    assert_eq!(seen.headers["content-length"], body.len().to_string().as_str());
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["content-encoding"], "x-own");

    // A procedure without input goes up without one.
    pds.call(&alice.access, "app.bsky.draft.clear").await.ok();
    assert!(appview.take_one().body.is_empty());
    let head = pds.http.head(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
    assert_eq!(head.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(appview.take_one().method, Method::HEAD);
    let put = pds.http.put(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
    assert_eq!(Pds::read(put.send().await.unwrap()).await.error(), error(400, "InvalidRequest"));
}

#[tokio::test]
async fn nobody_is_passed_on_without_a_session() {
    let (pds, appview, alice) = with_appview().await;
    assert_eq!(pds.get(SEARCH, &[]).await.error(), error(401, "AuthMissing"));
    for method in [SEARCH, "app.bsky.feed.getTimeline", "app.bsky.actor.getProfile", "app.bsky.feed.getFeed"]
    {
        assert_eq!(pds.get(method, &[]).await.error(), error(401, "AuthMissing"), "{method}");
        let refused = pds.get_as(Some(&alice.refresh), method, &[]).await;
        assert_eq!(refused.error(), error(400, "InvalidToken"), "{method}");
    }
    // A service token is for this server, not through it.
    let params = [("aud", "did:web:localhost"), ("lxm", SEARCH)];
    let token = pds.get_as(Some(&alice.access), "com.atproto.server.getServiceAuth", &params).await.ok();
    let refused = pds.get_as(token["token"].as_str(), SEARCH, &[]).await;
    assert_eq!(refused.error(), error(400, "InvalidToken"));
    for method in ["com.atproto.server.getsession", "com.atproto.identity.SIGNPLCOPERATION"] {
        let refused = pds.get_as(Some(&alice.access), method, &[]).await;
        assert_eq!(
            (refused.error(), &refused.json()["message"]),
            (error(400, "InvalidToken"), &json!("Bad token method"))
        );
    }
    pds.sim.distrust();
    assert_eq!(pds.get_as(Some(&alice.access), SEARCH, &[]).await.error(), error(503, "ClockUntrusted"));
    assert!(appview.take_seen().is_empty());
}

#[tokio::test]
async fn call_names_its_server_by_did_and_service() {
    let (pds, appview, alice) = with_appview().await;
    let other = Upstream::start().await;
    let method = "chat.bsky.convo.listConvos";
    call_via(&pds, &alice, &format!("{}#atproto_labeler", other.did), method).await.ok();
    other.take_one().check_token(&pds, &alice, &other.did, method).await;
    call_via(&pds, &alice, &format!("{}#bsky_appview", appview.did), method).await.ok();
    appview.take_one().check_token(&pds, &alice, &appview.did, method).await;
    for (proxy, message) in [
        ("#atproto_labeler".to_owned(), "no did specified in proxy header"),
        (other.did.clone(), "no service id specified in proxy header"),
        (format!("{}#", other.did), "no service id specified in proxy header"),
        (format!("{}#a#b", other.did), "invalid proxy header format"),
        (format!("{} #a", other.did), "proxy header cannot contain spaces"),
        (format!("{}#missing", other.did), "could not resolve proxy did service url"),
        (format!("{}#ftp", other.did), "could not resolve proxy did service url"),
        (format!("{}#deep", other.did), "could not resolve proxy did service url"),
        ("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#x".to_owned(), "could not resolve proxy did"),
        ("did:key:zabc#x".to_owned(), "could not resolve proxy did"),
        ("nonsense#x".to_owned(), "could not resolve proxy did"),
    ] {
        let answer = call_via(&pds, &alice, &proxy, method).await;
        assert_eq!(answer.error(), error(400, "InvalidRequest"), "{proxy}");
        assert_eq!(answer.json()["message"], message, "{proxy}");
    }
    assert!(other.take_seen().is_empty());
    // What is served here is served here, whatever the call names.
    let proxy = format!("{}#atproto_labeler", other.did);
    let session = call_via(&pds, &alice, &proxy, "com.atproto.server.getSession").await.ok();
    assert_eq!(session["did"], alice.did.as_str());
}

#[tokio::test]
async fn without_a_service_calls_say_so() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for method in
        [SEARCH, "app.bsky.feed.getTimeline", "app.bsky.feed.getFeed", "tools.ozone.team.listMembers"]
    {
        let answer = pds.get_as(Some(&alice.access), method, &[]).await;
        assert_eq!(answer.error(), error(400, "InvalidRequest"), "{method}");
        assert_eq!(answer.json()["message"], format!("No service configured for {method}"));
    }
    for method in ["com.atproto.moderation.createReport", "app.bsky.notification.registerPush"] {
        let answer = pds.post(Some(&alice.access), method, &json!({})).await;
        assert_eq!(answer.json()["message"], format!("No service configured for {method}"));
    }
    let profile =
        pds.get_as(Some(&alice.access), "app.bsky.actor.getProfile", &[("actor", &alice.did)]).await;
    assert_eq!(profile.ok()["handle"], "alice.test");
}

#[tokio::test]
async fn errors_keep_status_name_and_message_and_nothing_else() {
    let (pds, appview, alice) = with_appview().await;
    let ask = async || {
        let request = pds.http.get(format!("{}/xrpc/{SEARCH}", pds.url)).bearer_auth(&alice.access);
        Pds::read_foreign(request.send().await.unwrap()).await
    };
    for (status, given, out, name, message) in [
        (400, json!({ "error": "BadQueryString", "message": "m", "more": 1 }), 400, "BadQueryString", "m"),
        (401, json!({ "error": "JwtExpired", "message": "m" }), 401, "JwtExpired", "m"),
        (404, json!({}), 404, "XRPCNotSupported", "XRPC Not Supported"),
        (429, json!({ "error": 5 }), 429, "RateLimitExceeded", "Rate Limit Exceeded"),
        (500, json!({ "error": "InternalServerError", "message": "m" }), 502, "InternalServerError", "m"),
        (500, json!([]), 502, "UpstreamFailure", "Upstream Failure"),
        (503, json!({ "message": "later" }), 503, "NotEnoughResources", "later"),
    ] {
        appview.set(
            SEARCH,
            Reply::json(&given).status(status).header("retry-after", "7").header("x-other", "y"),
        );
        let answer = ask().await;
        assert_eq!(answer.status.as_u16(), out);
        assert_eq!(answer.json(), json!({ "error": name, "message": message }));
        assert_eq!(answer.headers["retry-after"], "7");
        assert!(!answer.headers.contains_key("x-other"));
    }
    let mut page = Reply::json(&Value::Null).status(502);
    page.headers = vec![("content-type", "text/html".to_owned())];
    page.body = b"<h1>Bad Gateway</h1>".to_vec();
    appview.set(SEARCH, page);
    assert_eq!(ask().await.json(), json!({ "error": "UpstreamFailure", "message": "Upstream Failure" }));
    let inside = Reply::json(&json!({})).status(302).header("location", "http://127.0.0.1:1/secret");
    appview.set(SEARCH, inside);
    let moved = Pds::read_foreign(
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap()
            .get(format!("{}/xrpc/{SEARCH}", pds.url))
            .bearer_auth(&alice.access)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(moved.status.as_u16(), 302);
    assert!(!moved.headers.contains_key("location"), "nobody is sent to where the server behind says");
}

#[tokio::test]
async fn feed_is_asked_of_the_appview_with_a_token_for_its_generator() {
    let (pds, appview, alice) = with_appview().await;
    let generator = Upstream::start().await;
    let feed = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.generator/birds";
    let record = json!({ "uri": feed, "cid": "c", "value": { "did": generator.did } });
    appview.set("com.atproto.repo.getRecord", Reply::json(&record));
    appview.set("app.bsky.feed.getFeed", Reply::json(&json!({ "feed": [] })));
    let ask = async |feed: &str| {
        let params = [("feed", feed), ("limit", "5")];
        pds.get_as(Some(&alice.access), "app.bsky.feed.getFeed", &params).await
    };
    assert_eq!(ask(feed).await.ok(), json!({ "feed": [] }));
    let seen = appview.take_seen();
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].headers.contains_key("authorization"), "the record is public");
    assert!(seen[0].query.contains("collection=app.bsky.feed.generator&rkey=birds"), "{}", seen[0].query);
    assert!(seen[1].query.ends_with("&limit=5"));
    // The AppView hands the token on, and the generator checks it.
    seen[1].check_token(&pds, &alice, &generator.did, "app.bsky.feed.getFeedSkeleton").await;

    appview.set("com.atproto.repo.getRecord", Reply::json(&json!({ "value": {} })));
    assert_eq!(ask(feed).await.error(), error(400, "UnknownFeed"));
    let gone = json!({ "error": "RecordNotFound", "message": "m" });
    appview.set("com.atproto.repo.getRecord", Reply::json(&gone).status(400));
    assert_eq!(ask(feed).await.error(), error(400, "UnknownFeed"));
    appview.set("com.atproto.repo.getRecord", Reply::json(&json!({})).status(500));
    assert_eq!(ask(feed).await.error(), error(502, "UpstreamFailure"));
    assert_eq!(ask("birds").await.error(), error(400, "InvalidRequest"));
}

#[tokio::test]
async fn push_is_registered_at_the_service_that_the_body_names() {
    let (pds, appview, alice) = with_appview().await;
    let notifier = Upstream::start().await;
    let register = async |did: &str, method: &str| {
        let body = json!({ "serviceDid": did, "token": "t", "platform": "ios", "appId": "app" });
        pds.post(Some(&alice.access), &format!("app.bsky.notification.{method}"), &body).await
    };
    for method in ["registerPush", "unregisterPush"] {
        assert!(register(&notifier.did, method).await.bytes().is_empty());
        let seen = notifier.take_one();
        let name = format!("app.bsky.notification.{method}");
        seen.check_token(&pds, &alice, &notifier.did, &name).await;
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!((&body["token"], &body["appId"]), (&json!("t"), &json!("app")));
        assert!(register(&appview.did, method).await.bytes().is_empty());
        appview.take_one().check_token(&pds, &alice, &appview.did, &name).await;
    }
    let unknown = register("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "registerPush").await;
    assert_eq!(unknown.error(), error(400, "InvalidRequest"));
    // A DID without a notification service.
    let none = register(&alice.did, "registerPush").await;
    assert!(none.json()["message"].as_str().unwrap().starts_with("invalid notification service details"));
    let lacking = json!({ "serviceDid": notifier.did, "token": "t" });
    let answer = pds.post(Some(&alice.access), "app.bsky.notification.registerPush", &lacking).await;
    assert_eq!(answer.error(), error(400, "InvalidRequest"));
    notifier.set(
        "app.bsky.notification.registerPush",
        Reply::json(&json!({ "error": "Forbidden", "message": "m" })).status(403),
    );
    assert_eq!(register(&notifier.did, "registerPush").await.error(), error(403, "Forbidden"));
}

#[tokio::test]
async fn report_goes_to_the_report_service_or_the_labeler_that_is_named() {
    let report = Upstream::start().await;
    let labeler = Upstream::start().await;
    let service = report.service();
    let pds = Pds::start_with(|config| config.report_service = Some(service)).await;
    let alice = pds.account("alice").await;
    let method = "com.atproto.moderation.createReport";
    let body = json!({
        "reasonType": "com.atproto.moderation.defs#reasonSpam",
        "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": alice.did },
    });
    let mut taken = body.clone();
    taken["id"] = json!(7);
    taken["reportedBy"] = json!(alice.did);
    taken["createdAt"] = json!("2026-11-23T02:34:56.789Z");
    report.set(method, Reply::json(&taken));
    assert_eq!(pds.post(Some(&alice.access), method, &body).await.ok(), taken);
    let seen = report.take_one();
    seen.check_token(&pds, &alice, &report.did, method).await;
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), body);

    let request = pds.http.post(format!("{}/xrpc/{method}", pds.url)).bearer_auth(&alice.access).json(&body);
    let named = request.header("atproto-proxy", format!("{}#atproto_labeler", labeler.did));
    assert!(named.send().await.unwrap().status().is_success());
    labeler.take_one().check_token(&pds, &alice, &labeler.did, method).await;
    let lacking = pds.post(Some(&alice.access), method, &json!({ "reasonType": "x" })).await;
    assert_eq!(lacking.error(), error(400, "InvalidRequest"));
    assert!(report.take_seen().is_empty());
}

#[tokio::test]
async fn record_of_a_repo_elsewhere_comes_from_the_appview_and_nobody_chooses_another() {
    let (pds, appview, alice) = with_appview().await;
    let other = Upstream::start().await;
    let method = "com.atproto.repo.getRecord";
    let found = json!({
        "uri": "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/a",
        "cid": "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae",
        "value": { "text": "far" },
    });
    appview.set(method, Reply::json(&found));
    let params =
        [("repo", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"), ("collection", "app.bsky.feed.post"), ("rkey", "a")];
    assert_eq!(pds.get(method, &params).await.ok(), found);
    let seen = appview.take_one();
    assert!(!seen.headers.contains_key("authorization"));
    let url = reqwest::Url::parse_with_params(&format!("{}/xrpc/{method}", pds.url), params).unwrap();
    let request = pds.http.get(url).header("atproto-proxy", format!("{}#bsky_appview", other.did));
    assert!(request.send().await.unwrap().status().is_success());
    assert!(other.take_seen().is_empty());
    appview.take_one();
    // What should be here and is not is not looked for elsewhere.
    let params = [("repo", alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", "a")];
    assert_eq!(pds.get(method, &params).await.error(), error(400, "RecordNotFound"));
    assert!(appview.take_seen().is_empty());
}

#[tokio::test]
async fn preferences_are_kept_here_and_say_the_age() {
    let (pds, appview, alice) = with_appview().await;
    let put = async |list: Value| {
        let body = json!({ "preferences": list });
        pds.post(Some(&alice.access), "app.bsky.actor.putPreferences", &body).await
    };
    let kind = |name: &str| format!("app.bsky.actor.defs#{name}");
    let adult = json!({ "$type": kind("adultContentPref"), "enabled": true });
    let birth = json!({ "$type": kind("personalDetailsPref"), "birthDate": "2010-11-23T00:00:00.000Z" });
    let forged = json!({ "$type": kind("declaredAgePref"), "isOverAge18": true });
    put(json!([adult, birth, forged])).await.ok();
    let get = async || pds.get_as(Some(&alice.access), "app.bsky.actor.getPreferences", &[]).await.ok();
    let age = json!({ "$type": kind("declaredAgePref"), "isOverAge13": true, "isOverAge16": true, "isOverAge18": false });
    assert_eq!(get().await["preferences"], json!([adult, birth, age]));
    assert_eq!(put(json!([{ "enabled": true }])).await.error(), error(400, "InvalidRequest"));
    let undated = json!({ "$type": kind("personalDetailsPref"), "birthDate": "yesterday" });
    assert_eq!(put(json!([undated])).await.error(), error(400, "InvalidRequest"));
    assert_eq!(put(json!([{ "$type": "com.example.pref" }])).await.error(), error(400, "InvalidRequest"));
    put(json!([adult])).await.ok();
    assert_eq!(get().await["preferences"], json!([adult]), "the whole namespace is replaced");
    assert!(appview.take_seen().is_empty());
    // Another AppView keeps its own.
    let other = Upstream::start().await;
    other.set("app.bsky.actor.getPreferences", Reply::json(&json!({ "preferences": [] })));
    let answer =
        call_via(&pds, &alice, &format!("{}#bsky_appview", other.did), "app.bsky.actor.getPreferences").await;
    assert_eq!(answer.ok(), json!({ "preferences": [] }));
    other.take_one().check_token(&pds, &alice, &other.did, "app.bsky.actor.getPreferences").await;
}

#[tokio::test]
async fn down_appview_is_a_bad_gateway() {
    let service = Service { url: "http://127.0.0.1:1".to_owned(), did: "did:web:api.example.com".to_owned() };
    let pds = Pds::start_with(|config| config.appview = Some(service)).await;
    let alice = pds.account("alice").await;
    for method in [SEARCH, "app.bsky.feed.getTimeline", "app.bsky.feed.getPostThread"] {
        let answer = pds.get_as(Some(&alice.access), method, &[]).await;
        assert_eq!(answer.error(), error(502, "UpstreamFailure"), "{method}");
        assert_eq!(answer.json()["message"], "Upstream service unreachable");
    }
}

/// Signs in with a new app password.
async fn by_app_password(pds: &Pds, account: &Account, name: &str, privileged: bool) -> String {
    let body = json!({ "name": name, "privileged": privileged });
    let made = pds.post(Some(&account.access), "com.atproto.server.createAppPassword", &body).await.ok();
    let body = json!({ "identifier": account.did, "password": made["password"] });
    let session = pds.post(None, "com.atproto.server.createSession", &body).await.ok();
    session["accessJwt"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn app_password_reaches_chat_only_with_the_privilege() {
    let (pds, appview, alice) = with_appview().await;
    let plain = by_app_password(&pds, &alice, "plain", false).await;
    let strong = by_app_password(&pds, &alice, "strong", true).await;
    for (token, may) in [(&alice.access, true), (&strong, true), (&plain, false)] {
        for method in ["chat.bsky.convo.getLog", "chat.bsky.convo.GETLOG"] {
            let answer = pds.get_as(Some(token), method, &[]).await;
            let want = if may { None } else { Some(error(400, "InvalidToken")) };
            assert_eq!((!answer.status.is_success()).then(|| answer.error()), want, "{method}");
        }
        let params = [("aud", "did:web:chat.example"), ("lxm", "chat.bsky.convo.getLog")];
        let answer = pds.get_as(Some(token), "com.atproto.server.getServiceAuth", &params).await;
        assert_eq!(answer.status.is_success(), may);
        assert!(pds.get_as(Some(token), SEARCH, &[]).await.status.is_success());
    }
    assert_eq!(appview.take_seen().len(), 7);
}

#[tokio::test]
async fn app_password_neither_sees_nor_loses_the_birth_date() {
    let (pds, _appview, alice) = with_appview().await;
    let app = by_app_password(&pds, &alice, "app", true).await;
    let put = async |token: &str, list: Value| {
        let body = json!({ "preferences": list });
        pds.post(Some(token), "app.bsky.actor.putPreferences", &body).await
    };
    let get = async |token: &str| {
        pds.get_as(Some(token), "app.bsky.actor.getPreferences", &[]).await.ok()["preferences"].clone()
    };
    let kind = |name: &str| format!("app.bsky.actor.defs#{name}");
    let birth = json!({ "$type": kind("personalDetailsPref"), "birthDate": "1990-01-01T00:00:00.000Z" });
    let adult = json!({ "$type": kind("adultContentPref"), "enabled": true });
    let age = json!({ "$type": kind("declaredAgePref"), "isOverAge13": true, "isOverAge16": true, "isOverAge18": true });
    put(&alice.access, json!([birth])).await.ok();
    assert_eq!(get(&app).await, json!([age]));
    assert_eq!(put(&app, json!([birth])).await.error(), error(400, "InvalidRequest"));
    put(&app, json!([adult])).await.ok();
    assert_eq!(get(&app).await, json!([adult, age]));
    assert_eq!(get(&alice.access).await, json!([adult, birth, age]));
}
