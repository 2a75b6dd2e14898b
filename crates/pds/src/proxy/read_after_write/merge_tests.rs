//! What is merged into an answer of the AppView, and what is left alone.

use std::collections::BTreeMap;

use atproto::syntax::{Did, Handle};
use serde_json::Map;

use super::*;

const ME: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

fn post(name: &str, at: &str, reply: Option<(&str, &str)>) -> LocalPost {
    let uri = format!("at://{ME}/app.bsky.feed.post/{name}");
    let mut record = json!({ "text": name });
    if let Some((root, parent)) = reply {
        record["reply"] = json!({ "root": { "uri": root }, "parent": { "uri": parent } });
    }
    let view = json!({ "uri": uri, "record": record, "indexedAt": at, "author": { "did": ME } });
    LocalPost { uri, cid: "c".to_owned(), indexed_at: at.to_owned(), record, view }
}

fn local(posts: Vec<LocalPost>, profile: Option<Value>) -> Local {
    let profile = profile.map(|p| p.as_object().unwrap().clone());
    Local {
        did: Did::parse(ME).unwrap(),
        handle: Handle::parse("me.test").unwrap(),
        posts,
        current_profile: profile.clone().unwrap_or_default(),
        profile,
        public_url: "https://pds.test".to_owned(),
        oldest_us: 0,
    }
}

fn item(uri: &str, at: &str, did: &str) -> Value {
    json!({ "post": { "uri": uri, "indexedAt": at, "author": { "did": did, "displayName": "old", "avatar": "a" } } })
}

fn uris(view: &Value) -> Vec<&str> {
    view["feed"].as_array().unwrap().iter().map(|i| i["post"]["uri"].as_str().unwrap()).collect()
}

#[test]
fn posts_stand_where_their_time_belongs_and_not_past_the_page() {
    let posts =
        vec![post("old", "01", None), post("b", "15", None), post("c", "25", None), post("d", "35", None)];
    let names: BTreeMap<_, _> =
        posts.iter().map(|p| (p.record["text"].as_str().unwrap().to_owned(), p.uri.clone())).collect();
    let mut view =
        json!({ "feed": [item("x", "30", "o"), item("y", "20", "o"), item("z", "10", "o")], "cursor": "q" });
    timeline(&mut view, &local(posts.clone(), None)).unwrap();
    assert_eq!(uris(&view), [names["d"].as_str(), "x", &names["c"], "y", &names["b"], "z"]);
    assert_eq!(view["cursor"], "q");
    let mut empty = json!({ "feed": [] });
    timeline(&mut empty, &local(posts.clone(), None)).unwrap();
    assert_eq!(uris(&empty), [&names["d"], &names["c"], &names["b"], &names["old"]]);
    let before = view.clone();
    timeline(&mut view, &local(posts, None)).unwrap();
    assert_eq!(view, before, "what is there already is not put in again");
}

#[test]
fn views_of_another_form_are_left_alone() {
    let mine = local(vec![post("a", "15", None)], Some(json!({ "displayName": "new" })));
    for bad in [
        json!({}),
        json!({ "feed": 5 }),
        json!([]),
        json!({ "feed": [{ "post": {} }] }),
        json!({ "feed": [1] }),
    ] {
        assert_eq!(timeline(&mut bad.clone(), &mine), None, "{bad}");
    }
    for bad in [json!({}), json!({ "profiles": [{}] }), json!({ "profiles": [3] })] {
        assert_eq!(profiles(&mut bad.clone(), &mine), None, "{bad}");
    }
    assert_eq!(actor_likes(&mut json!({ "feed": [{ "post": { "author": {} } }] }), &mine), None);
}

#[test]
fn profile_replaces_name_pictures_and_text_of_its_owner_only() {
    let record = json!({ "displayName": "new", "avatar": { "ref": { "$link": "bafy" } } });
    let mine = local(Vec::new(), Some(record));
    let mut view = json!({ "profiles": [
        { "did": ME, "displayName": "old", "description": "gone", "banner": "gone", "followersCount": 7 },
        { "did": "did:plc:other", "displayName": "theirs" },
    ] });
    profiles(&mut view, &mine).unwrap();
    let avatar = format!("https://pds.test/xrpc/com.atproto.sync.getBlob?did={ME}&cid=bafy");
    assert_eq!(
        view["profiles"][0],
        json!({ "did": ME, "displayName": "new", "avatar": avatar, "followersCount": 7 })
    );
    assert_eq!(view["profiles"][1]["displayName"], "theirs");

    let mut likes = json!({ "feed": [item("x", "30", "o"), item("y", "20", ME)] });
    actor_likes(&mut likes, &mine).unwrap();
    assert_eq!(likes["feed"][0]["post"]["author"]["displayName"], "old");
    assert_eq!(likes["feed"][1]["post"]["author"]["displayName"], "new");
}

#[test]
fn only_ones_own_author_feed_is_merged() {
    let mine = local(vec![post("a", "25", None)], None);
    let repost = |by: &str| {
        let mut repost = item("x", "20", "o");
        repost["reason"] = json!({ "$type": "app.bsky.feed.defs#reasonRepost", "by": { "did": by } });
        repost
    };
    for (first, merged) in [
        (item("x", "20", ME), true),
        (item("x", "20", "did:plc:other"), false),
        (repost(ME), true),
        (repost("did:plc:other"), false),
    ] {
        let mut view = json!({ "feed": [first] });
        author_feed(&mut view, &mine).unwrap();
        assert_eq!(uris(&view).len(), if merged { 2 } else { 1 }, "{view}");
    }
    let mut empty = json!({ "feed": [] });
    author_feed(&mut empty, &mine).unwrap();
    assert!(uris(&empty).is_empty(), "whose feed it is cannot be seen");
}

#[test]
fn replies_stand_under_what_they_answer_also_in_a_row() {
    let a = post("a", "1", Some(("root", "deep")));
    let b = post("b", "2", Some(("root", &a.uri)));
    let elsewhere = post("e", "3", Some(("other", "deep")));
    let (a_uri, b_uri) = (a.uri.clone(), b.uri.clone());
    let mine = local(vec![a, b, elsewhere], None);
    let mut view = json!({ "thread": {
        "$type": THREAD,
        "post": { "uri": "root" },
        "replies": [
            { "$type": "app.bsky.feed.defs#blockedPost", "uri": "x" },
            { "$type": THREAD, "post": { "uri": "deep" }, "replies": [{ "$type": THREAD, "post": { "uri": "older" } }] },
        ],
    } });
    thread(&mut view, &mine).unwrap();
    let deep = &view["thread"]["replies"][1]["replies"];
    assert_eq!(deep[0]["post"]["uri"], a_uri.as_str());
    assert_eq!(deep[0]["replies"][0]["post"]["uri"], b_uri.as_str());
    assert_eq!(deep[1]["post"]["uri"], "older");
    let before = view.clone();
    thread(&mut view, &mine).unwrap();
    assert_eq!(view, before);

    // The thread of a reply belongs to the same root.
    let mut inner = json!({ "thread": {
        "$type": THREAD,
        "post": { "uri": "deep", "record": { "reply": { "root": { "uri": "root" } } } },
    } });
    thread(&mut inner, &mine).unwrap();
    assert_eq!(inner["thread"]["replies"][0]["post"]["uri"], a_uri.as_str());
    let mut missing = json!({ "thread": { "$type": "app.bsky.feed.defs#notFoundPost", "uri": "x" } });
    thread(&mut missing, &mine).unwrap();
    assert_eq!(missing["thread"]["uri"], "x");
}

#[test]
fn account_without_a_profile_has_neither_name_nor_picture() {
    let mine = local(Vec::new(), Some(Value::Object(Map::new())));
    let mut view = json!({ "did": ME, "displayName": "old", "avatar": "a" });
    profile(&mut view, &mine).unwrap();
    assert_eq!(view, json!({ "did": ME }));
}
