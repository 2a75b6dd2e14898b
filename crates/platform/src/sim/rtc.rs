//! A clock chip that drifts, stops or dies on command.

use std::sync::{Arc, Mutex, PoisonError};

use super::{SimClock, out_of_order};
use crate::time::BootClock;
use crate::{Battery, DeviceError, DriverFirst, Rtc, RtcReading};

/// A simulated chip; clones are the same chip.
#[derive(Clone, Debug)]
pub struct SimRtc {
    clock: Arc<SimClock>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// True UTC at which it was last set, microseconds.
    set_at_us: i64,
    /// What it was set to, microseconds.
    set_to_us: i64,
    drift_ppb: i64,
    uncertainty_us: u64,
    stopped: bool,
    dead: bool,
    driver_first: Option<DriverFirst>,
    battery: Battery,
    /// How often it was set.
    sets: u64,
}

impl SimRtc {
    /// Makes a chip that is right by the truth of this clock.
    #[must_use]
    pub fn new(clock: Arc<SimClock>) -> Self {
        let now_us = clock.true_us();
        let inner = Inner {
            set_at_us: now_us,
            set_to_us: now_us,
            drift_ppb: 0,
            uncertainty_us: 10_000,
            stopped: false,
            dead: false,
            driver_first: None,
            battery: Battery::Unknown,
            sets: 0,
        };
        Self { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Puts it off by this much now, microseconds, as a foreign program that writes local time would.
    pub fn jump(&self, delta_us: i64) {
        let mut inner = self.lock();
        inner.set_to_us = inner.set_to_us.saturating_add(delta_us);
    }

    /// Sets how much faster than true time it runs from now on, parts per billion.
    pub fn set_drift_ppb(&self, drift_ppb: i64) {
        let now_us = self.clock.true_us();
        let mut inner = self.lock();
        inner.set_to_us = inner.shows_us(now_us);
        inner.set_at_us = now_us;
        inner.drift_ppb = drift_ppb;
    }

    /// Sets what a reading may be off, microseconds (1 s when it is not read at a second's edge).
    pub fn set_uncertainty_us(&self, uncertainty_us: u64) {
        self.lock().uncertainty_us = uncertainty_us;
    }

    /// Lets its battery die: it says "stopped" and shows the year 2000.
    pub fn stop(&self) {
        /// 2000-01-01T00:00:00Z, where such chips begin, microseconds.
        const FIRST_US: i64 = 946_684_800_000_000;
        let now_us = self.clock.true_us();
        let mut inner = self.lock();
        inner.stopped = true;
        inner.set_at_us = now_us;
        inner.set_to_us = FIRST_US;
    }

    /// Lets it stop answering, or answer again.
    pub fn set_dead(&self, dead: bool) {
        self.lock().dead = dead;
    }

    /// Lets a driver have had it before, in this boot.
    pub fn set_driver_first(&self, driver_first: Option<DriverFirst>) {
        self.lock().driver_first = driver_first;
    }

    /// Sets how its battery is.
    pub fn set_battery(&self, battery: Battery) {
        self.lock().battery = battery;
    }

    /// Counts how often it was set.
    #[must_use]
    pub fn sets(&self) -> u64 {
        self.lock().sets
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn shows_us(&self, true_us: i64) -> i64 {
        let ran_us = true_us.saturating_sub(self.set_at_us);
        let drift = i128::from(ran_us) * i128::from(self.drift_ppb) / 1_000_000_000;
        self.set_to_us.saturating_add(ran_us).saturating_add(i64::try_from(drift).unwrap_or(i64::MAX))
    }
}

impl Rtc for SimRtc {
    fn read(&mut self) -> Result<RtcReading, DeviceError> {
        let (now_us, boottime_ns) = (self.clock.true_us(), self.clock.boottime_ns());
        let inner = self.lock();
        if inner.dead {
            return Err(out_of_order("clock chip", "read the time"));
        }
        Ok(RtcReading {
            unix_us: inner.shows_us(now_us),
            boottime_ns,
            uncertainty_us: inner.uncertainty_us,
            stopped: inner.stopped,
            driver_first: inner.driver_first,
            battery: inner.battery,
        })
    }

    fn set(&mut self, unix_us: i64) -> Result<(), DeviceError> {
        let now_us = self.clock.true_us();
        let mut inner = self.lock();
        if inner.dead {
            return Err(out_of_order("clock chip", "set the time"));
        }
        inner.set_at_us = now_us;
        inner.set_to_us = unix_us;
        inner.stopped = false;
        inner.sets += 1;
        Ok(())
    }
}
