//! `app.bsky.feed.getPostThread`, also of a post that the AppView does not know at all yet.

use atproto::{
    syntax::{AtIdentifier, AtUri},
    tid::Tid,
};
use axum::{
    extract::{FromRequestParts, Request},
    http::Method,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    super::{Passage, Sent, failure::Failure, headers},
    MERGE_BYTES_MAX, THREAD, answer_of, local, merge, merged, views,
};
use crate::{
    app::{App, Shared},
    auth::Standard,
    error::XrpcError,
    input::Params,
};

/// What the AppView calls a post that it does not know.
const NOT_FOUND: &str = "NotFound";

/// Passes the question on; what the account has just written is put into the thread, or is the thread.
///
/// # Errors
/// As [`super::super::pass_on`].
pub(crate) async fn pass_on_thread(app: &Shared, request: Request) -> Result<Response, XrpcError> {
    let (mut parts, _) = request.into_parts();
    let passage = Passage::plan::<Standard>(app, &mut parts).await?;
    let headers = headers::up_readable(&parts.headers);
    let answer = passage.send(app, &parts, headers, Sent::Nothing).await?;
    if answer.status.is_success() && parts.method != Method::HEAD {
        return merged(app, &passage, answer, THREAD).await;
    }
    if !answer.status.is_client_error() && !answer.status.is_server_error() {
        return answer.into_response(Vec::new());
    }
    let failure = Failure::read(answer).await;
    if failure.name() == NOT_FOUND
        && let Ok(params) = Params::from_request_parts(&mut parts, app).await
        && let Some(response) = own_thread(app, &passage, &failure, &params).await
    {
        return Ok(response);
    }
    Ok(failure.into_response())
}

/// The thread of a post that the caller has just written; `None` when it is not one.
async fn own_thread(app: &App, passage: &Passage, failure: &Failure, params: &Params) -> Option<Response> {
    let since = Tid::parse(failure.headers.get(headers::REPO_REV)?.to_str().ok()?).ok()?;
    let uri = AtUri::parse(params.get("uri")?).ok()?;
    let is_own = match uri.identifier().ok()? {
        AtIdentifier::Did(did) => did == passage.caller,
        handle @ AtIdentifier::Handle(_) => app.account(&handle).await.ok()??.did == passage.caller,
    };
    if !is_own {
        return None;
    }
    let uri = format!("at://{}/{}/{}", passage.caller, uri.collection()?, uri.rkey()?);
    let mut local = local::since(app, &passage.caller, since).await.ok()??;
    views::build(app, passage, &mut local).await?;
    let found = local.posts.iter().find(|post| post.uri == uri)?.clone();
    let rest: Vec<_> = local.posts.iter().filter(|post| post.uri != uri).cloned().collect();
    let mut thread = merge::new_thread(&found);
    merge::add_replies(&mut thread, &rest)?;
    if let Some(parent) = found.record.pointer("/reply/parent/uri").and_then(Value::as_str)
        && let Some(parent) = parent_thread(app, passage, parent, params.get("parentHeight")).await
        && let Some(thread) = thread.as_object_mut()
    {
        thread.insert("parent".to_owned(), parent);
    }
    Some(answer_of(app, &json!({ "thread": thread }), &local))
}

/// Asks the AppView for what the post answers; without it the thread is shown alone.
async fn parent_thread(app: &App, passage: &Passage, uri: &str, height: Option<&str>) -> Option<Value> {
    let mut params = vec![("uri", uri), ("depth", "0")];
    params.extend(height.map(|height| ("parentHeight", height)));
    let mut found = passage.ask(app, "app.bsky.feed.getPostThread", &params, MERGE_BYTES_MAX).await?;
    Some(found.get_mut("thread")?.take())
}
