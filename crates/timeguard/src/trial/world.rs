//! A world for the policy: simulated clock, chip and servers, moved from event to event without waiting.

use std::sync::Arc;
use std::time::Duration;

use platform::Rtc;
use platform::board::RtcChip;
use platform::sim::{SimClock, SimNtpFault, SimNtpReply, SimNtpServer, SimRtc};
use platform::time::{BootClock, ClockControl, VerdictCell};
use platform::{Clock, TrustedTime};

use crate::policy::{
    Action, CertificateWindow, Config, Guard, Input, Kiss, Leap, Moment, RtcConfig, Sample, Saved, Server,
};

/// True UTC at which stories begin: 2026-11-23, microseconds.
pub const START_US: i64 = 1_795_401_296_000_000;
/// Microseconds of a second.
pub const SECOND_US: i64 = 1_000_000;
/// Microseconds of an hour.
pub const HOUR_US: i64 = 3_600 * SECOND_US;
/// Microseconds of a day.
pub const DAY_US: i64 = 24 * HOUR_US;

/// What arrives later.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    Input(Input),
    Time { server: usize, sent_ns: u64, server_us: i64, root_distance_us: u64, leap: u8 },
}

/// Clock, chip, servers and guard under a true time that only the test sees.
#[derive(Debug)]
pub struct World {
    /// The kernel's clocks.
    pub clock: Arc<SimClock>,
    /// The chip.
    pub chip: SimRtc,
    /// The servers.
    pub servers: Vec<SimNtpServer>,
    /// The policy.
    pub guard: Guard,
    /// What hosts on the internet present, relative to true time; `None` when they cannot be reached.
    pub certificates: Option<(i64, i64)>,
    /// How long a look at them takes, microseconds.
    pub certificates_after_us: i64,
    /// False when the system refuses to set the clock.
    pub may_step: bool,
    /// What was to be kept across restarts.
    pub saved: Vec<Saved>,
    /// Steps that were asked for, microseconds.
    pub steps: Vec<i64>,
    /// Reasons for no trusted time that were told.
    pub refusals: Vec<String>,
    /// How often hosts were asked for their certificates.
    pub looks_at_certificates: u32,
    /// True UTC may be shifted against the simulated counter by leap seconds, microseconds.
    pub leapt_us: i64,
    config: Config,
    cell: Arc<VerdictCell>,
    reader: Clock,
    arrivals: Vec<(i64, Arrival)>,
    next_tick_us: i64,
}

/// What a world begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How each server behaves.
    pub servers: Vec<SimNtpFault>,
    /// Whether there is a chip.
    pub chip: bool,
    /// Floor before true time, microseconds.
    pub floor_behind_us: i64,
    /// Fixes the servers' chance.
    pub seed: u64,
    /// False outside the appliance.
    pub may_set_clock: bool,
    /// True UTC at the start, microseconds.
    pub start_us: i64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            servers: vec![SimNtpFault::default(); 4],
            chip: true,
            floor_behind_us: DAY_US,
            seed: 1,
            may_set_clock: true,
            start_us: START_US,
        }
    }
}

impl World {
    /// Builds it; nothing has happened yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let clock = Arc::new(SimClock::manual(to_u64(setup.start_us)));
        let floor_us = to_u64(setup.start_us - setup.floor_behind_us);
        let names = (0..setup.servers.len())
            .map(|i| Server { name: format!("t{i}"), operator: format!("o{i}") })
            .collect();
        let config = Config {
            servers: names,
            build_us: floor_us,
            saved: Saved { floor_us, rtc_set_us: Some(floor_us), ..Saved::default() },
            rtc: setup.chip.then(|| RtcConfig::of(RtcChip::Ds3231)),
            may_set_clock: setup.may_set_clock,
            poll_s: 64,
        };
        let servers = sim_servers(setup.servers, setup.seed);
        let cell = Arc::new(VerdictCell::default());
        let guard = Guard::new(config.clone(), clock.boot_id(), moment(&clock));
        Self {
            chip: SimRtc::new(clock.clone()),
            servers,
            guard,
            config,
            certificates: None,
            certificates_after_us: 800_000,
            may_step: true,
            saved: Vec::new(),
            steps: Vec::new(),
            refusals: Vec::new(),
            looks_at_certificates: 0,
            leapt_us: 0,
            reader: Clock::new(clock.clone(), cell.clone()),
            cell,
            arrivals: Vec::new(),
            next_tick_us: setup.start_us,
            clock,
        }
    }

    /// Gives true UTC, microseconds.
    #[must_use]
    pub fn true_us(&self) -> i64 {
        self.clock.true_us() + self.leapt_us
    }

    /// Gives the time as the PDS would get it.
    #[must_use]
    pub fn now(&self) -> Option<TrustedTime> {
        self.reader.now().ok()
    }

    /// Gives how far trusted time is off, microseconds.
    #[must_use]
    pub fn error_us(&self) -> Option<i64> {
        self.now().and_then(|now| Some(i64::try_from(now.unix_micros()).ok()? - self.true_us()))
    }

    /// Lets time pass, and checks after each event that trusted time is true within its bound.
    ///
    /// # Panics
    /// When it is not.
    pub fn pass(&mut self, span_us: i64) {
        self.pass_unchecked(span_us, &mut |world| {
            if let (Some(error_us), Some(now)) = (world.error_us(), world.now()) {
                assert!(
                    error_us.unsigned_abs() <= now.error_bound_us(),
                    "off by {error_us} us with a bound of {} us in {:?}",
                    now.error_bound_us(),
                    world.guard.state()
                );
            }
        });
    }

    /// Lets time pass, calling back after each event.
    pub fn pass_unchecked(&mut self, span_us: i64, check: &mut dyn FnMut(&Self)) {
        let until_us = self.clock.true_us() + span_us;
        loop {
            let arrival = self.arrivals.iter().enumerate().min_by_key(|(_, (due_us, _))| *due_us);
            let arrival = arrival.map(|(index, (due_us, _))| (index, *due_us));
            let next_us = arrival.map_or(self.next_tick_us, |(_, due_us)| due_us.min(self.next_tick_us));
            if next_us > until_us {
                self.advance_to(until_us);
                check(self);
                return;
            }
            self.advance_to(next_us);
            check(self);
            match arrival {
                Some((index, due_us)) if due_us == next_us => {
                    let (_, arrival) = self.arrivals.swap_remove(index);
                    let input = self.input_of(&arrival);
                    self.feed(input);
                }
                _ => {
                    self.next_tick_us += SECOND_US;
                    self.feed(Input::Tick);
                }
            }
            check(self);
        }
    }

    /// Switches the box off for a while, and on again: only the chip and what was saved remain.
    pub fn switch_off(&mut self, span_us: i64) {
        self.arrivals.clear();
        self.cell.refuse("switched off".to_owned());
        self.advance_to(self.clock.true_us() + span_us);
        self.next_tick_us = self.clock.true_us();
        self.clock.set_realtime_us(0);
        let saved = self.saved.last().copied().unwrap_or(self.config.saved);
        // The simulated boot goes on; for the guard it is another.
        let saved = Saved { rtc_set_boot: None, ..saved };
        let config = Config { saved, ..self.config.clone() };
        self.guard = Guard::new(config, self.clock.boot_id(), moment(&self.clock));
    }

    fn advance_to(&self, true_us: i64) {
        let left_us = u64::try_from(true_us - self.clock.true_us()).unwrap_or_default();
        self.clock.advance(Duration::from_micros(left_us));
    }

    fn input_of(&self, arrival: &Arrival) -> Input {
        match *arrival {
            Arrival::Input(input) => input,
            Arrival::Time { server, sent_ns, server_us, root_distance_us, leap } => {
                let trip_ns = self.clock.boottime_ns() - sent_ns;
                Input::Sample(
                    server,
                    Sample {
                        boottime_ns: sent_ns + trip_ns / 2,
                        unix_us: server_us,
                        error_us: trip_ns / 2_000 + 1 + root_distance_us,
                        leap: Leap::from_bits(leap),
                    },
                )
            }
        }
    }

    /// Gives one input to the policy and carries out what it says.
    pub fn feed(&mut self, input: Input) {
        for action in self.guard.handle(input, moment(&self.clock)) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let now_us = self.clock.true_us();
        match action {
            Action::Publish(verdict) => self.cell.publish(verdict),
            Action::Refuse(why) => {
                self.refusals.push(why.clone());
                self.cell.refuse(why);
            }
            Action::Step(delta_us) => {
                self.steps.push(delta_us);
                if self.may_step {
                    // The simulated clock cannot refuse.
                    drop(self.clock.step(delta_us));
                } else {
                    self.feed(Input::StepFailed);
                }
            }
            Action::Slew(delta_us) => {
                drop(self.clock.slew(delta_us));
            }
            Action::Query(server) => self.query(server),
            Action::ReadChip => {
                let reading = self.chip.read().ok();
                self.arrivals.push((now_us + 500_000, Arrival::Input(Input::Chip(reading))));
            }
            Action::SetChip => {
                let set_us = self.now().and_then(|now| i64::try_from(now.unix_micros()).ok());
                let done = set_us.filter(|set_us| self.chip.set(*set_us).is_ok());
                self.arrivals.push((now_us + 500_000, Arrival::Input(Input::ChipSet(done))));
            }
            Action::FetchCertificates => {
                self.looks_at_certificates += 1;
                let true_us = self.true_us();
                let window = self.certificates.map(|(from_us, to_us)| CertificateWindow {
                    not_before_us: true_us + from_us,
                    not_after_us: true_us + to_us,
                });
                let due_us = now_us + self.certificates_after_us;
                self.arrivals.push((due_us, Arrival::Input(Input::Certificates(window))));
            }
            Action::Save(saved) => self.saved.push(saved),
        }
    }

    fn query(&mut self, server: usize) {
        let now_us = self.clock.true_us();
        let us = |after: Duration| i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        let Some(asked) = self.servers.get(server) else { return };
        let arrival = match asked.ask(self.true_us()) {
            SimNtpReply::Silence => (now_us + 3 * SECOND_US, Arrival::Input(Input::Silent(server))),
            SimNtpReply::Kiss { code, after } => {
                let kiss = if &code == b"RATE" { Kiss::Slower } else { Kiss::Leave };
                (now_us + us(after), Arrival::Input(Input::Kiss(server, kiss)))
            }
            SimNtpReply::Time { server_us, after, root_distance_us, leap } => {
                let sent_ns = self.clock.boottime_ns();
                (now_us + us(after), Arrival::Time { server, sent_ns, server_us, root_distance_us, leap })
            }
        };
        self.arrivals.push(arrival);
    }

    /// Lets the first so many servers lie by this much, the others be honest, and all be asked at once.
    pub fn lie(&mut self, liars: usize, lie_us: i64) {
        for (index, server) in self.servers.iter().enumerate() {
            let lie_us = if index < liars { lie_us } else { 0 };
            server.set_fault(SimNtpFault { lie_us, ..SimNtpFault::default() });
        }
        self.feed(Input::NetworkUp);
    }

    /// Lets all servers be silent.
    pub fn silence(&mut self) {
        for server in &self.servers {
            server.set_fault(SimNtpFault { loss_percent: 100, ..SimNtpFault::default() });
        }
        self.feed(Input::NetworkUp);
    }
}

/// Builds servers with these behaviours; the seed fixes each one's chance.
pub(super) fn sim_servers(faults: Vec<SimNtpFault>, seed: u64) -> Vec<SimNtpServer> {
    let seeds = (1..).map(|server| seed.wrapping_mul(1_000).wrapping_add(server));
    faults.into_iter().zip(seeds).map(|(fault, seed)| SimNtpServer::new(fault, seed)).collect()
}

fn moment(clock: &SimClock) -> Moment {
    Moment { boottime_ns: clock.boottime_ns(), realtime_us: clock.realtime_us() }
}

/// Converts a time after 1970.
fn to_u64(unix_us: i64) -> u64 {
    u64::try_from(unix_us).unwrap_or_default()
}
