//! Read after write: shows an account at once what it has just written, although the AppView has not seen it yet.
//!
//! The AppView says up to which revision it knows the account's repo. Posts and the profile written since are put into
//! its answer here. Whenever anything about that fails, the AppView's answer goes down as it came.

mod local;
mod merge;
mod thread;
mod views;

use std::time::Duration;

use atproto::tid::Tid;
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    response::Response,
};
use serde_json::Value;

use self::local::Local;
pub(crate) use self::thread::pass_on_thread;
use super::{
    Passage, Sent, encoding, failure, headers,
    upstream::{Answer, Collected, whole},
};
use crate::{
    app::{App, Shared},
    auth::Standard,
    error::XrpcError,
    xrpc::json,
};

/// Largest answer that is merged, plain bytes. A page of a hundred posts has some 600 KiB; a longer one passes as it is.
const MERGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long an answer waits for a place to be merged; then it passes as it is.
const MERGE_WAIT: Duration = Duration::from_secs(2);

/// How long ago the oldest merged record was written, milliseconds.
const LAG: HeaderName = HeaderName::from_static("atproto-upstream-lag");

/// How a method's answer is merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    /// Whether it shows posts; otherwise only a new profile matters.
    posts: bool,
    /// Puts what is local into the view; `None` when the view has not the form it should have.
    apply: fn(&mut Value, &Local) -> Option<()>,
}

/// `app.bsky.actor.getProfile`.
pub(crate) const PROFILE: Merge = Merge { posts: false, apply: merge::profile };
/// `app.bsky.actor.getProfiles`.
pub(crate) const PROFILES: Merge = Merge { posts: false, apply: merge::profiles };
/// `app.bsky.feed.getActorLikes`.
pub(crate) const ACTOR_LIKES: Merge = Merge { posts: false, apply: merge::actor_likes };
/// `app.bsky.feed.getAuthorFeed`.
pub(crate) const AUTHOR_FEED: Merge = Merge { posts: true, apply: merge::author_feed };
/// `app.bsky.feed.getTimeline`.
pub(crate) const TIMELINE: Merge = Merge { posts: true, apply: merge::timeline };
/// `app.bsky.feed.getPostThread` of a post that the AppView knows.
const THREAD: Merge = Merge { posts: true, apply: merge::thread };

/// Passes a question on and merges its answer.
///
/// # Errors
/// As [`super::pass_on`].
pub(crate) async fn pass_on(app: &Shared, request: Request, merge: Merge) -> Result<Response, XrpcError> {
    let (mut parts, _) = request.into_parts();
    let passage = Passage::plan::<Standard>(app, &mut parts).await?;
    let headers = headers::up_readable(&parts.headers);
    let answer = passage.send(app, &parts, headers, Sent::Nothing).await?;
    if !answer.status.is_success() || parts.method == Method::HEAD {
        return failure::pass_down(answer).await;
    }
    merged(app, &passage, answer, merge).await
}

async fn merged(app: &App, passage: &Passage, answer: Answer, merge: Merge) -> Result<Response, XrpcError> {
    let local = newer(app, passage, &answer.headers).await;
    let Some(mut local) = local.filter(|local| merge.posts || local.profile.is_some()) else {
        return answer.into_response(Vec::new());
    };
    let place = tokio::time::timeout(MERGE_WAIT, app.upstreams.merges.acquire()).await;
    let Ok(Ok(_place)) = place else { return answer.into_response(Vec::new()) };
    let (status, headers) = (answer.status, answer.headers.clone());
    let body = match answer.collect(MERGE_BYTES_MAX).await? {
        Collected::Whole(body) => body,
        Collected::TooLong(begun, rest) => return rest.into_response(begun),
    };
    match merge_body(app, passage, &headers, &body, &mut local, merge).await {
        Some(view) => Ok(answer_of(app, &view, &local)),
        None => {
            tracing::warn!(
                method = passage.method.as_str(),
                "an answer could not be merged and passes as it is"
            );
            Ok(whole(status, &headers, body))
        }
    }
}

async fn merge_body(
    app: &App,
    passage: &Passage,
    headers: &HeaderMap,
    body: &[u8],
    local: &mut Local,
    merge: Merge,
) -> Option<Value> {
    let plain = encoding::plain(headers, body, MERGE_BYTES_MAX)?;
    let mut view: Value = serde_json::from_slice(&plain).ok()?;
    if merge.posts {
        views::build(app, passage, local).await?;
    }
    (merge.apply)(&mut view, local)?;
    Some(view)
}

/// What the account has that the AppView does not know; `None` when there is nothing to merge.
async fn newer(app: &App, passage: &Passage, headers: &HeaderMap) -> Option<Local> {
    let since = Tid::parse(headers.get(headers::REPO_REV)?.to_str().ok()?).ok()?;
    if headers::is_surely_not_json(headers) {
        return None;
    }
    match local::since(app, &passage.caller, since).await {
        Ok(found) => found,
        Err(e) => {
            tracing::warn!("what was written lately cannot be read: {e}");
            None
        }
    }
}

/// A merged answer. Of the AppView's headers none holds for it.
fn answer_of(app: &App, view: &Value, local: &Local) -> Response {
    let mut response = json(view);
    if let Ok(now) = app.clock.now() {
        let lag_ms = now.unix_micros().saturating_sub(local.oldest_us) / 1000;
        response.headers_mut().insert(LAG, HeaderValue::from(lag_ms));
    }
    response
}
