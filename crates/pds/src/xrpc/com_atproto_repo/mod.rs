//! `com.atproto.repo`: records and blobs of one account, written by its owner and read by anyone.

mod apply_writes;
mod create_record;
mod delete_record;
mod describe_repo;
mod get_record;
mod import_repo;
mod list_missing_blobs;
mod list_records;
mod put_record;
mod upload_blob;
mod write;

use super::route::Route;

/// Where the check of records differs from the reference's.
const CHECKED: &str = "Record types beyond the built-in ones are checked by the lexicons that their authors published, \
    once these were looked up: validationStatus then is valid, and a record that breaks its lexicon is refused. Record \
    keys are not searched for offensive words: they are names for machines, and such lists err.";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::procedure("com.atproto.repo.createRecord", create_record::handle).auth("signed in").differs(CHECKED),
        Route::procedure("com.atproto.repo.putRecord", put_record::handle).auth("signed in").differs(CHECKED),
        Route::procedure("com.atproto.repo.deleteRecord", delete_record::handle).auth("signed in"),
        Route::procedure("com.atproto.repo.applyWrites", apply_writes::handle).auth("signed in").differs(CHECKED),
        Route::query("com.atproto.repo.getRecord", get_record::handle).differs(
            "`atproto-proxy` does not count here: a caller who is not signed in must not choose whom this server asks.",
        ),
        Route::query("com.atproto.repo.listRecords", list_records::handle)
            .differs("a page also ends, with a cursor, at 2 MiB of records"),
        Route::query("com.atproto.repo.describeRepo", describe_repo::handle),
        Route::procedure("com.atproto.repo.uploadBlob", upload_blob::handle)
            .auth("signed in, or a service token for this method"),
        Route::procedure("com.atproto.repo.importRepo", import_repo::handle).auth("signed in"),
        Route::query("com.atproto.repo.listMissingBlobs", list_missing_blobs::handle).auth("signed in"),
    ]
}
