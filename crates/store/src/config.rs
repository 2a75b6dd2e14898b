//! What a store is opened with, and the limits it keeps.

use std::path::PathBuf;
use std::sync::Arc;

use platform::Disk;
use platform::time::Clock;

use crate::files::{Files, OsFiles};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of everything that the store keeps; made when missing.
    pub dir: PathBuf,
    /// Address of the PLC directory that the accounts belong to. A store remembers its first one and refuses
    /// another: identities of a simulated directory do not exist in the real one.
    pub plc_url: String,
    /// The only clock that the store signs with.
    pub clock: Clock,
    /// The disk under `dir`; `None` switches the check for room off.
    pub disk: Option<Arc<dyn Disk>>,
    /// Sizes, counts and ages.
    pub limits: Limits,
    /// How files outside the database are reached. The crash test puts its own layer here.
    pub files: Arc<dyn Files>,
    /// Name of a registered SQLite VFS; `None` takes the system's. The crash test puts its own here.
    pub vfs: Option<&'static std::ffi::CStr>,
    /// What happens after an error that leaves the disk in doubt; ends the process. A test puts its own here, and then
    /// every call answers [`crate::StoreError::Closed`].
    pub fatal: fn(&crate::StoreError),
}

impl Config {
    /// Takes everything but these three from the defaults.
    #[must_use]
    pub fn new(dir: PathBuf, plc_url: String, clock: Clock) -> Self {
        Self {
            dir,
            plc_url,
            clock,
            disk: None,
            limits: Limits::default(),
            files: Arc::new(OsFiles),
            vfs: None,
            fatal: |_| std::process::abort(),
        }
    }
}

/// The bounds that an owner may move; what the protocol fixes is a constant beside its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Room below which writes are refused, bytes. Deletes, reads and the firehose go on.
    ///
    /// 64 MiB: a checkpoint, the biggest commit and the log of the supervisor fit in it many times.
    pub min_free_bytes: u64,
    /// Largest blob, bytes. 100 MiB as the reference's distribution sets it: video needs it.
    pub blob_bytes_max: u64,
    /// Age at which an unreferenced blob is collected, seconds. The protocol asks for at least an hour; clients that
    /// upload, then let their user finish a text, need several.
    pub temp_blob_age_s: u64,
    /// Bytes of blobs that no record refers to which one account may keep, so that nobody fills the disk with uploads.
    /// Ten of the largest videos; what an import's records refer to does not count.
    pub temp_blob_bytes_max: u64,
    /// Age at which an event leaves the log, seconds. Three days: a relay that was down over a week-end's first half
    /// still catches up, and a busy box keeps under a few hundred MB.
    pub event_age_s: u64,
    /// Bytes of frames that the event log keeps, whatever their age.
    ///
    /// 512 MiB: ten times what relays take from one server in three days (20,000 events a day of 1 KB), and a sixteenth
    /// of the smallest card that is sold. A log without this bound would fill the disk in a day of large imports.
    pub event_bytes_max: u64,
    /// Largest import, bytes of CAR. 1 GiB: a repo of a million records has about half of it.
    pub import_bytes_max: u64,
    /// Blocks of an import that are kept in memory, bytes; what is beyond goes to a nameless file.
    ///
    /// 48 MiB: a repo of 100,000 records of usual size, which then is written no more than its rows are. With its index
    /// and what is on the way to the writer, an import stays far below the 150 MiB that it may take.
    pub import_memory_bytes: usize,
    /// Size of SQLite's log at which the writer checkpoints, bytes.
    ///
    /// 4 MiB: pages that change with every post (event tail, heads) are copied into the database once per some hundred
    /// posts; a larger log costs start-up time and room.
    pub checkpoint_bytes: u64,
    /// Commits of one repo after which its new tree nodes are written to their table.
    ///
    /// 192: most nodes of a burst of posts are replaced within fewer; more would cost memory and start-up time.
    pub flush_commits: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_free_bytes: 64 * 1024 * 1024,
            blob_bytes_max: 100 * 1024 * 1024,
            temp_blob_age_s: 6 * 3600,
            temp_blob_bytes_max: 1024 * 1024 * 1024,
            event_age_s: 3 * 24 * 3600,
            event_bytes_max: 512 * 1024 * 1024,
            import_bytes_max: 1024 * 1024 * 1024,
            import_memory_bytes: 48 * 1024 * 1024,
            checkpoint_bytes: 4 * 1024 * 1024,
            flush_commits: 192,
        }
    }
}
