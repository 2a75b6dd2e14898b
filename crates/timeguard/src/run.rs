//! Carries out what the policy says: asks servers, reads the chip, sets the clock, publishes. It decides nothing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use control::TimeStatus;
use platform::time::{BootClock, ClockControl, Verdict};
use platform::{Rtc, RtcReading};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::policy::{Action, CertificateWindow, Config, Guard, Input, Kiss, Moment, Sample, Saved, Server};

/// Time between looks at the clock, which find a foreign hand and renew the verdict.
const TICK: Duration = Duration::from_secs(1);

/// How long a question to a server may take in all, its name's look-up included. The policy gives it up after 10 s.
const QUESTION_WAIT: Duration = Duration::from_secs(8);

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
    /// Asks a server; the number names it as long as the guard runs.
    fn query(&self, id: usize, server: Server) -> impl Future<Output = Answer> + Send;

    /// Fetches when the certificates of two independent hosts are valid; `None` when that fails.
    fn certificates(&self) -> impl Future<Output = Option<CertificateWindow>> + Send;

    /// Forgets what the old network said, such as the addresses of names.
    fn network_changed(&self) {}
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The owner confirmed the time that the screen asked about, UTC microseconds.
    OwnerAccepts(u64),
    /// The network came up or changed.
    NetworkUp,
    /// DHCP names these servers now.
    Given(Vec<String>),
    /// The disk with what was kept from before has come.
    Remember(Saved),
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
    let mut driver = Driver {
        guard,
        platform,
        tasks: JoinSet::new(),
        questions: HashMap::new(),
        fetching: None,
        chip_jobs: Vec::new(),
        verdict: None,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut commanded = true;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => driver.feed(Input::Tick),
            Some(done) = driver.tasks.join_next() => driver.finish(done),
            command = commands.recv(), if commanded => match command {
                Some(command) => driver.command(command),
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
    /// The question under way to each server: a new one takes its place.
    questions: HashMap<usize, AbortHandle>,
    /// The look for certificates under way.
    fetching: Option<AbortHandle>,
    /// What waits for the chip to come back from a task.
    chip_jobs: Vec<ChipJob>,
    verdict: Option<Verdict>,
}

impl<E: Evidence> Driver<E> {
    fn command(&mut self, command: Command) {
        match command {
            Command::OwnerAccepts(unix_us) => self.feed(Input::OwnerAccepts(unix_us)),
            Command::NetworkUp => {
                self.platform.evidence.network_changed();
                self.feed(Input::NetworkUp);
            }
            Command::Given(names) => self.decide(|guard, now| guard.take_given(&names, now)),
            Command::Remember(saved) => self.decide(|guard, now| {
                guard.remember(saved, now);
                guard.handle(Input::Tick, now)
            }),
        }
    }

    fn feed(&mut self, input: Input) {
        self.decide(|guard, now| guard.handle(input, now));
    }

    /// Lets the policy decide, carries out its actions, and tells the pages.
    fn decide(&mut self, decision: impl FnOnce(&mut Guard, Moment) -> Vec<Action>) {
        let before = self.guard.state();
        let now = moment(self.platform.boot.as_ref());
        let actions = decision(&mut self.guard, now);
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
                self.vouch(Some(verdict));
            }
            Action::Refuse(why) => {
                tracing::warn!(why, "no trusted time");
                self.platform.outlet.refuse(&why);
                self.vouch(None);
            }
            Action::Step(delta_us) => self.step(delta_us),
            Action::Slew(delta_us) => self.slew(delta_us),
            Action::Query(id) => self.query(id),
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

    /// Tells the system how far its clock may be off, for other programs that ask it. Nothing of ours depends on it.
    fn vouch(&self, verdict: Option<Verdict>) {
        let Some(control) = &self.platform.control else { return };
        let now = moment(self.platform.boot.as_ref());
        let bound_us = verdict.and_then(|verdict| {
            let unix_us = i64::try_from(verdict.unix_us_at(now.boottime_ns)?).ok()?;
            Some(verdict.error_bound_us.saturating_add(now.realtime_us.abs_diff(unix_us)))
        });
        if let Err(error) = control.vouch(bound_us) {
            tracing::debug!(%error, "the system does not take the clock's bound");
        }
    }

    fn query(&mut self, id: usize) {
        let Some(server) = self.guard.server(id).cloned() else { return };
        let evidence = self.platform.evidence.clone();
        let question = self.tasks.spawn(async move {
            let asked = evidence.query(id, server);
            let answer = timeout(QUESTION_WAIT, asked).await.unwrap_or(Answer::Silence);
            Done::Learnt(match answer {
                Answer::Sample(sample) => Input::Sample(id, sample),
                Answer::Kiss(kiss) => Input::Kiss(id, kiss),
                Answer::Silence => Input::Silent(id),
            })
        });
        self.questions.retain(|_, question| !question.is_finished());
        if let Some(old) = self.questions.insert(id, question) {
            old.abort();
        }
    }

    fn fetch_certificates(&mut self) {
        let evidence = self.platform.evidence.clone();
        let fetch = self.tasks.spawn(async move {
            let window = timeout(CERTIFICATES_WAIT, evidence.certificates()).await.ok().flatten();
            Done::Learnt(Input::Certificates(window))
        });
        if let Some(old) = self.fetching.replace(fetch) {
            old.abort();
        }
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
            // A question whose place a new one took.
            Err(error) if error.is_cancelled() => {}
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
