//! Carries out what the policy orders, one order at a time, and looks again after each.
//!
//! It decides nothing about data. It keeps the time: how long a question stands, when a failure is tried again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use control::PlacementStatus;
use platform::volumes::{CheckResult, Holds, MountPlace, VolumeId, Volumes};

use super::evidence::{Action, DataState, Decision, Evidence, Limits, Live, Question};
use super::identity::{ApplianceId, CopyState, FORMAT, Identity};
use super::{policy, transfer, words};

/// How often the disks are asked whether one came or went.
const TICK: Duration = Duration::from_secs(1);

/// How often writers that were asked to end are looked at.
const STOP_TICK: Duration = Duration::from_millis(50);

/// How long writers may take to end. The PDS needs a second for its last checkpoint, a minute on a failing card; after
/// this the move is off and the data stays where it is.
const STOP_MAX: Duration = Duration::from_secs(60);

/// How long the offer of a new disk stands. It comes again when the disk is plugged in again: an owner who plugged it
/// in for something else is not asked for ever.
const OFFER_MAX: Duration = Duration::from_secs(600);

/// How long "really?" stands: time to read it. A later press must not erase for somebody who wanted the next page.
const SURE_MAX: Duration = Duration::from_secs(120);

/// After this a failed order is given again: a minute is short for an owner who replugs a cable, and long for a disk.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Those who write to the data: they run only while it is there and stays where it is.
pub trait Writers: Send + std::fmt::Debug {
    /// The data is in this folder: start.
    fn allow(&mut self, folder: &std::path::Path);
    /// End. With `torn_off` the disk is gone and nothing that is not written can be.
    fn stop(&mut self, torn_off: bool);
    /// Tells whether all have ended.
    fn stopped(&mut self) -> bool;
}

/// Presence's answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the question that was read.
    pub question: u64,
    /// The answer.
    pub yes: bool,
}

/// What may be set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Bounds of the policy.
    pub limits: Limits,
}

/// What the storage part works with.
pub struct Platform {
    /// The hands.
    pub volumes: Box<dyn Volumes>,
    /// Who writes to the data.
    pub writers: Box<dyn Writers>,
    /// Answers of whoever stands before the box.
    pub answers: Receiver<Answer>,
    /// Asked before every change of a copy; false ends the copy, which is gone on with later.
    pub go_on: Box<dyn FnMut() -> bool + Send>,
    /// Where the state goes whenever it changes.
    pub report: Box<dyn FnMut(&PlacementStatus) + Send>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform").field("volumes", &self.volumes).finish_non_exhaustive()
    }
}

/// Sees to the data until `shutdown`, then ends the writers and unmounts. Blocks: for a thread of its own.
pub fn run(config: &Config, platform: Platform, shutdown: &AtomicBool) {
    let mut driver = Driver::new(*config, platform, shutdown);
    while !shutdown.load(Ordering::Relaxed) {
        if !driver.step() && !shutdown.load(Ordering::Relaxed) {
            driver.wait();
        }
    }
    driver.close();
}

struct Asked {
    id: u64,
    question: Question,
    since: Instant,
}

struct Driver<'a> {
    config: Config,
    platform: Platform,
    shutdown: &'a AtomicBool,
    evidence: Evidence,
    /// [`Volumes::plugged`] of the last look; `None` asks for a new one.
    plugged: Option<u64>,
    folder: Option<PathBuf>,
    writing: bool,
    asked: Option<Asked>,
    questions: u64,
    percent: u8,
    reported: Option<PlacementStatus>,
    failed_at: Option<Instant>,
}

impl<'a> Driver<'a> {
    fn new(config: Config, platform: Platform, shutdown: &'a AtomicBool) -> Self {
        let mut evidence = Evidence::default();
        evidence.session.writers_stopped = true;
        Self {
            config,
            platform,
            shutdown,
            evidence,
            plugged: None,
            folder: None,
            writing: false,
            asked: None,
            questions: 0,
            percent: 0,
            reported: None,
            failed_at: None,
        }
    }

    /// Looks, decides, and carries out one order. False when there was none.
    fn step(&mut self) -> bool {
        self.look();
        let decision = policy::decide(&self.evidence, &self.config.limits);
        self.ask(&decision);
        self.report(&decision);
        let session = &mut self.evidence.session;
        if !matches!(decision.state, DataState::Moving { .. }) {
            session.copied = None;
        }
        if let DataState::Live { .. } = decision.state {
            self.allow();
        } else {
            let torn_off = decision.action == Some(Action::Unmount { torn_off: true });
            if !self.stop(torn_off) {
                self.fail(Action::StopWriters, "the PDS did not end".to_owned());
                return true;
            }
        }
        let Some(action) = decision.action else { return false };
        tracing::info!(?action, "storage");
        self.plugged = None;
        if let Err(why) = self.carry_out(&action, &decision.state) {
            tracing::warn!(?action, why, "storage: failed");
            self.fail(action, why);
        }
        true
    }

    /// Waits for an answer, or a little.
    fn wait(&mut self) {
        match self.platform.answers.recv_timeout(TICK) {
            Ok(answer) => self.answer(answer),
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody can answer any more; the disks still come and go.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
        }
    }

    fn close(&mut self) {
        self.stop(false);
        if self.evidence.live.take().is_some()
            && let Err(error) = self.platform.volumes.unmount(MountPlace::Live, false)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the data could not be unmounted");
        }
    }

    fn look(&mut self) {
        let plugged = self.platform.volumes.plugged();
        let is_new = self.plugged != Some(plugged);
        if self.failed_at.is_some_and(|at| at.elapsed() >= RETRY_AFTER) {
            self.evidence.session.failed.clear();
            self.failed_at = None;
        }
        if !is_new {
            return;
        }
        match self.platform.volumes.scan() {
            Ok(disks) => {
                if disks.len() != self.evidence.disks.len() {
                    self.evidence.session.failed.clear();
                }
                self.evidence.disks = disks;
                self.plugged = Some(plugged);
                if let Some(live) = &mut self.evidence.live {
                    live.used_bytes = self.platform.volumes.used_bytes(MountPlace::Live).ok();
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no list of disks"),
        }
    }

    fn fail(&mut self, action: Action, why: String) {
        self.evidence.session.failed.push((action, why));
        self.failed_at = Some(Instant::now());
    }

    fn allow(&mut self) {
        if let (false, Some(folder)) = (self.writing, &self.folder) {
            self.evidence.session.writers_stopped = false;
            self.writing = true;
            self.platform.writers.allow(folder);
        }
    }

    /// Ends the writers; false when they do not end.
    fn stop(&mut self, torn_off: bool) -> bool {
        if self.writing {
            self.platform.writers.stop(torn_off);
            let since = Instant::now();
            while !torn_off && !self.platform.writers.stopped() {
                if since.elapsed() >= STOP_MAX {
                    return false;
                }
                std::thread::sleep(STOP_TICK);
            }
            self.writing = false;
        }
        self.evidence.session.writers_stopped = true;
        true
    }

    /// Keeps the question that stands, and withdraws one that nobody answered.
    fn ask(&mut self, decision: &Decision) {
        let stands = self.asked.as_ref().map(|asked| &asked.question) == decision.question.as_ref();
        if !stands {
            self.asked = decision.question.clone().map(|question| {
                self.questions += 1;
                Asked { id: self.questions, question, since: Instant::now() }
            });
        }
        let Some(asked) = &self.asked else { return };
        let life = match &asked.question {
            Question::UseDisk { sure: true, .. } | Question::GiveUp { sure: true, .. } => SURE_MAX,
            Question::UseDisk { sure: false, .. } => OFFER_MAX,
            _ => return,
        };
        if asked.since.elapsed() >= life {
            let question = asked.question.clone();
            self.decline(question);
        }
    }

    fn decline(&mut self, question: Question) {
        let session = &mut self.evidence.session;
        match question {
            Question::GiveUp { .. } => session.yes.clear(),
            question => session.no.push(question),
        }
    }

    fn answer(&mut self, answer: Answer) {
        let Some(asked) = self.asked.as_ref().filter(|asked| asked.id == answer.question) else { return };
        let question = asked.question.clone();
        if answer.yes {
            // Looked at anew: since the question came the data may have grown beyond the disk.
            self.plugged = None;
            self.evidence.session.yes.push(question);
        } else {
            self.decline(question);
        }
    }

    fn report(&mut self, decision: &Decision) {
        let id = self.asked.as_ref().map_or(0, |asked| asked.id);
        let status = words::status(decision, self.percent, id);
        if self.reported.as_ref() != Some(&status) {
            (self.platform.report)(&status);
            self.reported = Some(status);
        }
    }

    fn carry_out(&mut self, action: &Action, state: &DataState) -> Result<(), String> {
        let session = &mut self.evidence.session;
        let volumes = &mut self.platform.volumes;
        match action {
            // Done before: whatever is ordered while the data is not live comes after their end.
            Action::StopWriters => {}
            Action::PrepareBoot { disk } => {
                volumes.prepare_boot(disk).map_err(reason)?;
                session.boot_prepared = true;
            }
            Action::Found { volume } => {
                let appliance = ApplianceId::random(volumes.random().map_err(reason)?);
                let identity = Identity::first(appliance, volume.clone());
                volumes.mark(volume, &identity.to_bytes()).map_err(reason)?;
                session.yes.clear();
            }
            Action::Mark { volume, identity } => {
                volumes.mark(volume, &identity.to_bytes()).map_err(reason)?;
                session.yes.clear();
            }
            Action::Check { volume, repair } => {
                let result = volumes.check(volume, *repair).map_err(reason)?;
                session.checked.insert(volume.clone(), result);
                if *repair {
                    session.yes.clear();
                }
            }
            Action::Mount { volume } => return self.mount(volume),
            Action::Unmount { torn_off } => return self.unmount(*torn_off),
            Action::NoteJump { volume } => {
                volumes.note_jump(volume).map_err(reason)?;
                session.jump_noted = Some(volume.clone());
            }
            Action::Provision { disk, appliance, generation, from } => {
                let volume = VolumeId::random(volumes.random().map_err(reason)?);
                let identity = Identity {
                    format: FORMAT,
                    appliance: appliance.clone(),
                    generation: *generation,
                    volume: volume.clone(),
                    state: CopyState::Receiving { from: from.clone() },
                };
                session.yes.clear();
                volumes.provision(disk, &volume, &identity.to_bytes()).map_err(reason)?;
                session.checked.insert(volume, CheckResult::Clean);
            }
            Action::Copy { from, to } => return self.copy(from, to, state),
        }
        Ok(())
    }

    fn mount(&mut self, volume: &VolumeId) -> Result<(), String> {
        let holder = self
            .evidence
            .disks
            .iter()
            .find(|disk| disk.volumes.iter().any(|seen| seen.id == *volume))
            .ok_or_else(|| "the disk is not there".to_owned())?;
        let seen = holder.volumes.iter().find(|seen| seen.id == *volume);
        let generation = match seen.map(|seen| &seen.holds) {
            Some(Holds::Marked(bytes)) => Identity::parse(bytes).map_err(reason)?.generation,
            _ => return Err("there is no mark on it".to_owned()),
        };
        let (disk, attached) = (holder.words(), holder.attached);
        let live = Live { volume: volume.clone(), generation, disk, attached, used_bytes: None };
        self.folder = Some(self.platform.volumes.mount(volume, MountPlace::Live).map_err(reason)?);
        self.evidence.live = Some(live);
        self.evidence.session.pulled = None;
        Ok(())
    }

    fn unmount(&mut self, torn_off: bool) -> Result<(), String> {
        self.platform.volumes.unmount(MountPlace::Live, torn_off).map_err(reason)?;
        self.folder = None;
        if let Some(live) = self.evidence.live.take()
            && torn_off
        {
            self.evidence.session.checked.remove(&live.volume);
            self.evidence.session.pulled = Some(live);
        }
        Ok(())
    }

    /// Copies and compares, with the new disk mounted beside the data.
    fn copy(&mut self, from: &VolumeId, to: &VolumeId, state: &DataState) -> Result<(), String> {
        let source = self.folder.clone().ok_or_else(|| "the data is not mounted".to_owned())?;
        let target = self.platform.volumes.mount(to, MountPlace::Target).map_err(reason)?;
        let result = self.transfer(&source, &target, state);
        let unmounted = self.platform.volumes.unmount(MountPlace::Target, false).map_err(reason);
        result.and(unmounted)?;
        self.evidence.session.copied = Some((from.clone(), to.clone()));
        Ok(())
    }

    fn transfer(
        &mut self,
        source: &std::path::Path,
        target: &std::path::Path,
        state: &DataState,
    ) -> Result<(), String> {
        let total = transfer::bytes_of(source).map_err(reason)?.saturating_mul(2).max(1);
        let mut done = 0_u64;
        let decision = Decision { state: state.clone(), question: None, notes: Vec::new(), action: None };
        let shutdown = self.shutdown;
        let mut go = |bytes: u64| {
            done = done.saturating_add(bytes);
            let percent = u8::try_from(done.saturating_mul(100) / total).unwrap_or(100).min(100);
            if percent != self.percent {
                self.percent = percent;
                let status = words::status(&decision, percent, 0);
                (self.platform.report)(&status);
                self.reported = Some(status);
            }
            (self.platform.go_on)() && !shutdown.load(Ordering::Relaxed)
        };
        transfer::copy(source, target, &mut go).map_err(reason)?;
        for folder in [source, target] {
            self.platform.volumes.forget_cached(folder).map_err(reason)?;
        }
        transfer::compare(source, target, &mut go).map_err(reason)
    }
}

/// Writes an error with its causes, for the page.
fn reason(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
