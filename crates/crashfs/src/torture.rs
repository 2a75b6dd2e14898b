//! The crash test of the store: a recorded load, and what must be true after a power cut at any point of it.
//!
//! [`record`] runs a seeded mix of everything that a store does, on a [`Disk`], with a note in the disk's log whenever
//! the store has answered or a subscriber has got an event. [`Recording::judge`] cuts the power at seeded points of
//! that log, writes each state as real files, opens the store there by its normal code and compares what it finds with
//! what was promised. Faults are planted to see that the judge would notice.
//!
//! The seed decides the load, the points and the states. Which commits share a transaction also depends on how the
//! threads ran, so a report names the position and manner of each violation as well.

mod check;
mod examine;
mod ledger;
mod load;
mod model;
mod repo_file;
mod second_life;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::image::{Image, scratch};
use crate::log::{Log, Op};
use crate::replay::{Manner, Replay};
use crate::{Disk, Honesty};
pub use check::{Checker, Found};
pub use ledger::{Call, Expected, Ledger, Thing};
pub use repo_file::repo_file;

/// Violations after which a run of states ends: more of them tell nothing new.
const VIOLATIONS_MAX: usize = 20;

/// States within which a planted fault must be noticed.
pub const FAULT_STATES_MAX: usize = 120;

/// What is wrong with the store under test, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The database is never synced.
    SynchronousOff,
    /// Calls are answered before their transaction is committed.
    ReplyBeforeCommit,
    /// A blob gets its name before its content is synced.
    BlobContentUnsynced,
    /// The folder of a blob is not synced after it got its name.
    BlobNameUnsynced,
    /// The content of a signing key is not synced before its account.
    KeyContentUnsynced,
    /// The folder of the signing keys is not synced before the account.
    KeyNameUnsynced,
    /// After a kill, the log that the system still shows is believed without syncing it.
    BelievesUnsynced,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SynchronousOff,
        Self::ReplyBeforeCommit,
        Self::BlobContentUnsynced,
        Self::BlobNameUnsynced,
        Self::KeyContentUnsynced,
        Self::KeyNameUnsynced,
        Self::BelievesUnsynced,
    ];

    fn honesty(fault: Option<Self>) -> Honesty {
        let honest = Honesty::default();
        match fault {
            None | Some(Self::ReplyBeforeCommit | Self::BelievesUnsynced) => honest,
            Some(Self::SynchronousOff) => Honesty { file: |path| !is_database(path), ..honest },
            // A blob is written under a temporary name in `uploads`.
            Some(Self::BlobContentUnsynced) => Honesty { file: |path| !is_in(path, "uploads"), ..honest },
            Some(Self::BlobNameUnsynced) => Honesty { dir: |path| !is_in(path, "blobs"), ..honest },
            Some(Self::KeyContentUnsynced) => Honesty { file: |path| !is_in(path, "keys"), ..honest },
            Some(Self::KeyNameUnsynced) => Honesty { dir: |path| !path.ends_with("keys"), ..honest },
        }
    }
}

fn is_database(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("perch.sqlite"))
}

/// Whether a path lies below a folder of that name.
fn is_in(path: &Path, folder: &str) -> bool {
    path.parent().is_some_and(|dir| dir.components().any(|part| part.as_os_str() == folder))
}

/// Why the crash test could not be run; this is no verdict on the store.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// The disk, a temporary folder or the runtime failed.
    #[error("{doing} failed")]
    Io {
        /// The operation.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The store did not open for the load.
    #[error("the store did not open for the load")]
    Open(#[source] store::OpenError),
    /// The store refused a call of the load.
    #[error("the store refused {doing}")]
    Load {
        /// The call.
        doing: String,
        /// Its reason.
        #[source]
        source: store::StoreError,
    },
    /// The load itself is wrong.
    #[error("the load is wrong: {0}")]
    Plan(String),
}

impl TortureError {
    fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// One broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Number of the state, from 1.
    pub state: usize,
    /// Place in the log at which the power was cut.
    pub position: usize,
    /// How the state was chosen.
    pub manner: Manner,
    /// What happened before the store was judged, besides.
    pub again: Option<Again>,
    /// What was promised and is not so.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, position, manner, again, what } = self;
        let again = again.map(|again| format!(", then {again:?}")).unwrap_or_default();
        write!(out, "state {state} (cut after operation {position}, {manner:?}{again}): {what}")
    }
}

/// What happens between the cut at a state's position and the judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The process is killed instead, started again, and the power is cut then.
    Killed,
    /// As [`Again::Killed`], and the store writes before the cut.
    KilledAndWrote,
    /// The power is cut a second time during the start after the first cut, or soon after.
    CutTwice,
}

impl Again {
    const ALL: [Self; 3] = [Self::Killed, Self::KilledAndWrote, Self::CutTwice];
}

/// One state in this many has a second life before it is judged.
const AGAIN_ONE_IN: u8 = 4;

/// What a run of states came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States that were opened.
    pub states: usize,
    /// States that differ from all before them.
    pub distinct: usize,
    /// States of a moment in which everything was durable, so that nothing could be dropped.
    pub quiet: usize,
    /// States in which trouble came twice.
    pub twice: usize,
    /// Promises that were compared with what was found.
    pub promises: usize,
    /// Files left over that nothing refers to, in the worst state, after the store had opened.
    pub orphans_max: usize,
    /// Operations in the log.
    pub operations: usize,
    /// Broken promises; a run ends soon after the first ones.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} states ({} distinct, {} with nothing to drop, {} after trouble that came twice) over {} operations, {} promises compared, {} violations, \
             at most {} files left over, {:.1} s",
            self.states,
            self.distinct,
            self.quiet,
            self.twice,
            self.operations,
            self.promises,
            self.violations.len(),
            self.orphans_max,
            self.elapsed.as_secs_f64()
        )
    }
}

/// A load that ran, with everything that was promised during it.
#[derive(Debug)]
pub struct Recording {
    log: Log,
    ledger: Ledger,
    seed: u64,
    fault: Option<Fault>,
}

/// Runs the load of a seed; `steps` is its length, some operations each.
///
/// # Errors
/// When the store does not do what the load asks, or the runtime fails.
pub fn record(seed: u64, steps: usize, fault: Option<Fault>) -> Result<Recording, TortureError> {
    let disk = Disk::new(Fault::honesty(fault)).map_err(TortureError::io("making the disk"))?;
    let early = fault == Some(Fault::ReplyBeforeCommit);
    let ledger = runtime()?.block_on(load::run(&disk, seed, steps, early))?;
    Ok(Recording { log: disk.log(), ledger, seed, fault })
}

/// Records a load and judges `states` states of it.
///
/// # Errors
/// See [`record`] and [`Recording::judge`].
pub fn torture(states: usize, seed: u64) -> Result<Report, TortureError> {
    let began = Instant::now();
    // A longer load for more states, so that they are not all of the same few seconds.
    let steps = (states / 4).clamp(LOAD_STEPS_MIN, LOAD_STEPS_MAX);
    let mut report = record(seed, steps, None)?.judge(states)?;
    report.elapsed = began.elapsed();
    Ok(report)
}

/// Steps of the shortest load that crosses checkpoints, flushes, imports and pruning.
pub const LOAD_STEPS_MIN: usize = 120;

/// Steps of the longest load: what it writes is copied for each state.
const LOAD_STEPS_MAX: usize = 600;

/// Plants a fault and counts the states until it is noticed; `None` when it is not, within [`FAULT_STATES_MAX`].
///
/// # Errors
/// See [`record`] and [`Recording::judge`].
pub fn plant(fault: Fault, seed: u64) -> Result<Option<Violation>, TortureError> {
    let report = record(seed, LOAD_STEPS_MIN, Some(fault))?.judge_until(FAULT_STATES_MAX, 1)?;
    Ok(report.violations.into_iter().next())
}

fn runtime() -> Result<tokio::runtime::Runtime, TortureError> {
    // One thread for the calls; the store has its own for what blocks.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TortureError::io("starting the runtime"))
}

impl Recording {
    /// Cuts the power at `states` points and judges what the store makes of each state.
    ///
    /// # Errors
    /// When a temporary folder cannot be written, or the runtime fails.
    pub fn judge(&self, states: usize) -> Result<Report, TortureError> {
        self.judge_until(states, VIOLATIONS_MAX)
    }

    fn judge_until(&self, states: usize, violations_max: usize) -> Result<Report, TortureError> {
        let began = Instant::now();
        let mut rng = Rng::with_seed(self.seed);
        let mut replay = Replay::new(&self.log);
        let mut prints = HashSet::new();
        let mut checker = Checker::new(runtime()?, load::PLC_URL.to_owned(), load::limits());
        let mut report = Report { operations: self.log.ops.len(), ..Report::default() };
        for (position, again) in self.plan(states, &mut rng) {
            replay.advance_to(position);
            let manner = rng.choice(Manner::ALL).unwrap_or(Manner::Nothing);
            let image = replay.cut(&mut rng, manner);
            report.states += 1;
            report.distinct += usize::from(prints.insert(image.fingerprint()));
            report.quiet += usize::from(image.open_choices == 0);
            let expected = self.ledger.expected_at(position);
            let found = match again {
                None => open_and_check(&mut checker, &image, &expected)?,
                Some(again) => {
                    report.twice += 1;
                    self.twice(again, &mut checker, &mut rng, &image, &expected)?
                }
            };
            report.promises += found.promises;
            report.orphans_max = report.orphans_max.max(found.orphans);
            let state = report.states;
            let violation = |what| Violation { state, position, manner, again, what };
            report.violations.extend(found.wrong.into_iter().map(violation));
            if report.violations.len() >= violations_max {
                break;
            }
        }
        report.elapsed = began.elapsed();
        Ok(report)
    }

    fn honesty_then(&self) -> Honesty {
        match self.fault {
            Some(Fault::BelievesUnsynced) => Fault::honesty(Some(Fault::SynchronousOff)),
            _ => Honesty::default(),
        }
    }

    /// Lets the store live a second time, cuts the power there, and judges that.
    fn twice(
        &self,
        again: Again,
        checker: &mut Checker,
        rng: &mut Rng,
        image: &Image,
        expected: &Expected<'_>,
    ) -> Result<Found, TortureError> {
        let disk = match again {
            Again::Killed | Again::KilledAndWrote => {
                Disk::replayed(&self.log, expected.position(), self.honesty_then())
            }
            Again::CutTwice => Disk::holding(image),
        };
        let disk = disk.map_err(TortureError::io("making the disk"))?;
        let begin = disk.position();
        let with_writes = match again {
            Again::Killed => false,
            Again::KilledAndWrote => true,
            Again::CutTwice => rng.bool(),
        };
        let life = match second_life::run(&disk, checker, expected, with_writes)? {
            Ok(life) => life,
            Err(wrong) => return Ok(Found { wrong: vec![wrong], ..Found::default() }),
        };
        let log = disk.log();
        let mut replay = Replay::new(&log);
        // As often as anywhere: when all events were sent again and nothing else has happened yet.
        let cut = if rng.bool() { life.sent_at } else { rng.usize(begin..=log.ops.len()) };
        replay.advance_to(cut);
        let manner = rng.choice(Manner::ALL).unwrap_or(Manner::Nothing);
        open_and_check(checker, &replay.cut(rng, manner), &expected.then(&life, cut))
    }

    /// Chooses where the power is cut, in order, and where trouble comes twice.
    ///
    /// Anywhere, and more often where something was just promised, renamed or synced, since there most can be wrong. A
    /// kill harms most just before a sync, when the system shows what the disk does not have.
    fn plan(&self, count: usize, rng: &mut Rng) -> Vec<(usize, Option<Again>)> {
        let places = |wanted: fn(&Op) -> bool| -> Vec<usize> {
            let ops = self.log.ops.iter().enumerate();
            ops.filter(|(_, op)| wanted(op)).map(|(place, _)| place).collect()
        };
        let acks = places(|op| matches!(op, Op::Ack { .. }));
        let joints = places(|op| !matches!(op, Op::Ack { .. } | Op::Write { .. }));
        let syncs = places(|op| matches!(op, Op::Sync { .. }));
        let one = |_| {
            let again = match self.fault {
                None => rng.choice(Again::ALL).filter(|_| rng.u8(..AGAIN_ONE_IN) == 0),
                Some(Fault::BelievesUnsynced) => Some(Again::Killed),
                // A second life would do its syncs and hide the fault.
                Some(_) => None,
            };
            let is_killed = matches!(again, Some(Again::Killed | Again::KilledAndWrote));
            let position = match rng.u8(..4) {
                0 | 1 if is_killed => rng.choice(&syncs).copied().unwrap_or_default(),
                0 => rng.choice(&acks).map_or(0, |place| place + 1),
                // Just before a sync is done, and just after.
                1 => rng.choice(&joints).map_or(0, |place| place + rng.usize(..2)),
                _ => rng.usize(..=self.log.ops.len()),
            };
            (position, again)
        };
        let mut plan: Vec<_> = (0..count).map(one).collect();
        plan.sort_by_key(|(position, _)| *position);
        plan
    }
}

fn open_and_check(
    checker: &mut Checker,
    image: &Image,
    expected: &Expected<'_>,
) -> Result<Found, TortureError> {
    let dir = scratch().map_err(TortureError::io("making a temporary folder"))?;
    image.write_to(dir.path()).map_err(TortureError::io("writing a state"))?;
    Ok(checker.check(&dir.path().join("data"), expected))
}

#[cfg(test)]
mod tests;
