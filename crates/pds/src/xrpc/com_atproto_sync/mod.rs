//! `com.atproto.sync`: whole repos, blocks, blobs and events, for mirrors and relays.

pub(super) mod get_blob;
pub(super) mod get_blocks;
pub(super) mod get_checkout;
pub(super) mod get_head;
pub(super) mod get_latest_commit;
pub(super) mod get_record;
pub(super) mod get_repo;
pub(super) mod get_repo_status;
pub(super) mod list_blobs;
pub(super) mod list_repos;
pub(super) mod subscribe_repos;
