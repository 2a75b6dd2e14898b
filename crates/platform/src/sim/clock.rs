//! A clock that is wrong on command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::DeviceError;
use crate::time::{BootClock, BootId, Clock, ClockControl, VERDICT_LIFE_NS, Verdict, VerdictSource};

/// How fast a slew moves the clock, nanoseconds per second: the kernel's limit of 500 ppm.
const SLEW_PPB: i64 = 500_000;

/// Error bound of the verdict that a test clock gives itself, microseconds.
const TEST_BOUND_US: u64 = 10_000;

/// BOOTTIME at which a hand-moved clock begins, nanoseconds: 100 s after boot, so that spans may reach back.
const FIRST_BOOTTIME_NS: u64 = 100_000_000_000;

/// A simulated CLOCK_BOOTTIME and CLOCK_REALTIME over a true time that nobody in the simulation can see.
///
/// Made by [`SimClock::manual`] it moves only by [`SimClock::advance`]; made by [`SimClock::over`] it runs with
/// another clock, whose CLOCK_REALTIME is then the truth. Its oscillator drifts as told, and `step` and `slew`
/// act as the kernel's do: a slew moves BOOTTIME too, a step does not.
#[derive(Debug)]
pub struct SimClock {
    host: Option<Arc<dyn BootClock>>,
    boot_id: BootId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// True nanoseconds since boot: the hand-moved counter, or the host's BOOTTIME at the last look.
    raw_ns: u64,
    /// True UTC minus `raw_ns` (hand-moved clocks), microseconds.
    true_offset_us: i64,
    /// CLOCK_REALTIME minus true UTC without drift and slew, microseconds.
    shift_us: i64,
    /// What drift and slews have added to both clocks, nanoseconds.
    extra_ns: i64,
    drift_ppb: i64,
    slew_left_ns: i64,
    /// What the guard said that CLOCK_REALTIME may be off, microseconds.
    vouched_us: Option<u64>,
    /// What this clock says as a [`VerdictSource`]; only test clocks use it.
    trust: Trust,
    generation: u64,
}

/// What a test clock says about itself.
#[derive(Clone, Debug)]
enum Trust {
    /// Renewed at each look. The offset is verdict minus true time, microseconds.
    Renewed {
        offset_us: i64,
    },
    /// The last verdict, which ages.
    Frozen(Verdict),
    Refused(String),
}

/// Makes a trusted clock for tests, which shows this UTC (microseconds) until it is moved by hand.
#[must_use]
pub fn trusted_clock(unix_us: u64) -> (Clock, Arc<SimClock>) {
    let sim = Arc::new(SimClock::manual(unix_us));
    (Clock::new(sim.clone(), sim.clone()), sim)
}

impl SimClock {
    /// Makes a clock that is right, shows this UTC (microseconds) and moves only by hand.
    #[must_use]
    pub fn manual(unix_us: u64) -> Self {
        let true_offset_us = to_i64(unix_us).saturating_sub(to_i64(FIRST_BOOTTIME_NS / 1_000));
        Self::new(None, BootId::from_bytes(*b"a simulated boot"), FIRST_BOOTTIME_NS, true_offset_us)
    }

    /// Makes a clock that runs with another one, whose CLOCK_REALTIME it takes for the truth.
    #[must_use]
    pub fn over(host: Arc<dyn BootClock>) -> Self {
        let (boot_id, raw_ns) = (host.boot_id(), host.boottime_ns());
        Self::new(Some(host), boot_id, raw_ns, 0)
    }

    fn new(host: Option<Arc<dyn BootClock>>, boot_id: BootId, raw_ns: u64, true_offset_us: i64) -> Self {
        let state = State {
            raw_ns,
            true_offset_us,
            shift_us: 0,
            extra_ns: 0,
            drift_ppb: 0,
            slew_left_ns: 0,
            vouched_us: None,
            trust: Trust::Renewed { offset_us: 0 },
            generation: 0,
        };
        Self { host, boot_id, state: Mutex::new(state) }
    }

    /// Lets true time pass. On a clock that runs with a host it does nothing.
    pub fn advance(&self, span: Duration) {
        if self.host.is_none() {
            let mut state = self.lock();
            let raw_ns = state.raw_ns.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
            state.run_to(raw_ns);
        }
    }

    /// Sets CLOCK_REALTIME off by this much at once, microseconds, as a foreign program would.
    pub fn jump(&self, delta_us: i64) {
        let mut state = self.settled();
        state.shift_us = state.shift_us.saturating_add(delta_us);
    }

    /// Sets CLOCK_REALTIME to this UTC (microseconds), as a machine without a clock chip does at power-on.
    pub fn set_realtime_us(&self, unix_us: i64) {
        let off_us = unix_us.saturating_sub(self.realtime_us());
        self.jump(off_us);
    }

    /// Sets how much faster than true time the oscillator runs, parts per billion.
    pub fn set_drift_ppb(&self, drift_ppb: i64) {
        self.settled().drift_ppb = drift_ppb;
    }

    /// Gives true UTC, microseconds: for simulated servers and for checks, never for what is under test.
    #[must_use]
    pub fn true_us(&self) -> i64 {
        let state = self.settled();
        self.true_us_in(&state)
    }

    /// Withdraws the trust of a test clock, with a reason in words.
    pub fn distrust(&self) {
        self.lock().trust = Trust::Refused("no time server has agreed yet; wait a minute".to_owned());
    }

    /// Gives what the system was told that CLOCK_REALTIME may be off, microseconds.
    #[must_use]
    pub fn vouched_us(&self) -> Option<u64> {
        self.lock().vouched_us
    }

    /// Lets a test clock trust itself again, with CLOCK_REALTIME and verdict both at this UTC (microseconds).
    pub fn trust_at(&self, unix_us: u64) {
        self.set_realtime_us(to_i64(unix_us));
        let mut state = self.settled();
        let offset_us = to_i64(unix_us).saturating_sub(self.true_us_in(&state));
        state.trust = Trust::Renewed { offset_us };
    }

    /// Lets the verdict of a test clock age from now on, as if the guard had died.
    pub fn stop_renewing(&self) {
        if let Some(verdict) = self.verdict() {
            self.lock().trust = Trust::Frozen(verdict);
        }
    }

    fn true_us_in(&self, state: &State) -> i64 {
        match &self.host {
            Some(host) => host.realtime_us(),
            None => to_i64(state.raw_ns / 1_000).saturating_add(state.true_offset_us),
        }
    }

    /// Locks the state after letting drift and slew catch up with the host.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if let Some(host) = &self.host {
            state.run_to(host.boottime_ns());
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves true time forward to `raw_ns` and lets drift and slew act.
    fn run_to(&mut self, raw_ns: u64) {
        let span_ns = to_i64(raw_ns.saturating_sub(self.raw_ns));
        self.raw_ns = self.raw_ns.max(raw_ns);
        let slew_max = part(span_ns, SLEW_PPB);
        let slewed = self.slew_left_ns.clamp(-slew_max, slew_max);
        self.slew_left_ns = self.slew_left_ns.saturating_sub(slewed);
        self.extra_ns = self.extra_ns.saturating_add(slewed).saturating_add(part(span_ns, self.drift_ppb));
    }

    fn boottime_ns(&self) -> u64 {
        self.raw_ns.saturating_add_signed(self.extra_ns)
    }
}

impl BootClock for SimClock {
    fn boottime_ns(&self) -> u64 {
        self.settled().boottime_ns()
    }

    fn realtime_us(&self) -> i64 {
        let state = self.settled();
        self.true_us_in(&state).saturating_add(state.shift_us).saturating_add(state.extra_ns / 1_000)
    }

    fn boot_id(&self) -> BootId {
        self.boot_id
    }
}

impl ClockControl for SimClock {
    fn step(&self, delta_us: i64) -> Result<(), DeviceError> {
        self.jump(delta_us);
        Ok(())
    }

    fn slew(&self, delta_us: i64) -> Result<(), DeviceError> {
        self.settled().slew_left_ns = delta_us.saturating_mul(1_000);
        Ok(())
    }

    fn vouch(&self, bound_us: Option<u64>) -> Result<(), DeviceError> {
        self.lock().vouched_us = bound_us;
        Ok(())
    }
}

impl VerdictSource for SimClock {
    fn verdict(&self) -> Option<Verdict> {
        let mut state = self.settled();
        let offset_us = match &state.trust {
            Trust::Renewed { offset_us } => *offset_us,
            Trust::Frozen(verdict) => return Some(*verdict),
            Trust::Refused(_) => return None,
        };
        state.generation += 1;
        let boottime_ns = state.boottime_ns();
        Some(Verdict {
            boot_id: self.boot_id,
            boottime_ns,
            unix_us_at_boottime: u64::try_from(self.true_us_in(&state).saturating_add(offset_us)).ok()?,
            error_bound_us: TEST_BOUND_US,
            rate_ppb: 0,
            generation: state.generation,
            valid_until_boottime_ns: boottime_ns.saturating_add(VERDICT_LIFE_NS),
        })
    }

    fn refusal(&self) -> Option<String> {
        match &self.lock().trust {
            Trust::Refused(why) => Some(why.clone()),
            Trust::Renewed { .. } | Trust::Frozen(_) => None,
        }
    }
}

/// Gives that part (per billion) of a span, rounded towards zero.
fn part(span_ns: i64, ppb: i64) -> i64 {
    let part = i128::from(span_ns) * i128::from(ppb) / 1_000_000_000;
    i64::try_from(part).unwrap_or(i64::MAX)
}

/// Narrows; what does not fit becomes the largest (the year 294,000).
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
