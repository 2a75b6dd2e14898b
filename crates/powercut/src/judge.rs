//! Cuts the power at seeded places of a log, and has what each cut leaves examined, by several threads.
//!
//! It makes the states and counts; what must be true of a state is its [`Examiner`]'s.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use tempfile::TempDir;
use testbed::block::{Entry, Log, Replay, State};

use crate::cuts::{Choice, Cut, plan};

/// Violations after which a run of states ends: more of them tell nothing new.
const VIOLATIONS_MAX: usize = 20;

/// States of broken promises whose disks are kept for a person to look at.
const KEPT_MAX: usize = 3;

/// Other choices that are tried where a state was seen before: a place with one open sector has few.
const TRIES_MAX: usize = 16;

/// Says what is wrong with the disks that a cut left.
pub trait Examiner {
    /// Examines the disks, which are image files in the log's order and may be changed, after a cut at a position.
    ///
    /// # Errors
    /// When the test's own work fails; what the state does not stand is in the finding.
    fn examine(&mut self, disks: &[PathBuf], position: usize) -> Result<Finding>;
}

/// What one examination gave.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// Promises that were compared with what was found.
    pub promises: usize,
    /// Whether a file system had to be mended before it could be mounted.
    pub mended: bool,
    /// What is not as promised.
    pub wrong: Vec<String>,
}

/// One broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Number of the state, from 1.
    pub state: usize,
    /// The cut; with the log it gives the state again.
    pub cut: Cut,
    /// What was promised and is not so.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, cut, what } = self;
        write!(out, "state {state} ({cut}): {what}")
    }
}

/// What a run of states came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States of seeded cuts, each without some of what was written.
    pub states: usize,
    /// Those that differ from all before them.
    pub distinct: usize,
    /// States just after an answered flush, besides.
    pub flush_points: usize,
    /// Sectors that did not reach the disk, over all states.
    pub dropped_sectors: usize,
    /// States whose file system had to be mended before it could be mounted.
    pub mended: usize,
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

impl Report {
    fn of(log: &Log) -> Self {
        let count = |wanted: fn(&&Entry) -> bool| log.entries.iter().filter(wanted).count();
        Self {
            entries: log.entries.len(),
            writes: count(|entry| matches!(entry, Entry::Write { .. })),
            flushes: count(|entry| matches!(entry, Entry::Flush(_))),
            ..Self::default()
        }
    }

    /// Adds what another run came to.
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        self.distinct += other.distinct;
        self.flush_points += other.flush_points;
        self.dropped_sectors += other.dropped_sectors;
        self.mended += other.mended;
        self.promises += other.promises;
        self.entries += other.entries;
        self.writes += other.writes;
        self.flushes += other.flushes;
        self.violations.extend(other.violations);
        self.elapsed += other.elapsed;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} states ({} distinct) that lack {} sectors in all, and {} flush points, over {} entries ({} writes, \
             {} flushes), {} mended before they mounted, {} promises compared, {} violations, {:.1} s",
            self.states,
            self.distinct,
            self.dropped_sectors,
            self.flush_points,
            self.entries,
            self.writes,
            self.flushes,
            self.mended,
            self.promises,
            self.violations.len(),
            self.elapsed.as_secs_f64()
        )
    }
}

/// How much is judged.
#[derive(Clone, Copy, Debug)]
pub struct Judging<'p> {
    /// States of seeded cuts.
    pub states: usize,
    /// Seed of the places and the choices.
    pub seed: u64,
    /// Entries before the first cut.
    pub from: usize,
    /// Looks at flush points, too.
    pub with_flush_points: bool,
    /// Violations after which it ends.
    pub violations_max: usize,
    /// Where disks of violations are kept.
    pub keep_in: Option<&'p Path>,
    /// Threads that examine.
    pub workers: usize,
}

impl<'p> Judging<'p> {
    /// Judges so many states to the end, unless there are many violations.
    #[must_use]
    pub fn new(states: usize, seed: u64, keep_in: &'p Path) -> Self {
        Self {
            states,
            seed,
            from: 0,
            with_flush_points: true,
            violations_max: VIOLATIONS_MAX,
            keep_in: Some(keep_in),
            workers: workers(),
        }
    }

    /// Looks for one violation among so many states: a planted fault must show it.
    #[must_use]
    pub fn until_noticed(states: usize, seed: u64) -> Self {
        Self {
            states,
            seed,
            from: 0,
            with_flush_points: false,
            violations_max: 1,
            keep_in: None,
            workers: workers(),
        }
    }
}

/// One thread more than there are processors: each waits now and then for a mount.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + 1
}

/// Files that states are written to, one after the other.
#[derive(Debug)]
struct Slot {
    _folder: TempDir,
    paths: Vec<PathBuf>,
    files: Vec<File>,
}

impl Slot {
    fn new(disks: usize) -> Result<Self> {
        let folder = crashfs::scratch().context("no room for a disk")?;
        let paths: Vec<PathBuf> = (0..disks).map(|disk| folder.path().join(format!("disk{disk}"))).collect();
        let files = paths.iter().map(File::create).collect::<Result<_, _>>().context("no room for a disk")?;
        Ok(Self { _folder: folder, paths, files })
    }

    fn write(&self, replay: &Replay<'_>, state: &State) -> Result<()> {
        for (disk, file) in self.files.iter().enumerate() {
            replay.write_to(state, disk, file).context("writing a state")?;
        }
        Ok(())
    }
}

/// A state to be examined.
#[derive(Debug)]
struct Job {
    number: usize,
    cut: Cut,
    slot: Slot,
}

/// A state that was examined.
type Done = (Job, Result<Finding>);

/// Cuts the power and judges what each cut leaves. Each thread makes its own examiner; `tell` hears of the progress.
///
/// # Errors
/// When the test's own work fails.
pub fn judge<E: Examiner>(
    log: &Log,
    how: Judging<'_>,
    examiner: impl Fn() -> Result<E> + Sync,
    mut tell: impl FnMut(&Report),
) -> Result<Report> {
    let began = Instant::now();
    let mut report = Report::of(log);
    let (jobs, waiting) = channel();
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        let (sender, done) = channel();
        for _ in 0..how.workers {
            let (sender, waiting, examiner) = (sender.clone(), &waiting, &examiner);
            scope.spawn(move || work(waiting, &sender, examiner));
        }
        drop(sender);
        let mut take = |(job, finding): Done, report: &mut Report| -> Result<Slot> {
            let finding = finding?;
            report.promises += finding.promises;
            report.mended += usize::from(finding.mended);
            let violation = |what| Violation { state: job.number, cut: job.cut, what };
            report.violations.extend(finding.wrong.into_iter().map(violation));
            report.elapsed = began.elapsed();
            tell(report);
            Ok(job.slot)
        };
        hand_out(log, how, &jobs, &done, &mut report, &mut take)?;
        drop(jobs);
        for last in done {
            take(last, &mut report)?;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    report.violations.sort_by_key(|violation| violation.state);
    if let Some(folder) = how.keep_in {
        keep(log, &report.violations, folder)?;
    }
    report.elapsed = began.elapsed();
    Ok(report)
}

/// Examines what comes, until no more does.
fn work<E: Examiner>(waiting: &Mutex<Receiver<Job>>, done: &Sender<Done>, make: &impl Fn() -> Result<E>) {
    let mut examiner = make();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let finding = match &mut examiner {
            Ok(examiner) => examiner.examine(&job.slot.paths, job.cut.position),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        if done.send((job, finding)).is_err() {
            return;
        }
    }
}

/// Makes the states, as fast as they are examined.
fn hand_out(
    log: &Log,
    how: Judging<'_>,
    jobs: &Sender<Job>,
    done: &Receiver<Done>,
    report: &mut Report,
    take: &mut dyn FnMut(Done, &mut Report) -> Result<Slot>,
) -> Result<()> {
    let mut rng = Rng::with_seed(how.seed);
    let mut replay = Replay::new(log).context("reading the disks' beginning")?;
    let mut prints = HashSet::new();
    let slots = (0..=how.workers).map(|_| Slot::new(log.bases.len()));
    let mut idle = slots.collect::<Result<Vec<_>>>()?;
    let cuts = plan(log, how.from, how.states, how.with_flush_points, &mut rng);
    for (number, cut) in (1..).zip(cuts) {
        replay.advance_to(cut.position).context("reading the log")?;
        let (cut, state) = fresh(&replay, cut, &mut prints, &mut rng, report)?;
        let slot = loop {
            if let Some(slot) = idle.pop() {
                break slot;
            }
            let Ok(finished) = done.recv() else { bail!("all threads that examine have ended") };
            idle.push(take(finished, report)?);
        };
        slot.write(&replay, &state)?;
        if jobs.send(Job { number, cut, slot }).is_err() {
            bail!("nobody examines any more");
        }
        while let Ok(finished) = done.try_recv() {
            idle.push(take(finished, report)?);
        }
        if report.violations.len() >= how.violations_max {
            break;
        }
    }
    Ok(())
}

/// Makes the state of a cut; of a seeded one, if it can, a state that was not seen before.
fn fresh(
    replay: &Replay<'_>,
    mut cut: Cut,
    prints: &mut HashSet<u64>,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<(Cut, State)> {
    let mut state = state_of(replay, &cut)?;
    if cut.choice == Choice::FlushPoint {
        report.flush_points += 1;
        return Ok((cut, state));
    }
    for _ in 0..TRIES_MAX {
        if !prints.contains(&state.print) {
            break;
        }
        cut = cut.another(rng);
        state = state_of(replay, &cut)?;
    }
    report.states += usize::from(state.dropped > 0);
    report.distinct += usize::from(prints.insert(state.print));
    report.dropped_sectors += state.dropped;
    Ok((cut, state))
}

fn state_of(replay: &Replay<'_>, cut: &Cut) -> Result<State> {
    let (mut dice, manner) = cut.dice();
    replay.cut(&mut dice, manner).context("reading the log")
}

/// Keeps the disks of the first broken promises as the cuts left them, before anything was done with them.
fn keep(log: &Log, violations: &[Violation], folder: &Path) -> Result<()> {
    let bad: BTreeMap<usize, Cut> = violations.iter().map(|broken| (broken.state, broken.cut)).collect();
    let mut replay = Replay::new(log).context("reading the disks' beginning")?;
    for (number, cut) in bad.into_iter().take(KEPT_MAX) {
        replay.advance_to(cut.position).context("reading the log")?;
        let state = state_of(&replay, &cut)?;
        for disk in 0..log.bases.len() {
            let path = folder.join(format!("state-{number}-disk{disk}.img"));
            let file = File::create(&path).with_context(|| format!("keeping {}", path.display()))?;
            replay.write_to(&state, disk, &file).with_context(|| format!("keeping {}", path.display()))?;
        }
    }
    Ok(())
}
