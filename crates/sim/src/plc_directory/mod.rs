//! A did:plc directory inside the process, for accounts without internet.
//!
//! It checks what the public directory checks (signatures, order, recovery by a senior key within 72 hours, limits) and
//! answers with the same documents, but nobody outside this computer can see it: it listens on loopback only, and every
//! screen says SIMULATION. It has no rate limits. Its time is the true time of the simulated world, as the public
//! directory has a clock of its own. Device images do not contain it.

mod log;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use atproto::plc::{self, LogEntry, PlcError, Signed, State};
use atproto::syntax::{Datetime, Did};
use platform::time::format_rfc3339_millis;

use log::Log;
pub use log::LogError;
pub use routes::router;

/// How many operations the directory holds, all in memory at about 1 KiB each: whoever simulates more people than this
/// needs a real directory.
const OPERATIONS_MAX: usize = 50_000;

/// The resolution of `createdAt`. Each operation is at least this much later than the one before, so that readers of
/// `/export` can continue after a time without losing any.
const TICK_US: u64 = 1_000;

/// An operation was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It breaks a rule of the protocol or a limit of the directory.
    #[error("{0}")]
    Invalid(#[from] PlcError),
    /// The directory is full.
    #[error("this simulated directory is full ({OPERATIONS_MAX} operations)")]
    Full,
    /// The directory's time cannot be written down.
    #[error("the directory's own clock is out of range")]
    Clock,
    /// It could not be made durable.
    #[error("the operation could not be stored")]
    Log(#[from] LogError),
    /// An earlier failure left the directory unusable.
    #[error("the directory failed before and must be started again")]
    Poisoned,
}

/// The directory's time, UTC microseconds.
pub type DirectoryClock = Box<dyn Fn() -> u64 + Send + Sync>;

/// All operations, in memory and on disk.
pub struct Directory {
    clock: DirectoryClock,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    /// None only while the file is being read at the start.
    log: Option<Log>,
    /// In the order of acceptance; `createdAt` grows strictly.
    entries: Vec<LogEntry>,
    /// The entries of each DID, as places in `entries`.
    by_did: HashMap<Did, Vec<usize>>,
}

/// What a DID says, or why nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resolved {
    /// The state after its last operation.
    Active(State),
    /// Its last operation is a tombstone.
    Tombstoned,
    /// It was never registered.
    Unknown,
}

impl Directory {
    /// Opens the directory's file, or makes it.
    pub fn open(path: &Path, clock: DirectoryClock) -> Result<Self, LogError> {
        let mut inner = Inner { log: None, entries: Vec::new(), by_did: HashMap::new() };
        // The operations were verified when they were accepted; their hashes tell whether the file still holds them.
        let log = Log::open(path, |entry: LogEntry| {
            let whole = entry.operation.cid().to_string() == entry.cid && inner.later_than_all(&entry);
            if whole {
                inner.accept(entry);
            }
            whole
        })?;
        inner.log = Some(log);
        Ok(Self { clock, inner: Mutex::new(inner) })
    }

    /// Checks an operation and takes it. When this returns, it is on stable storage. Blocks for the disk.
    pub fn submit(&self, did: &Did, operation: Signed) -> Result<(), SubmitError> {
        operation.check_limits()?;
        let mut inner = self.inner.lock().map_err(|_| SubmitError::Poisoned)?;
        let current: Vec<LogEntry> =
            inner.entries_of(did).filter(|entry| !entry.nullified).cloned().collect();
        if current.last().is_some_and(|last| last.operation == operation) {
            // Sent again because the first answer was lost: it is there already.
            return Ok(());
        }
        if inner.entries.len() >= OPERATIONS_MAX {
            return Err(SubmitError::Full);
        }
        let now_us = inner.next_tick((self.clock)());
        let accepted = plc::check_next(did, &current, &operation, now_us)?;
        let created_at = Datetime::parse(&format_rfc3339_millis(now_us)).map_err(|_| SubmitError::Clock)?;
        let cid = accepted.cid.to_string();
        let entry = LogEntry { did: did.clone(), operation, cid, nullified: false, created_at };
        inner.log.as_mut().ok_or(SubmitError::Poisoned)?.append(&entry)?;
        inner.accept(entry);
        Ok(())
    }

    fn resolve(&self, did: &Did) -> Resolved {
        let Ok(inner) = self.inner.lock() else { return Resolved::Unknown };
        match inner.entries_of(did).rfind(|entry| !entry.nullified) {
            None => Resolved::Unknown,
            Some(entry) => entry.operation.state().map_or(Resolved::Tombstoned, Resolved::Active),
        }
    }

    /// All operations of a DID, oldest first, nullified ones included; none for an unknown DID.
    fn audit(&self, did: &Did) -> Vec<LogEntry> {
        self.inner.lock().map(|inner| inner.entries_of(did).cloned().collect()).unwrap_or_default()
    }

    /// At most `count` entries accepted after `after` (UTC microseconds), oldest first.
    fn export(&self, after: Option<i64>, count: usize) -> Vec<LogEntry> {
        let Ok(inner) = self.inner.lock() else { return Vec::new() };
        let start = match after {
            Some(after) => inner.entries.partition_point(|entry| entry.created_at.unix_micros() <= after),
            None => 0,
        };
        inner.entries.iter().skip(start).take(count).cloned().collect()
    }
}

impl Inner {
    fn entries_of(&self, did: &Did) -> impl DoubleEndedIterator<Item = &LogEntry> {
        let places = self.by_did.get(did).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| self.entries.get(*place))
    }

    fn later_than_all(&self, entry: &LogEntry) -> bool {
        self.entries.last().is_none_or(|last| last.created_at.unix_micros() < entry.created_at.unix_micros())
    }

    /// The next time that may stand in `createdAt`: now, or just after the last one if the clock stepped back.
    fn next_tick(&self, now_us: u64) -> u64 {
        let last = self.entries.last().map_or(0, LogEntry::created_at_us);
        (now_us / TICK_US * TICK_US).max(last + TICK_US)
    }

    /// Adds an entry and nullifies what it replaces: everything after the operation that it follows.
    fn accept(&mut self, entry: LogEntry) {
        let places = self.by_did.entry(entry.did.clone()).or_default();
        let prev = entry.operation.prev().ok().flatten().map(|cid| cid.to_string());
        for place in places.iter().rev() {
            let Some(older) = self.entries.get_mut(*place) else { continue };
            if older.nullified {
                continue;
            }
            if Some(&older.cid) == prev.as_ref() {
                break;
            }
            older.nullified = true;
        }
        places.push(self.entries.len());
        self.entries.push(entry);
    }
}
