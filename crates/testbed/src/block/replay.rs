//! The disks that a power cut may leave, one after the other along a log. Disks of one log lose power at the same moment.
//!
//! What an answered flush covers, and what was written with FUA and answered, stays, always. Of the other writes a seeded
//! choice is there, in any order, torn into sectors. A later write to a sector may be missing while an earlier one to the
//! same sector is there; both being there at once cannot be seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use fastrand::Rng;

use super::cover::Cover;
use super::log::{Entry, Log, SECTOR_BYTES};

/// The unit in which a disk is copied, bytes: room that was never written costs nothing.
const BLOCK_BYTES: usize = 4096;

/// One kept write in this many is torn, where a manner tears.
const TORN_ONE_IN: u8 = 4;

/// How one cut chooses among the writes that nothing covers; each finds other faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// None of them.
    Nothing,
    /// All but one, of which some sectors may be there.
    AllButOne,
    /// Each write or not, some torn, in any order.
    Subset,
    /// Each sector by itself.
    Scattered,
    /// In their order up to one, which is torn.
    Prefix,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::AllButOne, Self::Subset, Self::Scattered, Self::Prefix];
}

/// A sector: the number of its disk, and its own.
type Sector = (usize, usize);

/// The disks after a cut, as their difference from what was sure to stay.
#[derive(Debug)]
pub struct State {
    sectors: BTreeMap<Sector, Vec<u8>>,
    /// Two states have one print only if the disks are the same.
    pub print: u64,
    /// Writes that nothing covered.
    pub open: usize,
    /// Sectors of which the newest content is not there.
    pub dropped: usize,
}

/// A walk along a log that knows what was sure to stay.
#[derive(Debug)]
pub struct Replay<'l> {
    log: &'l Log,
    cover: Cover<'l>,
    disks: Vec<Durable>,
    /// Sum over all sectors of what changed in them since the start.
    print: u64,
}

/// What is sure to stay of one disk.
#[derive(Debug)]
struct Durable {
    bytes: Vec<u8>,
    /// Blocks that are not all zeros, or once were.
    touched: Vec<bool>,
}

/// A write that nothing covers, with its bytes.
struct Open {
    first: Sector,
    content: Vec<u8>,
}

impl<'l> Replay<'l> {
    /// Starts before the first entry.
    ///
    /// # Errors
    /// When a base image cannot be read.
    pub fn new(log: &'l Log) -> io::Result<Self> {
        let disks = log.bases.iter().map(Durable::read).collect::<io::Result<_>>()?;
        Ok(Self { log, cover: Cover::new(log), disks, print: 0 })
    }

    /// Gives the number of entries that have happened before this point.
    #[must_use]
    pub fn position(&self) -> usize {
        self.cover.position()
    }

    /// Goes forward until `position` entries have happened; never back.
    ///
    /// # Errors
    /// When the spill file cannot be read.
    pub fn advance_to(&mut self, position: usize) -> io::Result<()> {
        while self.cover.position() < position {
            let Some(covered) = self.cover.step() else { break };
            for place in covered {
                let Some(Open { first: (disk, first), content }) = self.write_at(place)? else { continue };
                for (number, new) in content.chunks(SECTOR_BYTES).enumerate() {
                    self.keep((disk, first.saturating_add(number)), new);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, sector: Sector, new: &[u8]) {
        let Some(durable) = self.disks.get_mut(sector.0) else { return };
        let Some(old) = durable.sector_mut(sector.1, new.len()) else { return };
        if old == new {
            return;
        }
        self.print = self.print.wrapping_sub(print(sector, old)).wrapping_add(print(sector, new));
        old.copy_from_slice(new);
        if let Some(touched) = durable.touched.get_mut(sector.1 * SECTOR_BYTES / BLOCK_BYTES) {
            *touched = true;
        }
    }

    /// Reads the write at a place of the log, where there is one.
    fn write_at(&self, place: usize) -> io::Result<Option<Open>> {
        let Some(Entry::Write { disk, offset, len, data, .. }) = self.log.entries.get(place) else {
            return Ok(None);
        };
        let first = usize::try_from(*offset).unwrap_or(usize::MAX) / SECTOR_BYTES;
        Ok(Some(Open { first: (*disk, first), content: self.log.content(*len, *data)? }))
    }

    /// Cuts the power here, and gives what the disk shows then.
    ///
    /// When anything is not covered, at least one sector lacks its newest content.
    ///
    /// # Errors
    /// When the spill file cannot be read.
    pub fn cut(&self, rng: &mut Rng, manner: Manner) -> io::Result<State> {
        let mut places: Vec<usize> = self.cover.open().collect();
        places.sort_unstable();
        let mut open = Vec::with_capacity(places.len());
        for place in places {
            open.extend(self.write_at(place)?);
        }
        // For each sector the open writes to it, oldest first.
        let mut versions: BTreeMap<Sector, Vec<usize>> = BTreeMap::new();
        for (number, write) in open.iter().enumerate() {
            let (disk, first) = write.first;
            for sector in 0..write.content.len().div_ceil(SECTOR_BYTES) {
                versions.entry((disk, first + sector)).or_default().push(number);
            }
        }
        let mut shown = choose(&versions, open.len(), rng, manner);
        let is_newest =
            |sector: &Sector, by: &[usize], shown: &BTreeMap<Sector, usize>| shown.get(sector) == by.last();
        if !versions.is_empty() && versions.iter().all(|(sector, by)| is_newest(sector, by, &shown)) {
            let victim = versions.iter().nth(rng.usize(..versions.len()));
            if let Some((sector, by)) = victim {
                match rng.usize(..by.len()).checked_sub(1).and_then(|older| by.get(older)) {
                    Some(older) => drop(shown.insert(*sector, *older)),
                    None => drop(shown.remove(sector)),
                }
            }
        }
        let dropped = versions.iter().filter(|(sector, by)| !is_newest(sector, by, &shown)).count();
        let mut state = State { sectors: BTreeMap::new(), print: self.print, open: open.len(), dropped };
        for (sector, number) in shown {
            let Some(write) = open.get(number) else { continue };
            let start = (sector.1 - write.first.1) * SECTOR_BYTES;
            let new = write.content.get(start..).unwrap_or_default();
            let new = new.get(..SECTOR_BYTES.min(new.len())).unwrap_or_default();
            let durable = self.disks.get(sector.0);
            let Some(old) = durable.and_then(|disk| disk.sector(sector.1, new.len())) else { continue };
            state.print = state.print.wrapping_sub(print(sector, old)).wrapping_add(print(sector, new));
            state.sectors.insert(sector, new.to_vec());
        }
        Ok(state)
    }

    /// Writes what a state shows of one disk into a file, which becomes exactly that disk. Nothing is synced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_to(&self, state: &State, disk: usize, file: &File) -> io::Result<()> {
        if let Some(durable) = self.disks.get(disk) {
            durable.write_to(file)?;
        }
        for ((_, sector), content) in state.sectors.range((disk, 0)..(disk + 1, 0)) {
            file.write_all_at(content, u64::try_from(sector * SECTOR_BYTES).unwrap_or(u64::MAX))?;
        }
        Ok(())
    }
}

impl Durable {
    fn read(base: &File) -> io::Result<Self> {
        let mut base = base.try_clone()?;
        let len = usize::try_from(base.metadata()?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; len];
        base.seek(SeekFrom::Start(0))?;
        base.read_exact(&mut bytes)?;
        let touched = bytes.chunks(BLOCK_BYTES).map(|block| block.iter().any(|byte| *byte != 0)).collect();
        Ok(Self { bytes, touched })
    }

    fn sector(&self, number: usize, len: usize) -> Option<&[u8]> {
        let start = number.checked_mul(SECTOR_BYTES)?;
        self.bytes.get(start..start.checked_add(len)?)
    }

    fn sector_mut(&mut self, number: usize, len: usize) -> Option<&mut [u8]> {
        let start = number.checked_mul(SECTOR_BYTES)?;
        self.bytes.get_mut(start..start.checked_add(len)?)
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        file.set_len(0)?;
        file.set_len(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))?;
        let mut at = 0;
        for run in self.touched.chunk_by(|one, next| one == next) {
            let (start, end) = (at * BLOCK_BYTES, (at + run.len()) * BLOCK_BYTES);
            at += run.len();
            if run.first() == Some(&true) {
                let bytes = self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default();
                file.write_all_at(bytes, u64::try_from(start).unwrap_or(u64::MAX))?;
            }
        }
        Ok(())
    }
}

/// Chooses for each sector which of the open writes to it is there, if any.
fn choose(
    versions: &BTreeMap<Sector, Vec<usize>>,
    writes: usize,
    rng: &mut Rng,
    manner: Manner,
) -> BTreeMap<Sector, usize> {
    let victim = if writes == 0 { 0 } else { rng.usize(..writes) };
    let share = rng.u8(1..4);
    // A place in the order for each write that is there; and whether it is torn.
    let order: Vec<Option<(usize, bool)>> = (0..writes)
        .map(|number| {
            let torn = rng.u8(..TORN_ONE_IN) == 0;
            match manner {
                Manner::Nothing => None,
                Manner::AllButOne => Some((number, number == victim)).filter(|_| number != victim || torn),
                Manner::Subset => Some((rng.usize(..), torn)).filter(|_| rng.u8(..4) < share),
                Manner::Scattered => Some((number, false)),
                Manner::Prefix => Some((number, number == victim)).filter(|_| number <= victim),
            }
        })
        .collect();
    let mut shown = BTreeMap::new();
    for (sector, by) in versions {
        let mut newest: Option<(usize, usize)> = None;
        for number in by {
            let Some((place, torn)) = order.get(*number).copied().flatten() else { continue };
            let is_there = !torn || rng.bool();
            if is_there && newest.is_none_or(|(before, _)| before < place) {
                newest = Some((place, *number));
            }
        }
        if manner == Manner::Scattered {
            let version = rng.usize(..=by.len()).checked_sub(1).and_then(|version| by.get(version));
            newest = version.map(|number| (0, *number));
        }
        if let Some((_, number)) = newest {
            shown.insert(*sector, number);
        }
    }
    shown
}

fn print(sector: Sector, content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    sector.hash(&mut hasher);
    hasher.write(content);
    hasher.finish()
}
