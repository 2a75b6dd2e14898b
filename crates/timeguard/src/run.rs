//! Carries out what the policy says: asks servers, reads the chip, sets the clock, publishes. It decides nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use control::TimeStatus;
use platform::time::{BootClock, ClockControl, Verdict};
use platform::{Rtc, RtcReading};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::policy::{Action, CertificateWindow, Config, Guard, Input, Kiss, Moment, Sample, Saved};

/// Time between looks at the clock, which find a foreign hand and renew the verdict.
const TICK: Duration = Duration::from_secs(1);

/// How long an answer of a server is awaited: longer round trips would be too wide to vote.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// How long certificates are awaited: two TLS handshakes over a slow line.
const CERTIFICATES_WAIT: Duration = Duration::from_secs(20);

/// What came of a question to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The time.
    Sample(Sample),
    /// A kiss-o'-death.
    Kiss(Kiss),
    /// Nothing, or nothing that passes the checks of RFC 4330 section 5.
    Silence,
}

/// Whom the guard may ask about the time.
pub trait Evidence: Send + Sync + 'static {
    /// Asks one server of the configuration, by its index.
    fn query(&self, server: usize) -> impl Future<Output = Answer> + Send;

    /// Fetches when the certificates of two independent hosts are valid; `None` when that fails.
    fn certificates(&self) -> impl Future<Output = Option<CertificateWindow>> + Send;
}

/// Where the guard's words go. Failures are the implementation's to log: the guard cannot mend them, and readers stop
/// trusting by themselves.
pub trait Outlet: Send + Sync + std::fmt::Debug {
    /// Tells the time.
    fn publish(&self, verdict: Verdict);
    /// Tells that there is no trusted time.
    fn refuse(&self, why: &str);
    /// Tells the pages.
    fn status(&self, status: TimeStatus);
    /// Keeps this across restarts.
    fn save(&self, saved: Saved);
}

/// What others may tell a running guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The owner confirmed the time that the screen asked about, UTC microseconds.
    OwnerAccepts(u64),
    /// The network came up or changed.
    NetworkUp,
}

/// What the guard works with.
#[derive(Debug)]
pub struct Platform<E> {
    /// The kernel's clocks.
    pub boot: Arc<dyn BootClock>,
    /// The right to set them; `None` outside the appliance.
    pub control: Option<Arc<dyn ClockControl>>,
    /// The chip; `None` when there is none.
    pub rtc: Option<Box<dyn Rtc>>,
    /// Whom to ask.
    pub evidence: Arc<E>,
    /// Where to speak.
    pub outlet: Arc<dyn Outlet>,
}

/// Runs the guard until it is told to stop. What it last published stays valid for its 30 s.
pub async fn run<E: Evidence>(
    config: Config,
    platform: Platform<E>,
    mut commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
) {
    let now = moment(platform.boot.as_ref());
    let guard = Guard::new(config, platform.boot.boot_id(), now);
    let mut driver = Driver { guard, platform, tasks: JoinSet::new(), chip_jobs: Vec::new(), verdict: None };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut commanded = true;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => driver.feed(Input::Tick),
            Some(done) = driver.tasks.join_next() => driver.finish(done),
            command = commands.recv(), if commanded => match command {
                Some(Command::OwnerAccepts(unix_us)) => driver.feed(Input::OwnerAccepts(unix_us)),
                Some(Command::NetworkUp) => driver.feed(Input::NetworkUp),
                None => commanded = false,
            },
        }
    }
    // Questions under way are of no use to anybody; a chip that is being set finishes by itself.
    driver.tasks.abort_all();
}

/// Work with the chip, which may take a second and is done off the async threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChipJob {
    Read,
    Set(Verdict),
}

/// What a task brings back.
#[derive(Debug)]
enum Done {
    Learnt(Input),
    Chip(Box<dyn Rtc>, Input),
}

struct Driver<E> {
    guard: Guard,
    platform: Platform<E>,
    tasks: JoinSet<Done>,
    /// What waits for the chip to come back from a task.
    chip_jobs: Vec<ChipJob>,
    verdict: Option<Verdict>,
}

impl<E: Evidence> Driver<E> {
    /// Gives one input to the policy, carries out its actions, and tells the pages.
    fn feed(&mut self, input: Input) {
        let before = self.guard.state();
        let now = moment(self.platform.boot.as_ref());
        let actions = self.guard.handle(input, now);
        for action in actions {
            self.act(action);
        }
        let after = self.guard.state();
        if before != after {
            tracing::info!(from = before.label(), to = after.label(), "time guard changed its state");
        }
        let now = moment(self.platform.boot.as_ref());
        self.platform.outlet.status(self.guard.status(now));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Publish(verdict) => {
                self.verdict = Some(verdict);
                self.platform.outlet.publish(verdict);
            }
            Action::Refuse(why) => {
                tracing::warn!(why, "no trusted time");
                self.platform.outlet.refuse(&why);
            }
            Action::Step(delta_us) => self.step(delta_us),
            Action::Slew(delta_us) => self.slew(delta_us),
            Action::Query(server) => self.query(server),
            Action::ReadChip => self.chip(ChipJob::Read),
            Action::SetChip => {
                if let Some(verdict) = self.verdict {
                    self.chip(ChipJob::Set(verdict));
                }
            }
            Action::FetchCertificates => self.fetch_certificates(),
            Action::Save(saved) => self.platform.outlet.save(saved),
        }
    }

    fn step(&mut self, delta_us: i64) {
        let Some(control) = &self.platform.control else { return };
        match control.step(delta_us) {
            Ok(()) => tracing::warn!(delta_us, "stepped the clock"),
            Err(error) => {
                tracing::error!(%error, "the clock cannot be set");
                let now = moment(self.platform.boot.as_ref());
                // Its only effect is that no further step is asked for.
                drop(self.guard.handle(Input::StepFailed, now));
            }
        }
    }

    fn slew(&mut self, delta_us: i64) {
        let Some(control) = &self.platform.control else { return };
        if let Err(error) = control.slew(delta_us) {
            tracing::error!(%error, "the clock cannot be slewed");
            let now = moment(self.platform.boot.as_ref());
            drop(self.guard.handle(Input::StepFailed, now));
        }
    }

    fn query(&mut self, server: usize) {
        let evidence = self.platform.evidence.clone();
        self.tasks.spawn(async move {
            let answer = timeout(ANSWER_WAIT, evidence.query(server)).await.unwrap_or(Answer::Silence);
            Done::Learnt(match answer {
                Answer::Sample(sample) => Input::Sample(server, sample),
                Answer::Kiss(kiss) => Input::Kiss(server, kiss),
                Answer::Silence => Input::Silent(server),
            })
        });
    }

    fn fetch_certificates(&mut self) {
        let evidence = self.platform.evidence.clone();
        self.tasks.spawn(async move {
            let window = timeout(CERTIFICATES_WAIT, evidence.certificates()).await.ok().flatten();
            Done::Learnt(Input::Certificates(window))
        });
    }

    /// Begins work with the chip, or lets it wait for the work under way.
    fn chip(&mut self, job: ChipJob) {
        let Some(mut rtc) = self.platform.rtc.take() else {
            if !self.chip_jobs.contains(&job) {
                self.chip_jobs.push(job);
            }
            return;
        };
        let boot = self.platform.boot.clone();
        self.tasks.spawn_blocking(move || {
            let input = work(rtc.as_mut(), job, boot.as_ref());
            Done::Chip(rtc, input)
        });
    }

    fn finish(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Learnt(input)) => self.feed(input),
            Ok(Done::Chip(rtc, input)) => {
                self.platform.rtc = Some(rtc);
                self.feed(input);
                if let Some(job) = self.chip_jobs.pop() {
                    self.chip(job);
                }
            }
            Err(error) => tracing::error!(%error, "a task of the time guard ended early"),
        }
    }
}

/// Does one piece of work with the chip.
fn work(rtc: &mut dyn Rtc, job: ChipJob, boot: &dyn BootClock) -> Input {
    match job {
        ChipJob::Read => {
            let reading: Option<RtcReading> =
                rtc.read().inspect_err(|error| tracing::warn!(%error, "clock chip")).ok();
            Input::Chip(reading)
        }
        ChipJob::Set(verdict) => {
            let unix_us =
                verdict.unix_us_at(boot.boottime_ns()).and_then(|unix_us| i64::try_from(unix_us).ok());
            let set_us = unix_us.filter(|unix_us| {
                rtc.set(*unix_us).inspect_err(|error| tracing::warn!(%error, "clock chip")).is_ok()
            });
            Input::ChipSet(set_us)
        }
    }
}

fn moment(boot: &dyn BootClock) -> Moment {
    Moment { boottime_ns: boot.boottime_ns(), realtime_us: boot.realtime_us() }
}
