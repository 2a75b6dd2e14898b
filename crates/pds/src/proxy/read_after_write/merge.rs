//! Puts local posts and the local profile into the AppView's views. Pure: JSON in, JSON out.

use serde_json::{Value, json};

use super::{
    local::{Local, LocalPost},
    views::{set_basic, set_detailed},
};

/// `app.bsky.actor.getProfile`: the caller's own profile.
pub(super) fn profile(view: &mut Value, local: &Local) -> Option<()> {
    let view = view.as_object_mut()?;
    if let Some(record) = &local.profile
        && view.get("did")?.as_str()? == local.did.as_str()
    {
        set_detailed(local, view, record);
    }
    Some(())
}

/// `app.bsky.actor.getProfiles`: the caller's own among them.
pub(super) fn profiles(view: &mut Value, local: &Local) -> Option<()> {
    view.get_mut("profiles")?.as_array_mut()?.iter_mut().try_for_each(|view| profile(view, local))
}

/// `app.bsky.feed.getTimeline`: the caller's posts.
pub(super) fn timeline(view: &mut Value, local: &Local) -> Option<()> {
    insert_posts(view.get_mut("feed")?.as_array_mut()?, &local.posts)
}

/// `app.bsky.feed.getAuthorFeed`: posts and profile, if the feed is the caller's own.
pub(super) fn author_feed(view: &mut Value, local: &Local) -> Option<()> {
    let feed = view.get_mut("feed")?.as_array_mut()?;
    if !feed.first().is_some_and(|first| is_by(first, local.did.as_str())) {
        return Some(());
    }
    set_authors(feed, local)?;
    insert_posts(feed, &local.posts)
}

/// `app.bsky.feed.getActorLikes`: the caller's profile beside posts of their own.
pub(super) fn actor_likes(view: &mut Value, local: &Local) -> Option<()> {
    set_authors(view.get_mut("feed")?.as_array_mut()?, local)
}

/// Says whether an item stands in a feed because of this account: its post, or its repost.
fn is_by(item: &Value, did: &str) -> bool {
    let is = |pointer| item.pointer(pointer).and_then(Value::as_str);
    match item.get("reason") {
        None => is("/post/author/did") == Some(did),
        Some(_) => {
            is("/reason/$type") == Some("app.bsky.feed.defs#reasonRepost")
                && is("/reason/by/did") == Some(did)
        }
    }
}

fn set_authors(feed: &mut [Value], local: &Local) -> Option<()> {
    let Some(record) = &local.profile else { return Some(()) };
    for item in feed {
        let author = item.pointer_mut("/post/author")?.as_object_mut()?;
        if author.get("did")?.as_str()? == local.did.as_str() {
            set_basic(local, author, record);
        }
    }
    Some(())
}

/// Puts posts where their time belongs. What is older than the page's end belongs to a later page.
fn insert_posts(feed: &mut Vec<Value>, posts: &[LocalPost]) -> Option<()> {
    let oldest = match feed.last() {
        Some(last) => time_of(last)?.to_owned(),
        None => String::new(),
    };
    for post in posts.iter().rev().filter(|post| post.indexed_at > oldest) {
        let mut place = feed.len();
        for (at, item) in feed.iter().enumerate().rev() {
            if item.pointer("/post/uri").and_then(Value::as_str) == Some(post.uri.as_str()) {
                // The AppView knows it already, whatever revision it named.
                place = usize::MAX;
                break;
            }
            if time_of(item)? < post.indexed_at.as_str() {
                place = at;
            }
        }
        if place <= feed.len() {
            feed.insert(place, json!({ "post": post.view }));
        }
    }
    Some(())
}

fn time_of(item: &Value) -> Option<&str> {
    item.pointer("/post/indexedAt")?.as_str()
}

const THREAD: &str = "app.bsky.feed.defs#threadViewPost";

/// `app.bsky.feed.getPostThread`: the caller's replies in it.
pub(super) fn thread(view: &mut Value, local: &Local) -> Option<()> {
    let thread = view.get_mut("thread")?;
    if !is_thread(thread) {
        return Some(());
    }
    add_replies(thread, &local.posts)
}

/// A thread of one post.
pub(super) fn new_thread(post: &LocalPost) -> Value {
    json!({ "$type": THREAD, "post": post.view })
}

/// Puts those posts into a thread that answer something in it.
pub(super) fn add_replies(thread: &mut Value, posts: &[LocalPost]) -> Option<()> {
    let uri = thread.pointer("/post/uri")?.as_str()?.to_owned();
    let root = thread.pointer("/post/record/reply/root/uri").and_then(Value::as_str).map(str::to_owned);
    for post in posts {
        let Some(of) = post.record.pointer("/reply/root/uri").and_then(Value::as_str) else { continue };
        let parent = post.record.pointer("/reply/parent/uri").and_then(Value::as_str);
        if of == uri || root.as_deref() == Some(of) {
            insert_reply(thread, parent?, post)?;
        }
    }
    Some(())
}

/// Looks for the answered post in a thread and its replies. As deep as the JSON that was read, which is bounded.
fn insert_reply(thread: &mut Value, parent: &str, reply: &LocalPost) -> Option<()> {
    if thread.pointer("/post/uri")?.as_str()? == parent {
        let view = thread.as_object_mut()?;
        let replies = view.entry("replies").or_insert_with(|| json!([])).as_array_mut()?;
        let known =
            |item: &Value| item.pointer("/post/uri").and_then(Value::as_str) == Some(reply.uri.as_str());
        if !replies.iter().any(known) {
            replies.insert(0, new_thread(reply));
        }
        return Some(());
    }
    let Some(replies) = thread.get_mut("replies") else { return Some(()) };
    replies
        .as_array_mut()?
        .iter_mut()
        .filter(|item| is_thread(item))
        .try_for_each(|item| insert_reply(item, parent, reply))
}

fn is_thread(view: &Value) -> bool {
    view.get("$type").and_then(Value::as_str) == Some(THREAD)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
