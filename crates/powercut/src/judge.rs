//! Cuts the power at seeded places of a recorded run, and judges what each cut leaves.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crashfs::{Checker, Found, Ledger};
use fastrand::Rng;
use testbed::block::{Entry, Log, Manner, Replay};

use crate::medium::Medium;

/// Violations after which a run of states ends: more of them tell nothing new.
const VIOLATIONS_MAX: usize = 20;

/// Disks of violations that are kept for a person to look at.
const KEPT_MAX: usize = 3;

/// A load that ran on a recording disk.
#[derive(Debug)]
pub struct Run {
    /// Everything that happened to the disk.
    pub log: Log,
    /// Everything that was promised meanwhile.
    pub ledger: Ledger,
    /// The directory of identities that the store is bound to.
    pub plc_url: String,
    /// The store's folder on the disk.
    pub data: PathBuf,
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
    /// What was promised and is not so.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, position, manner, what } = self;
        write!(out, "state {state} (cut after entry {position}, {manner:?}): {what}")
    }
}

/// What a run of states came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States that were mounted and examined.
    pub states: usize,
    /// States that differ from all before them.
    pub distinct: usize,
    /// States of a moment in which everything was flushed, so that nothing could be dropped.
    pub quiet: usize,
    /// Sectors that did not reach the disk, over all states.
    pub dropped_sectors: usize,
    /// Promises that were compared with what was found.
    pub promises: usize,
    /// Entries, writes and answered flushes of the log.
    pub entries: usize,
    /// Writes among them.
    pub writes: usize,
    /// Flushes among them.
    pub flushes: usize,
    /// Broken promises; a run ends soon after the first ones.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} states ({} distinct, {} with nothing to drop) over {} entries ({} writes, {} flushes), {} sectors lost in all, \
             {} promises compared, {} violations, {:.1} s",
            self.states,
            self.distinct,
            self.quiet,
            self.entries,
            self.writes,
            self.flushes,
            self.dropped_sectors,
            self.promises,
            self.violations.len(),
            self.elapsed.as_secs_f64()
        )
    }
}

/// How much is judged.
#[derive(Clone, Copy, Debug)]
pub struct Judging<'p> {
    /// States.
    pub states: usize,
    /// Seed of the places and the choices.
    pub seed: u64,
    /// Violations after which it ends.
    pub violations_max: usize,
    /// Where disks of violations are kept.
    pub keep_in: Option<&'p Path>,
}

impl<'p> Judging<'p> {
    /// Judges so many states to the end, unless there are many violations.
    #[must_use]
    pub fn new(states: usize, seed: u64, keep_in: &'p Path) -> Self {
        Self { states, seed, violations_max: VIOLATIONS_MAX, keep_in: Some(keep_in) }
    }

    /// Looks for one violation among so many states: a planted fault must show it.
    #[must_use]
    pub fn until_noticed(states: usize, seed: u64) -> Self {
        Self { states, seed, violations_max: 1, keep_in: None }
    }
}

impl Run {
    /// Cuts the power at seeded places and judges what each cut leaves. `tell` hears of the progress.
    ///
    /// # Errors
    /// When the test's own work fails.
    pub fn judge(&self, how: Judging<'_>, mut tell: impl FnMut(&Report)) -> Result<Report> {
        let began = Instant::now();
        let mut rng = Rng::with_seed(how.seed);
        let mut replay = Replay::new(&self.log).context("reading the disk's beginning")?;
        let mut prints = HashSet::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut checker = Checker::new(
            runtime.context("starting the runtime")?,
            self.plc_url.clone(),
            store::Limits::default(),
        );
        let medium = Medium::new()?;
        let mut report = self.empty_report();
        let mut bad_states = 0;
        for position in self.plan(how.states, &mut rng) {
            replay.advance_to(position).context("reading the log")?;
            let manner = rng.choice(Manner::ALL).unwrap_or(Manner::Nothing);
            let state = replay.cut(&mut rng, manner).context("reading the log")?;
            report.states += 1;
            report.distinct += usize::from(prints.insert(state.print));
            report.quiet += usize::from(state.open == 0);
            report.dropped_sectors += state.dropped;
            let expected = self.ledger.expected_at(position);
            let examine = |mounted: &Path| checker.check(&mounted.join(&self.data), &expected);
            let verdict = medium.examine(&replay, &state, examine)?;
            let found: Found = verdict.examined.unwrap_or_default();
            report.promises += found.promises;
            let wrong: Vec<String> = verdict.wrong.into_iter().chain(found.wrong).collect();
            let number = report.states;
            if !wrong.is_empty() {
                bad_states += 1;
                if let (true, Some(folder)) = (bad_states <= KEPT_MAX, how.keep_in) {
                    Medium::keep(&replay, &state, &folder.join(format!("state-{number}.img")))?;
                }
            }
            let violation = |what| Violation { state: number, position, manner, what };
            report.violations.extend(wrong.into_iter().map(violation));
            report.elapsed = began.elapsed();
            tell(&report);
            if report.violations.len() >= how.violations_max {
                break;
            }
        }
        report.elapsed = began.elapsed();
        Ok(report)
    }

    fn empty_report(&self) -> Report {
        let count = |wanted: fn(&&Entry) -> bool| self.log.entries.iter().filter(wanted).count();
        Report {
            entries: self.log.entries.len(),
            writes: count(|entry| matches!(entry, Entry::Write { .. })),
            flushes: count(|entry| matches!(entry, Entry::Flush)),
            ..Report::default()
        }
    }

    /// Chooses where the power is cut, in order.
    ///
    /// Mostly where something is under way: after a write, and just before a flush is answered. Also just after a promise,
    /// where most can be missing; just after a flush; and anywhere.
    fn plan(&self, count: usize, rng: &mut Rng) -> Vec<usize> {
        let entries = &self.log.entries;
        let places = |wanted: fn(&Entry) -> bool| -> Vec<usize> {
            let found = entries.iter().enumerate().filter(|(_, entry)| wanted(entry));
            found.map(|(at, _)| at).collect()
        };
        let marks = places(|entry| matches!(entry, Entry::Mark(_)));
        let writes = places(|entry| matches!(entry, Entry::Write { .. }));
        let mut flushed = Vec::new();
        let mut has_flush = false;
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Flush => has_flush = true,
                Entry::Answered if std::mem::take(&mut has_flush) => flushed.push(at),
                _ => {}
            }
        }
        let mut plan: Vec<usize> = (0..count)
            .map(|_| match rng.u8(..12) {
                0..3 => rng.choice(&marks).map_or(0, |at| at + 1),
                3..7 => rng.choice(&writes).map_or(0, |at| at + 1),
                7..10 => rng.choice(&flushed).copied().unwrap_or_default(),
                10 => rng.choice(&flushed).map_or(0, |at| at + 1),
                _ => rng.usize(..=entries.len()),
            })
            .collect();
        plan.sort_unstable();
        plan
    }
}
