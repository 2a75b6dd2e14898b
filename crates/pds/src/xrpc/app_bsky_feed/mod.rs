//! `app.bsky.feed`: feeds that the AppView makes, with what the account has just written put in.

mod get_actor_likes;
mod get_author_feed;
mod get_feed;
mod get_post_thread;
mod get_timeline;

use super::route::Route;

/// Who may call these.
const SIGNED_IN: &str = "signed in";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("app.bsky.feed.getTimeline", get_timeline::handle).auth(SIGNED_IN),
        Route::query("app.bsky.feed.getAuthorFeed", get_author_feed::handle).auth(SIGNED_IN),
        Route::query("app.bsky.feed.getActorLikes", get_actor_likes::handle).auth(SIGNED_IN),
        Route::query("app.bsky.feed.getPostThread", get_post_thread::handle).auth(SIGNED_IN),
        Route::query("app.bsky.feed.getFeed", get_feed::handle).auth(SIGNED_IN),
    ]
}
