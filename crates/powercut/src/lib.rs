//! Power cuts at the level of blocks: the PDS in an ARM machine on ext4, on a disk that forgets what was not flushed.
//!
//! For tests only. [`guest`] boots the machine with one recording disk for each PDS in it; [`load`] drives a PDS by its
//! public interface, notes in a ledger what it was promised, and marks the promise in the disk's own log; [`judge`] cuts
//! the power at seeded places of that log, mounts what each cut leaves, and has the store's normal code examine it.

pub mod cuts;
pub mod firehose;
pub mod guest;
pub mod judge;
pub mod load;
pub mod medium;
pub mod pds;
pub mod relocation;
mod session;
