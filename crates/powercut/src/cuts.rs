//! Where the power is cut, and which of the possible disks is looked at then: seeded, and repeatable from a few numbers.
//!
//! Two kinds are kept apart. A seeded cut lies where something was written that nothing covers, and leaves out at least one
//! sector of it. A flush point lies just after an answered flush, and shows exactly what is covered there. Pure.

use std::fmt;

use fastrand::Rng;
use testbed::block::{Entry, Log, Manner};

/// One cut. With the log it gives one state of the disks, always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Entries of the log that happened before it.
    pub position: usize,
    /// Which of the writes that nothing covers are there.
    pub choice: Choice,
}

/// What is there of the writes that nothing covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A seeded part.
    Seeded(Manner, u64),
    /// None of them, just after an answered flush.
    FlushPoint,
}

impl Cut {
    /// The manner and the dice for [`testbed::block::Replay::cut`].
    #[must_use]
    pub fn dice(&self) -> (Rng, Manner) {
        match self.choice {
            Choice::Seeded(manner, seed) => (Rng::with_seed(seed), manner),
            Choice::FlushPoint => (Rng::with_seed(0), Manner::Nothing),
        }
    }

    /// The same place with another seeded choice.
    #[must_use]
    pub fn another(&self, rng: &mut Rng) -> Self {
        Self { choice: seeded(rng), ..*self }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cut after entry {}, {:?}", self.position, self.choice)
    }
}

fn seeded(rng: &mut Rng) -> Choice {
    Choice::Seeded(rng.choice(Manner::ALL).unwrap_or(Manner::Nothing), rng.u64(..))
}

/// Chooses cuts after entry `from`, in the order of their places: `states` seeded ones, and half as many flush points at
/// most, evenly spread where there are more.
///
/// Seeded cuts lie mostly where something is under way: after a write, and just before a flush is answered. Also just
/// after a promise, where most can be missing; and anywhere. Where nothing is open there is none.
#[must_use]
pub fn plan(log: &Log, from: usize, states: usize, with_flush_points: bool, rng: &mut Rng) -> Vec<Cut> {
    let open = log.open_writes();
    let is_open = |at: &usize| open.get(*at).is_some_and(|count| *count > 0);
    let places = |wanted: fn(&Entry) -> bool| -> Vec<usize> {
        let found = log.entries.iter().enumerate().skip(from).filter(|(_, entry)| wanted(entry));
        found.map(|(at, _)| at + 1).filter(is_open).collect()
    };
    let marks = places(|entry| matches!(entry, Entry::Mark(_)));
    let writes = places(|entry| matches!(entry, Entry::Write { .. }));
    let anywhere = places(|_| true);
    let answered = answered_flushes(log);
    let answered = answered.into_iter().filter(|at| *at >= from);
    let flushed: Vec<usize> = answered.clone().filter(is_open).collect();
    let mut cuts = Vec::with_capacity(states);
    for _ in 0..states {
        let some = match rng.u8(..12) {
            0..3 => &marks,
            3..7 => &writes,
            7..10 => &flushed,
            _ => &anywhere,
        };
        let position = rng.choice(some).or_else(|| rng.choice(&anywhere));
        cuts.extend(position.map(|position| Cut { position: *position, choice: seeded(rng) }));
    }
    if with_flush_points {
        let points: Vec<usize> = answered.map(|at| at + 1).collect();
        let every = points.len().div_ceil((states / 2).max(1)).max(1);
        let points = points.into_iter().step_by(every);
        cuts.extend(points.map(|position| Cut { position, choice: Choice::FlushPoint }));
    }
    cuts.sort_by_key(|cut| cut.position);
    cuts
}

/// Lists the places of the answers to flushes: before each, most can be lost; after it, all of that is kept.
fn answered_flushes(log: &Log) -> Vec<usize> {
    let mut asked = vec![false; log.bases.len()];
    let mut found = Vec::new();
    for (at, entry) in log.entries.iter().enumerate() {
        match entry {
            Entry::Flush(disk) => {
                if let Some(asked) = asked.get_mut(*disk) {
                    *asked = true;
                }
            }
            Entry::Answered(disk) => {
                let was = asked.get_mut(*disk).is_some_and(std::mem::take);
                found.extend(was.then_some(at));
            }
            Entry::Write { .. } | Entry::Mark(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fastrand::Rng;
    use testbed::block::Recorder;

    use super::{Choice, Cut, plan};

    #[test]
    fn seeded_cuts_lie_where_something_can_be_lost() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4096).unwrap();
        let disk = Recorder::new(image.path(), Path::new("/tmp")).unwrap();
        for byte in 0..9 {
            disk.mark("nothing is open here");
            disk.write(0, &[byte; 512], false).unwrap();
            disk.answered();
            disk.flush();
            disk.answered();
        }
        let log = disk.finish().unwrap();
        let open = log.open_writes();
        let cuts = plan(&log, 5, 100, true, &mut Rng::with_seed(1));
        let (points, seeded): (Vec<Cut>, Vec<Cut>) =
            cuts.iter().copied().partition(|cut| cut.choice == Choice::FlushPoint);
        assert_eq!((points.len(), seeded.len()), (8, 100));
        assert!(seeded.iter().all(|cut| cut.position > 5 && open[cut.position] > 0));
        assert!(points.iter().all(|cut| cut.position % 5 == 0 && open[cut.position] == 0));
        assert!(cuts.is_sorted_by_key(|cut| cut.position));
        assert_eq!(plan(&log, 0, 6, true, &mut Rng::with_seed(1)).len(), 6 + 3);
    }
}
