//! SQLite's two kinds of locks on a database, as its Unix VFS keeps them: of the file, and of the index of the log.
//!
//! Decides only; `vfs` turns refusals into SQLite's codes. Holders are the connections of this process.

use std::sync::atomic::AtomicU64;

/// Slots of the log index: SQLite's `SQLITE_SHM_NLOCK`.
pub(crate) const INDEX_SLOTS: usize = 8;

/// How firmly a connection holds a database file; the numbers are SQLite's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// The locks on one file.
#[derive(Debug, Default)]
pub(crate) struct FileLocks {
    /// Connections that hold at least `Shared`.
    shared: usize,
    /// What the one connection above `Shared` holds, and its number.
    above: Option<(u64, Level)>,
}

impl FileLocks {
    /// Raises a connection's lock and gives what it holds then; less than `wanted` means that it must wait.
    pub(crate) fn raise(&mut self, holder: u64, held: Level, wanted: Level) -> Level {
        if held >= wanted {
            return held;
        }
        let other = self.above.filter(|(owner, _)| *owner != holder).map(|(_, level)| level);
        if wanted == Level::Shared {
            if other.is_some_and(|level| level >= Level::Pending) {
                return held;
            }
            self.shared += 1;
            return Level::Shared;
        }
        if other.is_some() {
            return held;
        }
        // An exclusive lock waits for readers at `Pending`, where no new reader comes in.
        let reached = match wanted {
            Level::Exclusive if self.shared > 1 => Level::Pending,
            wanted => wanted,
        };
        self.above = Some((holder, reached));
        reached
    }

    /// Lowers a connection's lock to `Shared` or `None`.
    pub(crate) fn lower(&mut self, holder: u64, held: Level, wanted: Level) {
        if self.above.is_some_and(|(owner, _)| owner == holder) {
            self.above = None;
        }
        if wanted == Level::None && held >= Level::Shared {
            self.shared = self.shared.saturating_sub(1);
        }
    }

    /// Tells whether anybody is about to write.
    pub(crate) fn is_reserved(&self) -> bool {
        self.above.is_some()
    }
}

/// The memory and locks of the index of a log; shared by connections, and gone with the last of them.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    /// Each region never moves while a connection has the index.
    pub(crate) regions: Vec<Box<[AtomicU64]>>,
    /// Connections that use it.
    pub(crate) users: usize,
    slots: [Slot; INDEX_SLOTS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Slot {
    #[default]
    Free,
    Shared(usize),
    Exclusive,
}

/// The slots that one connection holds, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldSlots {
    shared: u32,
    exclusive: u32,
}

impl LogIndex {
    /// Takes slots `first..first + count`; `false` means that another connection holds one in the way.
    pub(crate) fn take(&mut self, held: &mut HeldSlots, first: usize, count: usize, exclusive: bool) -> bool {
        let bits = slot_bits(first, count);
        if !exclusive && held.shared & bits != 0 {
            return true;
        }
        let Some(slots) = self.slots.get_mut(first..first.saturating_add(count)) else { return false };
        let fits = |slot: &Slot| match slot {
            Slot::Free => true,
            Slot::Shared(_) => !exclusive,
            Slot::Exclusive => false,
        };
        if !slots.iter().all(fits) {
            return false;
        }
        for slot in slots {
            *slot = match *slot {
                _ if exclusive => Slot::Exclusive,
                Slot::Shared(holders) => Slot::Shared(holders + 1),
                Slot::Free | Slot::Exclusive => Slot::Shared(1),
            };
        }
        *(if exclusive { &mut held.exclusive } else { &mut held.shared }) |= bits;
        true
    }

    /// Gives slots back; those that are not held are left alone.
    pub(crate) fn give_back(&mut self, held: &mut HeldSlots, first: usize, count: usize) {
        for at in first..first.saturating_add(count) {
            let (bit, Some(slot)) = (slot_bits(at, 1), self.slots.get_mut(at)) else { continue };
            if held.exclusive & bit != 0 {
                *slot = Slot::Free;
            } else if held.shared & bit != 0 {
                *slot = match *slot {
                    Slot::Shared(holders) if holders > 1 => Slot::Shared(holders - 1),
                    _ => Slot::Free,
                };
            }
            held.exclusive &= !bit;
            held.shared &= !bit;
        }
    }
}

fn slot_bits(first: usize, count: usize) -> u32 {
    (first..first.saturating_add(count)).filter(|at| *at < INDEX_SLOTS).fold(0, |bits, at| bits | 1 << at)
}

#[cfg(test)]
mod tests {
    use super::{FileLocks, HeldSlots, Level, LogIndex};

    #[test]
    fn a_writer_waits_for_readers_and_keeps_new_ones_out() {
        let mut locks = FileLocks::default();
        assert_eq!(locks.raise(1, Level::None, Level::Shared), Level::Shared);
        assert_eq!(locks.raise(2, Level::None, Level::Shared), Level::Shared);
        assert_eq!(locks.raise(1, Level::Shared, Level::Reserved), Level::Reserved);
        assert_eq!(locks.raise(2, Level::Shared, Level::Reserved), Level::Shared);
        assert_eq!(locks.raise(1, Level::Reserved, Level::Exclusive), Level::Pending);
        assert_eq!(locks.raise(3, Level::None, Level::Shared), Level::None);
        locks.lower(2, Level::Shared, Level::None);
        assert_eq!(locks.raise(1, Level::Pending, Level::Exclusive), Level::Exclusive);
        assert!(locks.is_reserved());
        locks.lower(1, Level::Exclusive, Level::Shared);
        assert!(!locks.is_reserved());
        assert_eq!(locks.raise(3, Level::None, Level::Shared), Level::Shared);
    }

    #[test]
    fn slots_are_shared_or_exclusive() {
        let (mut index, mut one, mut two) = (LogIndex::default(), HeldSlots::default(), HeldSlots::default());
        assert!(index.take(&mut one, 3, 1, false));
        assert!(index.take(&mut two, 3, 1, false));
        assert!(!index.take(&mut two, 3, 2, true));
        index.give_back(&mut one, 3, 1);
        index.give_back(&mut one, 3, 1);
        assert!(!index.take(&mut one, 3, 1, true));
        index.give_back(&mut two, 3, 1);
        assert!(index.take(&mut one, 3, 2, true));
        assert!(!index.take(&mut two, 4, 1, false));
        index.give_back(&mut one, 0, 8);
        assert!(index.take(&mut two, 4, 1, false));
    }
}
