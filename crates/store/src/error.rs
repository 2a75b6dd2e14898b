//! What can go wrong in a store that is open, and in opening one.

use std::io;
use std::path::PathBuf;

use atproto::cid::Cid;
use platform::time::ClockUntrusted;

use crate::account::Status;

/// Why the store refused or failed.
///
/// The texts are for logs and owners; `pds` chooses what a client hears.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No account of that name lives here.
    #[error("no such account here")]
    AccountNotFound,
    /// The account may not write in its present state.
    #[error("the account is {}", .status.as_str())]
    AccountInactive {
        /// The state that forbids it.
        status: Status,
    },
    /// The handle belongs to an account or is reserved by one under way.
    #[error("the handle is taken")]
    HandleTaken,
    /// The e-mail address belongs to another account.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// The DID already has an account here.
    #[error("the DID already has an account here")]
    DidTaken,
    /// An earlier change of the identity waits for the PLC directory.
    #[error("an earlier change of this identity is still under way")]
    ChangeUnderWay,
    /// A swap condition does not hold.
    #[error("the repo or record is not what the request expected")]
    InvalidSwap {
        /// What is there now: the commit for `swap_commit`, the record for `swap_record`.
        current: Option<Cid>,
    },
    /// A create found a record.
    #[error("a record already exists at {path}")]
    RecordExists {
        /// `collection/rkey`.
        path: String,
    },
    /// An update found none.
    #[error("there is no record at {path}")]
    RecordNotFound {
        /// `collection/rkey`.
        path: String,
    },
    /// The tree takes no record of that name.
    #[error("no record can have that name: {why}")]
    BadPath {
        /// The rule.
        why: String,
    },
    /// One request writes one record twice; an event can name it once only.
    #[error("the request writes {path} twice")]
    DuplicatePath {
        /// `collection/rkey`.
        path: String,
    },
    /// More operations than an event may carry.
    #[error("{count} writes in one request, at most {max} are allowed")]
    TooManyOps {
        /// What came.
        count: usize,
        /// What may come.
        max: usize,
    },
    /// The event would be larger than the protocol allows.
    #[error("the commit has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Size of the blocks.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// A record points to a blob that was never uploaded, or has been collected.
    #[error("blob {cid} is not here; upload it first")]
    BlobNotFound {
        /// The blob.
        cid: Cid,
    },
    /// What was asked for is too much to hold in memory.
    #[error("the answer would be larger than {max} bytes; ask for less at once")]
    AnswerTooLarge {
        /// What is held.
        max: usize,
    },
    /// The account keeps too much that no record refers to.
    #[error(
        "blobs that no record refers to may have {bytes_max} bytes together; they are removed after some hours"
    )]
    TooManyTempBlobs {
        /// The bound, bytes.
        bytes_max: u64,
    },
    /// The operator has hidden this blob: it may not come again.
    #[error("blob {cid} was taken down by the operator")]
    BlobHeld {
        /// The blob.
        cid: Cid,
    },
    /// A record names another type than the blob has.
    #[error("blob {cid} is {stored}, the record says {claimed}")]
    BlobMimeMismatch {
        /// The blob.
        cid: Cid,
        /// Type of the upload.
        stored: String,
        /// Type in the record.
        claimed: String,
    },
    /// A record names another size than the blob has.
    #[error("blob {cid} has {stored} bytes, the record says {claimed}")]
    BlobSizeMismatch {
        /// The blob.
        cid: Cid,
        /// Bytes of the upload.
        stored: u64,
        /// Bytes in the record.
        claimed: u64,
    },
    /// An upload is over the limit.
    #[error("the blob is larger than {max} bytes")]
    BlobTooLarge {
        /// The limit.
        max: u64,
    },
    /// Nothing may be signed now.
    #[error("the time is not known well enough to sign")]
    ClockUntrusted(#[from] ClockUntrusted),
    /// The repo's last rev is a little ahead of the clock; it will be past soon.
    #[error("the last change of this repo lies ahead of the clock; try again in {retry_after_s} s")]
    RevAhead {
        /// When a write will be possible, seconds.
        retry_after_s: u32,
    },
    /// The repo's last rev is far ahead of the clock: relays drop such commits. `repair_repo` heals it.
    #[error("the last change of this repo was signed {ahead_s} s ahead of the clock; the repo needs repair")]
    RepoNeedsRepair {
        /// How far ahead, seconds.
        ahead_s: u64,
    },
    /// Somebody claims to have seen a number that this store cannot have given.
    #[error("the newest event here is {from}; {past} is too far ahead to be true")]
    JumpTooFar {
        /// Our newest number.
        from: u64,
        /// What was claimed.
        past: u64,
    },
    /// The refresh token is unknown, used up or expired.
    #[error("the session is over")]
    SessionOver,
    /// The account already has an app password of that name.
    #[error("there is already an app password named {name}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A one-time code is wrong, used up or replaced.
    #[error("the code is wrong")]
    TokenInvalid,
    /// A one-time code is too old.
    #[error("the code has expired")]
    TokenExpired,
    /// An invite code is unknown, disabled or used up.
    #[error("the invite code is not available")]
    InviteUnavailable,
    /// Another request has made the account's invite codes meanwhile.
    #[error("the account's invite codes were made by another request")]
    InvitesMinted,
    /// An import was refused.
    #[error("the imported repo was refused")]
    Import(#[from] crate::import::ImportError),
    /// There is too little room for new data; deletes and reads still work.
    #[error("the disk is full: writes are refused until there is room")]
    DiskFull,
    /// Too many long jobs at once.
    #[error("too many {what} at once; try again later")]
    Busy {
        /// What kind of job.
        what: &'static str,
    },
    /// The store is closing or closed.
    #[error("the store is closed")]
    Closed,
    /// SQLite failed.
    #[error("{doing} failed")]
    Database {
        /// The operation.
        doing: &'static str,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// A file outside the database failed.
    #[error("{doing} {} failed", .path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What is stored breaks a rule that the store itself keeps.
    #[error("the stored data is damaged: {what}")]
    Corrupt {
        /// What was found.
        what: String,
    },
}

impl StoreError {
    /// Wraps SQLite's reason with the operation.
    pub(crate) fn db(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Database { doing, source },
        }
    }

    /// Wraps the system's reason with the operation and the file.
    pub(crate) fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::DiskFull,
            _ => Self::File { doing, path: path.to_owned(), source },
        }
    }

    /// Names damage.
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data folder {} is in use by another process", .dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The store belongs to another PLC directory.
    #[error(
        "the data folder belongs to the PLC directory {stored}, not to {asked}; start with the former or take another folder"
    )]
    OtherPlc {
        /// What it was made with.
        stored: String,
        /// What was asked for now.
        asked: String,
    },
    /// The file is a database of something else.
    #[error("{} is not a Perch store", .path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the store has format {found}, this program knows up to {known}; update the program")]
    TooNew {
        /// Its format.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// Anything that also fails later.
    #[error("the store could not be opened")]
    Store(#[from] StoreError),
}
