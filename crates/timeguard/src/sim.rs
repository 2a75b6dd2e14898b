//! The guard in a simulated world, for the appliance on a laptop: four time servers, a clock chip and a clock, all of
//! which misbehave on command.
//!
//! The truth of this world is the host's CLOCK_REALTIME. That is right here, and only here: the simulation signs with
//! nothing that leaves the host's own idea of time, clients on the same computer compare with the same clock, and the
//! host's time service has already done the guard's work. What is simulated is everything between that truth and the
//! PDS: servers, network, chip and the box's own clock. With the same seed, delays and drifts are the same; when they
//! happen is up to the host's scheduler.

mod fault;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::TimeStatus;
use platform::board::RtcChip;
use platform::sim::{Random, SimClock, SimNtpFault, SimNtpReply, SimNtpServer, SimRtc};
use platform::time::{BootClock, Verdict, VerdictCell, VerdictSource};
use platform::{Clock, Rtc};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use fault::{TimeFault, TimeFaultError};

use crate::policy::{CertificateWindow, Config, Kiss, Leap, RtcConfig, Sample, Saved, Server};
use crate::run::{Answer, Command, Evidence, Outlet, Platform, run};

/// Time servers in this world, each of its own operator.
pub const SERVERS: usize = 4;

/// By how much lying servers are ahead, together, microseconds: ten minutes, twice what a relay tolerates.
const LIE_US: i64 = 600_000_000;

/// How long the box was off before it was started, microseconds: a day, so that the floor is behind and the chip has
/// something to show.
const OFF_US: u64 = 86_400_000_000;

/// A day's length is small against what a certificate lives; this window is a usual one, microseconds.
const CERTIFICATE_PAST_US: i64 = 60 * 86_400_000_000;
const CERTIFICATE_FUTURE_US: i64 = 30 * 86_400_000_000;

/// Commands that may wait; each is a line that somebody typed.
const COMMANDS_MAX: usize = 16;

/// The simulated world. Cheap to clone; all clones are one world.
#[derive(Clone, Debug)]
pub struct SimWorld {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<SimClock>,
    servers: Vec<SimNtpServer>,
    honest: Vec<SimNtpFault>,
    chip: SimRtc,
    words: Arc<Words>,
    commands: mpsc::Sender<Command>,
    waiting: Mutex<Option<mpsc::Receiver<Command>>>,
    restart: Notify,
}

/// What the guard last said.
#[derive(Debug, Default)]
struct Words {
    cell: Arc<VerdictCell>,
    status: Mutex<TimeStatus>,
    saved: Mutex<Saved>,
}

impl SimWorld {
    /// Makes a world over the host's clocks in which all is well. A seed fixes delays, drifts and the chip's error.
    #[must_use]
    pub fn new(host: Arc<dyn BootClock>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clock = Arc::new(SimClock::over(host));
        // A Pi's crystal is good to some 20 ppm, and a box just started is a little off.
        clock.set_drift_ppb(random.around_zero(20_000));
        let chip = SimRtc::new(clock.clone());
        chip.set_drift_ppb(random.around_zero(2_000));
        chip.jump(random.around_zero(200_000));
        let honest: Vec<SimNtpFault> = (0..SERVERS)
            .map(|_| SimNtpFault {
                out_us: 5_000 + random.up_to(20_000),
                back_us: 5_000 + random.up_to(20_000),
                jitter_us: 5_000,
                ..SimNtpFault::default()
            })
            .collect();
        let servers = honest.iter().map(|fault| SimNtpServer::new(fault.clone(), random.bits())).collect();
        let started_us = u64::try_from(clock.true_us()).unwrap_or_default().saturating_sub(OFF_US);
        let saved = Saved { floor_us: started_us, rtc_set_us: Some(started_us), ..Saved::default() };
        let words = Words { saved: Mutex::new(saved), ..Words::default() };
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        Self {
            inner: Arc::new(Inner {
                clock,
                servers,
                honest,
                chip,
                words: Arc::new(words),
                commands,
                waiting: Mutex::new(Some(waiting)),
                restart: Notify::new(),
            }),
        }
    }

    /// Gives the clock that the PDS signs with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::new(self.boot_clock(), self.verdict_source())
    }

    /// Gives the box's simulated kernel clocks.
    #[must_use]
    pub fn boot_clock(&self) -> Arc<dyn BootClock> {
        self.inner.clock.clone()
    }

    /// Gives the place of the guard's verdict.
    #[must_use]
    pub fn verdict_source(&self) -> Arc<dyn VerdictSource> {
        self.inner.words.cell.clone()
    }

    /// Gives what the guard last told the pages.
    #[must_use]
    pub fn status(&self) -> TimeStatus {
        lock(&self.inner.words.status).clone()
    }

    /// Confirms the time that the screen asks about (`asks_owner_us`), as a long press does.
    pub fn owner_accepts(&self, unix_us: u64) {
        self.tell(Command::OwnerAccepts(unix_us));
    }

    /// Makes something go wrong, or right again.
    pub fn command(&self, fault: TimeFault) {
        match fault {
            TimeFault::ClockJump { seconds } => {
                self.inner.clock.jump(seconds.saturating_mul(1_000_000));
            }
            TimeFault::Clock1970 => {
                self.inner.clock.set_realtime_us(0);
                self.inner.restart.notify_one();
            }
            TimeFault::NtpOff => {
                for (server, honest) in self.inner.servers.iter().zip(&self.inner.honest) {
                    server.set_fault(SimNtpFault { loss_percent: 100, ..honest.clone() });
                }
                self.tell(Command::NetworkUp);
            }
            TimeFault::NtpOn => {
                for (server, honest) in self.inner.servers.iter().zip(&self.inner.honest) {
                    server.set_fault(honest.clone());
                }
                self.tell(Command::NetworkUp);
            }
            TimeFault::NtpLie { liars } => {
                for (index, (server, honest)) in self.inner.servers.iter().zip(&self.inner.honest).enumerate()
                {
                    let lie_us = if index < liars { LIE_US } else { 0 };
                    server.set_fault(SimNtpFault { lie_us, ..honest.clone() });
                }
                self.tell(Command::NetworkUp);
            }
            TimeFault::RtcDead => self.inner.chip.set_dead(true),
            TimeFault::RtcAlive => self.inner.chip.set_dead(false),
        }
    }

    /// Runs the guard in this world until it is told to stop. Only one run per world does anything.
    pub async fn run(&self, shutdown: CancellationToken) {
        let Some(mut waiting) = lock(&self.inner.waiting).take() else { return };
        while !shutdown.is_cancelled() {
            // `clock 1970` is a power cut for the guard: it starts anew and remembers only what it has saved.
            let stop = shutdown.child_token();
            let (forward, commands) = mpsc::channel(COMMANDS_MAX);
            let mut guard = std::pin::pin!(run(self.config(), self.platform(), commands, stop.clone()));
            loop {
                tokio::select! {
                    () = &mut guard => break,
                    () = self.inner.restart.notified() => stop.cancel(),
                    Some(command) = waiting.recv() => {
                        // A guard that is stopping takes none, and the next one begins by asking everybody.
                        let _full = forward.try_send(command);
                    }
                }
            }
        }
    }

    fn tell(&self, command: Command) {
        // Before the guard runs nobody takes it, and none is needed: a guard begins by asking everybody.
        let _full = self.inner.commands.try_send(command);
    }

    fn config(&self) -> Config {
        let saved = *lock(&self.inner.words.saved);
        let servers = (1..=SERVERS)
            .map(|i| Server { name: format!("time{i}.simulated"), operator: format!("operator {i}") });
        Config {
            servers: servers.collect(),
            build_us: saved.floor_us,
            saved,
            rtc: Some(RtcConfig::of(RtcChip::Ds3231)),
            may_set_clock: true,
            poll_s: 16,
        }
    }

    fn platform(&self) -> Platform<SimEvidence> {
        let evidence = SimEvidence { inner: self.inner.clone() };
        let rtc: Box<dyn Rtc> = Box::new(self.inner.chip.clone());
        Platform {
            boot: self.inner.clock.clone(),
            control: Some(self.inner.clock.clone()),
            rtc: Some(rtc),
            evidence: Arc::new(evidence),
            outlet: self.inner.words.clone(),
        }
    }
}

/// Asks the simulated servers, and waits as long as their answers take.
#[derive(Debug)]
struct SimEvidence {
    inner: Arc<Inner>,
}

impl Evidence for SimEvidence {
    async fn query(&self, id: usize, _server: Server) -> Answer {
        let Some(server) = self.inner.servers.get(id) else { return Answer::Silence };
        let sent_ns = self.inner.clock.boottime_ns();
        match server.ask(self.inner.clock.true_us()) {
            SimNtpReply::Silence => {
                // Nothing comes; half a second is shorter than a real wait, so that a story need not take long.
                tokio::time::sleep(Duration::from_millis(500)).await;
                Answer::Silence
            }
            SimNtpReply::Kiss { code, after } => {
                tokio::time::sleep(after).await;
                match &code {
                    b"DENY" | b"RSTR" => Answer::Kiss(Kiss::Leave),
                    b"RATE" => Answer::Kiss(Kiss::Slower),
                    _ => Answer::Silence,
                }
            }
            SimNtpReply::Time { server_us, after, root_distance_us, leap } => {
                tokio::time::sleep(after).await;
                let trip_ns = self.inner.clock.boottime_ns().saturating_sub(sent_ns);
                Answer::Sample(Sample {
                    boottime_ns: sent_ns + trip_ns / 2,
                    unix_us: server_us,
                    error_us: (trip_ns / 2_000).saturating_add(1).saturating_add(root_distance_us),
                    leap: Leap::from_bits(leap),
                })
            }
        }
    }

    async fn certificates(&self) -> Option<CertificateWindow> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now_us = self.inner.clock.true_us();
        Some(CertificateWindow {
            not_before_us: now_us.saturating_sub(CERTIFICATE_PAST_US),
            not_after_us: now_us.saturating_add(CERTIFICATE_FUTURE_US),
        })
    }
}

impl Outlet for Words {
    fn publish(&self, verdict: Verdict) {
        self.cell.publish(verdict);
    }

    fn refuse(&self, why: &str) {
        self.cell.refuse(why.to_owned());
    }

    fn status(&self, status: TimeStatus) {
        *lock(&self.status) = status;
    }

    fn save(&self, saved: Saved) {
        *lock(&self.saved) = saved;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
