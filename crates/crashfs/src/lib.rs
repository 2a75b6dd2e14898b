//! A disk in memory that knows which of its bytes a power cut would leave, and the crash test of the store on it.
//!
//! For tests only: nothing that runs on the box may depend on this crate. [`Disk`] holds files and folders in memory
//! and writes every change, sync and acknowledgement into one ordered log. SQLite reaches it through a VFS
//! ([`Disk::vfs_name`]), the store's other files through [`CrashFiles`]. [`Replay`] walks the log and makes, for any
//! point of it, the states that a weak disk could show after a cut there: what was synced is kept, of the rest a seeded
//! random part is there, torn at sector size and out of order. [`torture`] runs the store on such a disk and checks that
//! all it promised is there in every state. [`Ledger`] and [`Checker`] know nothing of that disk, and judge data folders
//! that lost power otherwise as well.

mod disk;
mod files;
mod image;
mod locks;
mod log;
mod replay;
mod torture;
mod vfs;

pub use disk::{Disk, FileHandle, Honesty};
pub use files::CrashFiles;
pub use image::{Image, scratch};
pub use log::{Ino, Log, Name, Op};
pub use replay::{Manner, Replay, SECTOR_BYTES};
pub use torture::{
    Again, Call, Checker, Expected, FAULT_STATES_MAX, Fault, Found, LOAD_STEPS_MIN, Ledger, Recording,
    Report, Thing, TortureError, Violation, plant, record, repo_file, torture,
};
