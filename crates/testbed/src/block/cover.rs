//! Which writes are covered at a place of the log, by the promise of an answered flush or of an answered FUA. No I/O.

use super::log::{Entry, Log};

/// A walk along a log that knows the writes which nothing covers yet.
#[derive(Debug)]
pub(super) struct Cover<'l> {
    log: &'l Log,
    at: usize,
    disks: Vec<Disk>,
}

/// What one disk still owes.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// Places of the writes that nothing covers, in order, and whether each has FUA.
    open: Vec<(usize, bool)>,
    /// Place of the first entry after the last answers.
    batch: usize,
    has_flush: bool,
}

impl<'l> Cover<'l> {
    /// Starts before the first entry.
    pub(super) fn new(log: &'l Log) -> Self {
        Self { log, at: 0, disks: vec![Disk::default(); log.bases.len()] }
    }

    /// Gives the number of entries that have happened before this point.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Lists the places of the writes that nothing covers here, those of one disk after those of another.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        self.disks.iter().flat_map(|disk| disk.open.iter().map(|(place, _)| *place))
    }

    /// Takes the next entry, and gives the places of the writes that are covered from here on; `None` at the end.
    pub(super) fn step(&mut self) -> Option<Vec<usize>> {
        let entry = self.log.entries.get(self.at)?;
        let mut covered = Vec::new();
        match entry {
            Entry::Write { disk, fua, .. } => self.disks.get_mut(*disk)?.open.push((self.at, *fua)),
            Entry::Flush(disk) => self.disks.get_mut(*disk)?.has_flush = true,
            Entry::Answered(disk) => covered = self.disks.get_mut(*disk)?.settle(self.at),
            Entry::Mark(_) => {}
        }
        self.at += 1;
        Some(covered)
    }
}

impl Disk {
    /// Keeps what the answers at a place promise.
    fn settle(&mut self, at: usize) -> Vec<usize> {
        let (batch, has_flush) = (self.batch, self.has_flush);
        let mut covered = Vec::new();
        self.open.retain(|(place, fua)| {
            let stays = (has_flush && *place < batch) || *fua;
            covered.extend(stays.then_some(*place));
            !stays
        });
        (self.batch, self.has_flush) = (at + 1, false);
        covered
    }
}

impl Log {
    /// Counts the writes that nothing covers, after every number of entries: before the first, after the first, and so on.
    #[must_use]
    pub fn open_writes(&self) -> Vec<usize> {
        let mut cover = Cover::new(self);
        let mut counts = vec![0];
        while cover.step().is_some() {
            counts.push(cover.open().count());
        }
        counts
    }
}
