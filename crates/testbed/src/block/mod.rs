//! Disks for the machine that write down, in one order, what reached them and when they promised that this stays.
//!
//! [`Recorder`] keeps a disk's content and the log; [`serve`] gives it to QEMU by the NBD protocol over a unix socket.
//! Whoever drives the machine sets marks in the same log ([`Recorder::mark`]) when it was told that something is safe.
//! [`Replay`] walks the log and makes, for any point of it, the disks that a power cut there could leave. Nothing here
//! knows what the machine stores.

mod cover;
mod log;
mod nbd;
mod replay;

pub use log::{Entry, Log, LogError, Recorder, SECTOR_BYTES};
pub use nbd::{NbdError, Server, serve};
pub use replay::{Manner, Replay, State};

#[cfg(test)]
mod tests;
