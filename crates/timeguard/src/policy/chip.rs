//! The clock chip: is it sane, how far may it be off, and when is it to be set?

use control::status::RtcState;
use platform::time::{BootId, drift_us};
use platform::{Battery, DriverFirst, RtcReading};

use super::Saved;
use super::drift::{MEASURE_AFTER_US, RtcDrift};
use super::timeline::{Estimate, OSCILLATOR_PPB, to_i64};

/// How far a sane chip may be ahead of the build: 20 years of service, microseconds.
const SERVICE_LIFE_US: i64 = 20 * 366 * 86_400_000_000;

/// What is added to a chip's bound whatever its age, microseconds: it counts whole seconds.
const CHIP_ERROR_US: u64 = 1_000_000;

/// Microseconds between settings: a day, within which no chip runs off by more than its reading error.
const SET_EVERY_US: i64 = 86_400_000_000;

/// Largest bound with which the chip is set, microseconds; setting it worse would spoil a good chip.
const SET_BOUND_US: u64 = 500_000;

/// Microseconds after which a failed setting is tried again.
const SET_RETRY_US: i64 = 600_000_000;

/// A chip that is off by more is not left so until its daily setting, microseconds.
const WRONG_US: u64 = 2_000_000;

/// How long a reading suffices to measure the drift by before a setting, microseconds: the processor's crystal adds at
/// most 60 ms in it.
const FRESH_READING_US: u64 = 600_000_000;

/// How well a kind of chip keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcConfig {
    /// How fast it may run off, parts per billion.
    pub drift_ppb: u64,
    /// How far it may stray from its own learned rate, parts per billion.
    pub learned_ppb: u64,
}

impl RtcConfig {
    /// Says how fast a chip may run off, by its data sheet and with room for age: the DS3231M, which many boards carry under
    /// the name DS3231, 5 ppm; others have a plain crystal, 100 ppm. A learned rate changes with the temperature: by half of
    /// the data sheet's figure in a compensated chip, by 30 ppm in a plain crystal 27 degrees away (-0.04 ppm per degree
    /// squared).
    #[must_use]
    pub fn of(chip: platform::board::RtcChip) -> Self {
        use platform::board::RtcChip;
        match chip {
            RtcChip::Ds3231 => Self { drift_ppb: 5_000, learned_ppb: 2_500 },
            RtcChip::Pcf8523 | RtcChip::RpiRtc | RtcChip::Other => {
                Self { drift_ppb: 100_000, learned_ppb: 30_000 }
            }
        }
    }
}

/// What a reading amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChipEvidence {
    /// It may be believed this far.
    Sane(Estimate),
    /// It says nothing about the time.
    Nothing,
}

/// What the chip needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChipNeed {
    Nothing,
    /// A reading, from which its drift is learned before the setting takes it away.
    Reading,
    Setting,
}

/// What is known about the chip.
#[derive(Debug)]
pub(crate) struct Chip {
    config: Option<RtcConfig>,
    build_us: i64,
    set_us: Option<i64>,
    drift: Option<RtcDrift>,
    seen: Option<Seen>,
    battery: Battery,
    /// Steady time of the last reading for its drift, and of the last try to set it.
    measured_at_us: Option<i64>,
    tried_at_us: Option<i64>,
    set_in_this_boot: bool,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Failing,
    Stopped,
    Implausible,
    Unproven,
    /// Set by us and not read since.
    JustSet,
    Running(Shown),
}

/// What a running chip showed.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// Steady time of the reading, microseconds.
    at_us: i64,
    /// UTC minus steady time by the chip, microseconds.
    offset_us: i64,
    /// How far the reading may be off, microseconds.
    uncertainty_us: u64,
}

impl Chip {
    /// Knows nothing but what was kept. `boot_id` tells whether it was set in this boot by an earlier guard.
    pub(crate) fn new(config: Option<RtcConfig>, build_us: u64, saved: &Saved, boot_id: BootId) -> Self {
        let mut chip = Self {
            config,
            build_us: to_i64(build_us),
            set_us: None,
            drift: None,
            seen: None,
            battery: Battery::Unknown,
            measured_at_us: None,
            tried_at_us: None,
            set_in_this_boot: false,
        };
        chip.remember(saved, boot_id);
        chip
    }

    /// Takes what was kept, when it becomes known after the start. What was learned in this boot stays.
    pub(crate) fn remember(&mut self, saved: &Saved, boot_id: BootId) {
        if self.set_us.is_none() {
            self.set_us = saved.rtc_set_us.map(to_i64);
            self.set_in_this_boot = saved.rtc_set_us.is_some() && saved.rtc_set_boot == Some(boot_id);
        }
        self.drift = self.drift.or(saved.rtc_drift);
    }

    /// Gives what was learned about its drift.
    pub(crate) fn drift(&self) -> Option<RtcDrift> {
        self.drift
    }

    /// Gives its battery as it was last read.
    pub(crate) fn battery(&self) -> Battery {
        self.battery
    }

    pub(crate) fn is_present(&self) -> bool {
        self.config.is_some()
    }

    /// Tells whether its first word is still to come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.config.is_some() && self.seen.is_none()
    }

    /// Judges a reading taken at a steady time; `None` is a failure.
    pub(crate) fn judge(
        &mut self,
        reading: Option<RtcReading>,
        read_at_us: i64,
        floor_us: i64,
    ) -> ChipEvidence {
        let (Some(config), Some(reading)) = (self.config, reading) else {
            self.seen = Some(Seen::Failing);
            return ChipEvidence::Nothing;
        };
        self.battery = reading.battery;
        // What we have set in this boot we know, whoever had the chip before.
        let driver_first = reading.driver_first.filter(|_| !self.set_in_this_boot);
        if reading.stopped || driver_first == Some(DriverFirst::FoundStopped) {
            self.seen = Some(Seen::Stopped);
            return ChipEvidence::Nothing;
        }
        // When nobody remembers the setting, it may be as old as this program, and no rate is known since when.
        let age_us = self.age_us(reading.unix_us).unwrap_or_else(|| {
            u64::try_from(reading.unix_us.saturating_sub(self.build_us)).unwrap_or_default()
        });
        let learned = self.drift.filter(|drift| drift.is_settled() && self.set_us.is_some());
        let ahead_us = learned.map_or(0, |drift| drift.ahead_us(age_us));
        let rate_ppb = if learned.is_some() { config.learned_ppb } else { config.drift_ppb };
        let bound_us = reading
            .uncertainty_us
            .saturating_add(CHIP_ERROR_US)
            .saturating_add(drift_us(age_us.saturating_mul(1_000), rate_ppb));
        let unix_us = reading.unix_us.saturating_sub(ahead_us);
        let above_floor = unix_us.saturating_add_unsigned(bound_us) >= floor_us;
        if !above_floor || unix_us > self.build_us.saturating_add(SERVICE_LIFE_US) {
            self.seen = Some(Seen::Implausible);
            return ChipEvidence::Nothing;
        }
        if driver_first.is_some() {
            self.seen = Some(Seen::Unproven);
            return ChipEvidence::Nothing;
        }
        self.seen = Some(Seen::Running(Shown {
            at_us: read_at_us,
            offset_us: reading.unix_us.saturating_sub(read_at_us),
            uncertainty_us: reading.uncertainty_us,
        }));
        let offset_us = unix_us.saturating_sub(read_at_us);
        ChipEvidence::Sane(Estimate { at_us: read_at_us, offset_us, bound_us })
    }

    /// Gives how long ago it was set, microseconds; `None` when nobody remembers.
    fn age_us(&self, unix_us: i64) -> Option<u64> {
        self.set_us.map(|set_us| u64::try_from(unix_us.saturating_sub(set_us)).unwrap_or_default())
    }

    /// Says what it needs when this is the time at a steady time, notes that it gets it, and learns from what it shows
    /// before it is set.
    pub(crate) fn needs(&mut self, now: &Estimate, steady_us: i64) -> ChipNeed {
        let (unix_us, bound_us) = (now.unix_us(steady_us), now.bound_at(steady_us));
        let (Some(config), Some(seen)) = (self.config, self.seen) else { return ChipNeed::Nothing };
        if bound_us > SET_BOUND_US {
            return ChipNeed::Nothing;
        }
        let runs = matches!(seen, Seen::Running(_) | Seen::JustSet);
        let right = match seen {
            Seen::JustSet => true,
            Seen::Running(shown) => shown.offset_us.abs_diff(now.offset_us) <= WRONG_US,
            Seen::Failing | Seen::Stopped | Seen::Implausible | Seen::Unproven => false,
        };
        let fresh = right
            && self.set_in_this_boot
            && self.set_us.is_some_and(|set_us| unix_us.saturating_sub(set_us) < SET_EVERY_US);
        let lately =
            |at_us: Option<i64>| at_us.is_some_and(|at_us| steady_us.saturating_sub(at_us) < SET_RETRY_US);
        if fresh || lately(self.tried_at_us) {
            return ChipNeed::Nothing;
        }
        if let (true, Some(age_us)) = (runs, self.age_us(unix_us).filter(|age| *age >= MEASURE_AFTER_US)) {
            match seen {
                Seen::Running(shown) if steady_us.abs_diff(shown.at_us) <= FRESH_READING_US => {
                    let error_us = bound_us.saturating_add(shown.uncertainty_us).saturating_add(drift_us(
                        steady_us.abs_diff(shown.at_us).saturating_mul(1_000),
                        OSCILLATOR_PPB,
                    ));
                    let ahead_us = shown.offset_us.saturating_sub(now.offset_us);
                    self.drift = RtcDrift::learn(self.drift, config, ahead_us, error_us, age_us);
                }
                // One reading; when it fails or does not come, the setting goes on without.
                _ if !lately(self.measured_at_us) => {
                    self.measured_at_us = Some(steady_us);
                    return ChipNeed::Reading;
                }
                _ => {}
            }
        }
        self.tried_at_us = Some(steady_us);
        ChipNeed::Setting
    }

    /// Notes how a setting went.
    pub(crate) fn was_set(&mut self, set_us: Option<i64>) {
        match set_us {
            Some(set_us) => {
                self.set_us = Some(set_us);
                self.set_in_this_boot = true;
                self.seen = Some(Seen::JustSet);
            }
            None => self.seen = Some(Seen::Failing),
        }
    }

    /// Describes it for a page, against an agreed offset.
    pub(crate) fn state(&self, agreed_us: Option<i64>) -> RtcState {
        match (self.config, self.seen) {
            (None, _) => RtcState::Absent,
            (Some(_), Some(Seen::Failing)) => RtcState::Failing,
            (Some(_), Some(Seen::Stopped)) => RtcState::Stopped,
            (Some(_), Some(Seen::Implausible)) => RtcState::Implausible,
            (Some(_), Some(Seen::Unproven)) => RtcState::Unproven,
            (Some(_), Some(Seen::Running(shown))) => RtcState::Running {
                offset_us: agreed_us.map(|agreed| shown.offset_us.saturating_sub(agreed)),
            },
            (Some(_), Some(Seen::JustSet) | None) => RtcState::Running { offset_us: None },
        }
    }
}

impl Estimate {
    /// Tells whether two estimates allow a common time at a steady time.
    pub(crate) fn overlaps(&self, other: &Self, steady_us: i64) -> bool {
        let apart_us = self.offset_us.abs_diff(other.offset_us);
        apart_us <= self.bound_at(steady_us).saturating_add(other.bound_at(steady_us))
    }
}
