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

/// Who may read a repo.
const PUBLIC: &str = "anyone while the account is active; its owner and the operator always";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("com.atproto.sync.getBlob", get_blob::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.listBlobs", list_blobs::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.getRepo", get_repo::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.getCheckout", get_checkout::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.getRecord", get_record::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.getBlocks", get_blocks::handle)
            .auth(PUBLIC)
            .differs("more than 2 MiB of records in one call are refused"),
        Route::query("com.atproto.sync.getLatestCommit", get_latest_commit::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.getHead", get_head::handle).auth(PUBLIC),
        Route::query("com.atproto.sync.getRepoStatus", get_repo_status::handle),
        Route::query("com.atproto.sync.listRepos", list_repos::handle),
        Route::subscription("com.atproto.sync.subscribeRepos", subscribe_repos::handle),
    ]
}
