//! `com.atproto.repo`: records and blobs of one account, written by its owner and read by anyone.

pub(super) mod apply_writes;
pub(super) mod create_record;
pub(super) mod delete_record;
pub(super) mod describe_repo;
pub(super) mod get_record;
pub(super) mod import_repo;
pub(super) mod list_missing_blobs;
pub(super) mod list_records;
pub(super) mod put_record;
pub(super) mod upload_blob;
mod write;
