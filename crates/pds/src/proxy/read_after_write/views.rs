//! Views of local records, as an AppView makes them: what it counts is zero right after writing.

use serde_json::{Map, Value, json};

use super::local::{Local, LocalPost};
use crate::{app::App, proxy::Passage};

/// Largest answer about a quoted record that is read, bytes: one post with its embeds.
const QUOTED_BYTES_MAX: usize = 256 * 1024;

/// Builds the views of all local posts; `None` when a quoted record cannot be had.
pub(super) async fn build(app: &App, passage: &Passage, local: &mut Local) -> Option<()> {
    for at in 0..local.posts.len() {
        let embed = match local.posts.get(at)?.record.get("embed").cloned() {
            Some(embed) => embed_view(app, passage, local, &embed).await?,
            None => None,
        };
        let view = post_view(local, local.posts.get(at)?, embed);
        local.posts.get_mut(at)?.view = view;
    }
    Some(())
}

fn post_view(local: &Local, post: &LocalPost, embed: Option<Value>) -> Value {
    let mut author = Map::new();
    author.insert("did".to_owned(), json!(local.did.as_str()));
    author.insert("handle".to_owned(), json!(local.handle.as_str()));
    set_basic(local, &mut author, &local.current_profile);
    let mut view = json!({
        "uri": post.uri,
        "cid": post.cid,
        "likeCount": 0,
        "replyCount": 0,
        "repostCount": 0,
        "quoteCount": 0,
        "author": author,
        "record": post.record,
        "indexedAt": post.indexed_at,
    });
    if let (Some(embed), Some(view)) = (embed, view.as_object_mut()) {
        view.insert("embed".to_owned(), embed);
    }
    view
}

/// Writes a profile record's name and picture into a view of the account.
pub(super) fn set_basic(local: &Local, view: &mut Map<String, Value>, record: &Map<String, Value>) {
    set(view, "displayName", record.get("displayName").cloned());
    set(view, "avatar", record.get("avatar").and_then(|blob| picture(local, blob)));
}

/// Writes all of a profile record into a detailed view of the account.
pub(super) fn set_detailed(local: &Local, view: &mut Map<String, Value>, record: &Map<String, Value>) {
    set_basic(local, view, record);
    set(view, "description", record.get("description").cloned());
    set(view, "banner", record.get("banner").and_then(|blob| picture(local, blob)));
}

fn set(view: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(view.insert(name.to_owned(), value)),
        None => drop(view.remove(name)),
    }
}

/// The address of a picture: here, since the AppView's picture server has not got it yet.
fn picture(local: &Local, blob: &Value) -> Option<Value> {
    let cid = blob.pointer("/ref/$link")?.as_str()?;
    Some(json!(format!("{}/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", local.public_url, local.did)))
}

/// The view of what a post embeds; inner `None` for kinds that are shown without, outer for failure.
async fn embed_view(app: &App, passage: &Passage, local: &Local, embed: &Value) -> Option<Option<Value>> {
    Some(match embed.get("$type").and_then(Value::as_str) {
        Some("app.bsky.embed.images" | "app.bsky.embed.external") => media_view(local, embed),
        Some("app.bsky.embed.record") => {
            Some(record_view(app, passage, embed.pointer("/record/uri")?).await?)
        }
        Some("app.bsky.embed.recordWithMedia") => {
            let media = embed.get("media").and_then(|media| media_view(local, media));
            let Some(media) = media else { return Some(None) };
            let record = record_view(app, passage, embed.pointer("/record/record/uri")?).await?;
            Some(json!({ "$type": "app.bsky.embed.recordWithMedia#view", "media": media, "record": record }))
        }
        _ => None,
    })
}

fn media_view(local: &Local, embed: &Value) -> Option<Value> {
    match embed.get("$type")?.as_str()? {
        "app.bsky.embed.images" => {
            let views: Option<Vec<Value>> =
                embed.get("images")?.as_array()?.iter().map(|image| image_view(local, image)).collect();
            Some(json!({ "$type": "app.bsky.embed.images#view", "images": views? }))
        }
        "app.bsky.embed.external" => {
            let external = embed.get("external")?;
            let mut view = Map::new();
            for name in ["uri", "title", "description"] {
                view.insert(name.to_owned(), external.get(name)?.clone());
            }
            set(&mut view, "thumb", external.get("thumb").and_then(|blob| picture(local, blob)));
            Some(json!({ "$type": "app.bsky.embed.external#view", "external": view }))
        }
        _ => None,
    }
}

fn image_view(local: &Local, image: &Value) -> Option<Value> {
    let url = picture(local, image.get("image")?)?;
    let mut view = Map::new();
    view.insert("thumb".to_owned(), url.clone());
    view.insert("fullsize".to_owned(), url);
    view.insert("alt".to_owned(), image.get("alt")?.clone());
    set(&mut view, "aspectRatio", image.get("aspectRatio").cloned());
    Some(Value::Object(view))
}

/// Asks the AppView for a quoted record's view.
async fn record_view(app: &App, passage: &Passage, uri: &Value) -> Option<Value> {
    let uri = uri.as_str()?;
    let collection = uri.strip_prefix("at://")?.split('/').nth(1)?;
    let ask =
        async |method: &str, name: &str| passage.ask(app, method, &[(name, uri)], QUOTED_BYTES_MAX).await;
    let record = match collection {
        "app.bsky.feed.post" => {
            let found = ask("app.bsky.feed.getPosts", "uris").await?;
            found.pointer("/posts/0").and_then(quoted_post)
        }
        "app.bsky.feed.generator" => typed(
            ask("app.bsky.feed.getFeedGenerator", "feed").await?.get("view")?,
            "app.bsky.feed.defs#generatorView",
        ),
        "app.bsky.graph.list" => {
            typed(ask("app.bsky.graph.getList", "list").await?.get("list")?, "app.bsky.graph.defs#listView")
        }
        _ => None,
    };
    let missing = || json!({ "$type": "app.bsky.embed.record#viewNotFound", "uri": uri, "notFound": true });
    Some(json!({ "$type": "app.bsky.embed.record#view", "record": record.unwrap_or_else(missing) }))
}

fn quoted_post(post: &Value) -> Option<Value> {
    let mut view = Map::new();
    for (name, from) in [
        ("uri", "uri"),
        ("cid", "cid"),
        ("author", "author"),
        ("value", "record"),
        ("indexedAt", "indexedAt"),
    ] {
        view.insert(name.to_owned(), post.get(from)?.clone());
    }
    set(&mut view, "labels", post.get("labels").cloned());
    set(&mut view, "embeds", post.get("embed").map(|embed| json!([embed])));
    typed(&Value::Object(view), "app.bsky.embed.record#viewRecord")
}

fn typed(view: &Value, kind: &str) -> Option<Value> {
    let mut view = view.as_object()?.clone();
    view.insert("$type".to_owned(), json!(kind));
    Some(Value::Object(view))
}
