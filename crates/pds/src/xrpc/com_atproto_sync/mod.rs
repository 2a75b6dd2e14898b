//! `com.atproto.sync`: whole repos, blocks, blobs and events, for mirrors and relays.

mod get_blob;
mod get_blocks;
mod get_checkout;
mod get_head;
mod get_latest_commit;
mod get_record;
mod get_repo;
mod get_repo_status;
mod list_blobs;
mod list_repos;
mod subscribe_repos;

use super::route::Route;

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("com.atproto.sync.getBlob", get_blob::handle),
        Route::query("com.atproto.sync.listBlobs", list_blobs::handle),
        Route::query("com.atproto.sync.getRepo", get_repo::handle),
        Route::query("com.atproto.sync.getCheckout", get_checkout::handle),
        Route::query("com.atproto.sync.getRecord", get_record::handle),
        Route::query("com.atproto.sync.getBlocks", get_blocks::handle)
            .differs("more than 2 MiB of records in one call are refused"),
        Route::query("com.atproto.sync.getLatestCommit", get_latest_commit::handle),
        Route::query("com.atproto.sync.getHead", get_head::handle),
        Route::query("com.atproto.sync.getRepoStatus", get_repo_status::handle),
        Route::query("com.atproto.sync.listRepos", list_repos::handle),
        Route::subscription("com.atproto.sync.subscribeRepos", subscribe_repos::handle),
    ]
}
