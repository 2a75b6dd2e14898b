//! What an account has just written is in the AppView's answers at once.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    harness::{Account, Answer, Pds, error, post},
    upstream::{Reply, Upstream},
};

const TIMELINE: &str = "app.bsky.feed.getTimeline";
const THREAD: &str = "app.bsky.feed.getPostThread";
const OTHER: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
/// The CID of some record.
const CID: &str = "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae";
/// A post of somebody else.
const X: &str = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/x";
/// A post of somewhere.
const MINE: &str = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/mine";

/// A server with an AppView and an account; the AppView knows the account's repo up to a first post.
struct Scene {
    pds: Pds,
    appview: Upstream,
    alice: Account,
    known_rev: String,
}

impl Scene {
    async fn new() -> Self {
        let appview = Upstream::start().await;
        let service = appview.service();
        let pds = Pds::start_with(|config| config.appview = Some(service)).await;
        let alice = pds.account("alice").await;
        let known_rev = pds.create_post(&alice, "old").await["commit"]["rev"].as_str().unwrap().to_owned();
        pds.sim.advance(std::time::Duration::from_secs(5));
        Self { pds, appview, alice, known_rev }
    }

    fn answer(&self, method: &str, view: &Value) {
        self.appview.set(method, Reply::json(view).header("atproto-repo-rev", &self.known_rev));
    }

    async fn get(&self, method: &str, params: &[(&str, &str)]) -> Answer {
        self.pds.get_as(Some(&self.alice.access), method, params).await
    }

    async fn set_profile(&self, name: &str) {
        let record = json!({ "$type": "app.bsky.actor.profile", "displayName": name, "description": "d" });
        let body = json!({
            "repo": self.alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": record,
        });
        self.pds.post(Some(&self.alice.access), "com.atproto.repo.putRecord", &body).await.ok();
    }
}

fn item(uri: &str, author: &str) -> Value {
    json!({ "post": {
        "uri": uri, "cid": CID, "author": { "did": author, "handle": "x.test", "displayName": "before" },
        "record": {}, "indexedAt": "2026-11-20T00:00:00.000Z",
    } })
}

#[tokio::test]
async fn new_post_is_in_the_timeline_before_the_appview_has_it() {
    let scene = Scene::new().await;
    let written = scene.pds.create_post(&scene.alice, "new").await;
    scene.answer(TIMELINE, &json!({ "feed": [item(X, OTHER)], "cursor": "c" }));
    scene.pds.sim.advance(std::time::Duration::from_secs(3));
    let answer = scene.get(TIMELINE, &[("limit", "10")]).await;
    assert_eq!(answer.headers["atproto-upstream-lag"], "3000");
    let view = answer.ok();
    let first = &view["feed"][0]["post"];
    assert_eq!((&first["uri"], &first["cid"]), (&written["uri"], &written["cid"]));
    assert_eq!((&first["record"]["text"], &first["likeCount"]), (&json!("new"), &json!(0)));
    assert_eq!(first["author"], json!({ "did": scene.alice.did, "handle": "alice.test" }));
    assert_eq!((&view["feed"][1]["post"]["uri"], &view["cursor"]), (&json!(X), &json!("c")));
    assert_eq!(view["feed"].as_array().unwrap().len(), 2, "the old post is the AppView's to show");
    let seen = scene.appview.take_one();
    seen.check_token_now(&scene);
    assert_eq!(seen.query, "limit=10");
}

impl crate::upstream::Seen {
    /// The token of a call some seconds after the tests' clock began.
    fn check_token_now(&self, scene: &Scene) {
        let claims = atproto::service_jwt::Unverified::parse(self.token()).unwrap();
        assert_eq!(claims.method(), Some(TIMELINE));
        assert_eq!(claims.issuer().as_str(), scene.alice.did);
    }
}

#[tokio::test]
async fn answer_passes_untouched_when_nothing_is_newer_or_it_cannot_be_merged() {
    let scene = Scene::new().await;
    let same = async |reply: Reply| {
        let body = reply.body.clone();
        scene.appview.set(TIMELINE, reply);
        let request = scene.pds.http.get(format!("{}/xrpc/{TIMELINE}", scene.pds.url));
        let answer = request.bearer_auth(&scene.alice.access).send().await.unwrap();
        let answer = Pds::read_foreign(answer).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &body));
        assert!(!answer.headers.contains_key("atproto-upstream-lag"));
        answer
    };
    let feed = json!({ "feed": [item(X, OTHER)] });
    let answer = same(Reply::json(&feed).header("atproto-repo-rev", &scene.known_rev)).await;
    assert_eq!(answer.headers["atproto-repo-rev"], scene.known_rev.as_str());
    scene.pds.create_post(&scene.alice, "new").await;
    same(Reply::json(&feed)).await;
    same(Reply::json(&feed).header("atproto-repo-rev", "nonsense")).await;
    // A revision before the whole repo is of another life of it.
    same(Reply::json(&feed).header("atproto-repo-rev", "2222222222222")).await;
    let rev = scene.known_rev.as_str();
    same(Reply::json(&json!({ "feed": 5 })).header("atproto-repo-rev", rev)).await;
    same(Reply::json(&json!({ "feed": [{}] })).header("atproto-repo-rev", rev)).await;
    let mut broken = Reply::json(&feed).header("atproto-repo-rev", rev);
    broken.body.pop();
    same(broken).await;
    let packed = Reply::json(&feed).header("atproto-repo-rev", rev).header("content-encoding", "br");
    assert_eq!(same(packed).await.headers["content-encoding"], "br");
    let mut page = Reply::json(&feed).header("atproto-repo-rev", rev);
    page.headers[0].1 = "text/html".to_owned();
    same(page).await;
    let huge = json!({ "feed": [], "filler": "x".repeat(3 * 1024 * 1024) });
    same(Reply::json(&huge).header("atproto-repo-rev", rev)).await;
}

#[tokio::test]
async fn compressed_answer_is_merged_and_unmerged_stays_compressed() {
    let scene = Scene::new().await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(json!({ "feed": [] }).to_string().as_bytes()).unwrap();
    let mut reply = Reply::json(&Value::Null)
        .header("content-encoding", "gzip")
        .header("atproto-repo-rev", &scene.known_rev);
    reply.body = encoder.finish().unwrap();
    let packed = reply.body.clone();
    scene.appview.set(TIMELINE, reply);
    let ask = async || {
        let request = scene.pds.http.get(format!("{}/xrpc/{TIMELINE}", scene.pds.url));
        let request = request.bearer_auth(&scene.alice.access).header("accept-encoding", "br, gzip");
        Pds::read_foreign(request.send().await.unwrap()).await
    };
    assert_eq!(ask().await.body, packed);
    assert_eq!(scene.appview.take_one().headers["accept-encoding"], "gzip");
    scene.pds.create_post(&scene.alice, "new").await;
    let merged = ask().await;
    assert!(!merged.headers.contains_key("content-encoding"));
    assert_eq!(merged.ok()["feed"][0]["post"]["record"]["text"], "new");
}

#[tokio::test]
async fn new_profile_is_seen_in_profiles_feeds_and_likes() {
    let scene = Scene::new().await;
    let did = scene.alice.did.as_str();
    let old = json!({ "did": did, "handle": "alice.test", "displayName": "before", "followersCount": 9, "banner": "https://cdn.example/b" });
    let other = json!({ "did": OTHER, "handle": "other.test", "displayName": "other" });
    scene.answer("app.bsky.actor.getProfile", &old);
    scene.answer("app.bsky.actor.getProfiles", &json!({ "profiles": [other, old] }));
    let feed = json!({ "feed": [item(MINE, did), item(X, OTHER)] });
    scene.answer("app.bsky.feed.getAuthorFeed", &feed);
    scene.answer("app.bsky.feed.getActorLikes", &feed);
    let actor = [("actor", did)];
    let before = scene.get("app.bsky.actor.getProfile", &actor).await.ok();
    assert_eq!(before, old);

    scene.set_profile("after").await;
    let view = scene.get("app.bsky.actor.getProfile", &actor).await.ok();
    assert_eq!((&view["displayName"], &view["description"]), (&json!("after"), &json!("d")));
    assert_eq!((&view["followersCount"], &view["banner"]), (&json!(9), &Value::Null));
    let view = scene.get("app.bsky.actor.getProfiles", &[("actors", did), ("actors", OTHER)]).await.ok();
    assert_eq!(view["profiles"][0], other);
    assert_eq!(view["profiles"][1]["displayName"], "after");
    scene.pds.create_post(&scene.alice, "new").await;
    let view = scene.get("app.bsky.feed.getAuthorFeed", &actor).await.ok();
    let names: Vec<_> =
        view["feed"].as_array().unwrap().iter().map(|i| &i["post"]["author"]["displayName"]).collect();
    assert_eq!(names, ["after", "after", "before"]);
    let likes = scene.get("app.bsky.feed.getActorLikes", &actor).await.ok();
    assert_eq!(likes["feed"][0]["post"]["author"]["displayName"], "after");
    assert_eq!(likes["feed"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn like_changes_no_view() {
    let scene = Scene::new().await;
    let subject = json!({ "uri": format!("at://{OTHER}/app.bsky.feed.post/a"), "cid": CID });
    let like =
        json!({ "$type": "app.bsky.feed.like", "subject": subject, "createdAt": "2026-11-23T02:34:56.789Z" });
    scene.pds.create(&scene.alice, &like).await.ok();
    let feed = json!({ "feed": [item(X, OTHER)] });
    for method in ["app.bsky.feed.getActorLikes", TIMELINE] {
        scene.answer(method, &feed);
        assert_eq!(scene.get(method, &[("actor", &scene.alice.did)]).await.ok(), feed);
    }
}

#[tokio::test]
async fn reply_is_in_its_thread_and_a_new_post_is_a_thread_of_its_own() {
    let scene = Scene::new().await;
    let root = format!("at://{OTHER}/app.bsky.feed.post/root");
    let cid = CID;
    let mut reply = post("answer");
    reply["reply"] = json!({ "root": { "uri": root, "cid": cid }, "parent": { "uri": root, "cid": cid } });
    let written = scene.pds.create(&scene.alice, &reply).await.ok();
    let mut second = post("answer to the answer");
    second["reply"] = json!({
        "root": { "uri": root, "cid": cid },
        "parent": { "uri": written["uri"], "cid": written["cid"] },
    });
    let second = scene.pds.create(&scene.alice, &second).await.ok();
    let upstream = json!({ "thread": {
        "$type": "app.bsky.feed.defs#threadViewPost",
        "post": {
            "uri": root, "cid": cid, "author": { "did": OTHER, "handle": "o.test" },
            "record": { "text": "root" }, "indexedAt": "2026-11-20T00:00:00.000Z",
        },
        "replies": [],
    } });
    scene.answer(THREAD, &upstream);
    let view = scene.get(THREAD, &[("uri", &root)]).await.ok();
    let first = &view["thread"]["replies"][0];
    assert_eq!(first["post"]["uri"], written["uri"]);
    assert_eq!(first["$type"], "app.bsky.feed.defs#threadViewPost");
    assert_eq!(first["replies"][0]["post"]["uri"], second["uri"]);

    // The AppView does not know the answer as a thread.
    let not_found = Reply::json(&json!({ "error": "NotFound", "message": "Post not found" })).status(400);
    scene.appview.set(THREAD, not_found.clone().header("atproto-repo-rev", &scene.known_rev));
    for uri in [
        written["uri"].as_str().unwrap().to_owned(),
        written["uri"].as_str().unwrap().replace(&scene.alice.did, "alice.test"),
    ] {
        scene.appview.take_seen();
        let answer = scene.get(THREAD, &[("uri", &uri), ("parentHeight", "7")]).await;
        assert!(answer.headers.contains_key("atproto-upstream-lag"));
        let view = answer.ok();
        assert_eq!(view["thread"]["post"]["uri"], written["uri"]);
        assert_eq!(view["thread"]["replies"][0]["post"]["uri"], second["uri"]);
        let asked = scene.appview.take_seen();
        assert!(
            asked[1].query.contains("depth=0") && asked[1].query.contains("parentHeight=7"),
            "{}",
            asked[1].query
        );
    }
    // Unknown to both, and without a revision, it stays not found.
    let missing = format!("at://{}/app.bsky.feed.post/none", scene.alice.did);
    assert_eq!(scene.get(THREAD, &[("uri", &missing)]).await.error(), error(400, "NotFound"));
    scene.appview.set(THREAD, not_found);
    let uri = written["uri"].as_str().unwrap();
    assert_eq!(scene.get(THREAD, &[("uri", uri)]).await.error(), error(400, "NotFound"));
}

#[tokio::test]
async fn quoted_post_and_pictures_are_shown_in_the_merged_one() {
    let scene = Scene::new().await;
    let quoted = format!("at://{OTHER}/app.bsky.feed.post/quoted");
    let cid = CID;
    let request = scene.pds.http.post(format!("{}/xrpc/com.atproto.repo.uploadBlob", scene.pds.url));
    let request = request.bearer_auth(&scene.alice.access).header("content-type", "image/png");
    let blob = Pds::read(request.body(&b"\x89PNG\r\n\x1a\n picture"[..]).send().await.unwrap()).await.ok();
    let mut record = post("look");
    record["embed"] = json!({
        "$type": "app.bsky.embed.recordWithMedia",
        "record": { "$type": "app.bsky.embed.record", "record": { "uri": quoted, "cid": cid } },
        "media": { "$type": "app.bsky.embed.images", "images": [{ "alt": "bird", "image": blob["blob"] }] },
    });
    scene.pds.create(&scene.alice, &record).await.ok();
    scene.answer(TIMELINE, &json!({ "feed": [] }));
    let post = json!({
        "uri": quoted, "cid": cid, "author": { "did": OTHER, "handle": "o.test" },
        "record": { "text": "quoted" }, "indexedAt": "2026-11-20T00:00:00.000Z",
    });
    scene.appview.set("app.bsky.feed.getPosts", Reply::json(&json!({ "posts": [post] })));
    let view = scene.get(TIMELINE, &[]).await.ok();
    let embed = &view["feed"][0]["post"]["embed"];
    assert_eq!(embed["$type"], "app.bsky.embed.recordWithMedia#view");
    assert_eq!(embed["record"]["record"]["value"]["text"], "quoted");
    assert_eq!(embed["record"]["record"]["$type"], "app.bsky.embed.record#viewRecord");
    let picture = blob["blob"]["ref"]["$link"].as_str().unwrap();
    assert!(embed["media"]["images"][0]["fullsize"].as_str().unwrap().ends_with(&format!("&cid={picture}")));
    // When the AppView does not say what was quoted, its own answer is the best there is.
    scene.appview.set("app.bsky.feed.getPosts", Reply::json(&json!({})).status(500));
    assert_eq!(scene.get(TIMELINE, &[]).await.ok(), json!({ "feed": [] }));
    scene.appview.set("app.bsky.feed.getPosts", Reply::json(&json!({ "posts": [] })));
    let view = scene.get(TIMELINE, &[]).await.ok();
    assert_eq!(view["feed"][0]["post"]["embed"]["record"]["record"]["notFound"], true);
}
