//! The clock chip: is it sane, how far may it be off, and when is it to be set?

use control::status::RtcState;
use platform::RtcReading;
use platform::time::drift_us;

use super::timeline::{Estimate, to_i64};

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

/// The chip as the board file describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcConfig {
    /// How fast it may run off, parts per billion: DS3231 5,000 (an M on many boards), others 100,000.
    pub drift_ppb: u64,
}

impl RtcConfig {
    /// Says how fast a chip may run off, by its data sheet and with room for age: DS3231 (the M variant, which many
    /// boards carry under that name) 5 ppm, others have a plain crystal: 100 ppm.
    #[must_use]
    pub fn of(chip: platform::board::RtcChip) -> Self {
        use platform::board::RtcChip;
        match chip {
            RtcChip::Ds3231 => Self { drift_ppb: 5_000 },
            RtcChip::Pcf8523 | RtcChip::RpiRtc | RtcChip::Other => Self { drift_ppb: 100_000 },
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

/// What is known about the chip.
#[derive(Debug)]
pub(crate) struct Chip {
    config: Option<RtcConfig>,
    build_us: i64,
    set_us: Option<i64>,
    seen: Option<Seen>,
    tried_at_us: Option<i64>,
    set_in_this_boot: bool,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Failing,
    Stopped,
    Implausible,
    /// Set by us and not read since.
    JustSet,
    /// UTC minus steady time by the chip, microseconds.
    Running {
        offset_us: i64,
    },
}

impl Chip {
    pub(crate) fn new(config: Option<RtcConfig>, build_us: u64, set_us: Option<u64>) -> Self {
        Self {
            config,
            build_us: to_i64(build_us),
            set_us: set_us.map(to_i64),
            seen: None,
            tried_at_us: None,
            set_in_this_boot: false,
        }
    }

    /// Takes the time of the last setting, when it becomes known after the start.
    pub(crate) fn remember(&mut self, set_us: Option<u64>) {
        self.set_us = self.set_us.or(set_us.map(to_i64));
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
        if reading.stopped {
            self.seen = Some(Seen::Stopped);
            return ChipEvidence::Nothing;
        }
        // When nobody remembers the setting, it may be as old as this program.
        let set_us = self.set_us.unwrap_or(self.build_us);
        let age_us = u64::try_from(reading.unix_us.saturating_sub(set_us)).unwrap_or_default();
        let bound_us = reading
            .uncertainty_us
            .saturating_add(CHIP_ERROR_US)
            .saturating_add(drift_us(age_us.saturating_mul(1_000), config.drift_ppb));
        let above_floor = reading.unix_us.saturating_add_unsigned(bound_us) >= floor_us;
        if !above_floor || reading.unix_us > self.build_us.saturating_add(SERVICE_LIFE_US) {
            self.seen = Some(Seen::Implausible);
            return ChipEvidence::Nothing;
        }
        let offset_us = reading.unix_us.saturating_sub(read_at_us);
        self.seen = Some(Seen::Running { offset_us });
        ChipEvidence::Sane(Estimate { at_us: read_at_us, offset_us, bound_us })
    }

    /// Tells whether to set it now from a time with this bound, and notes the try.
    pub(crate) fn wants_setting(&mut self, unix_us: i64, steady_us: i64, bound_us: u64) -> bool {
        if self.config.is_none() || self.seen.is_none() || bound_us > SET_BOUND_US {
            return false;
        }
        let fresh = self.set_in_this_boot
            && self.set_us.is_some_and(|set_us| unix_us.saturating_sub(set_us) < SET_EVERY_US);
        let tried = self.tried_at_us.is_some_and(|at_us| steady_us.saturating_sub(at_us) < SET_RETRY_US);
        if fresh || tried {
            return false;
        }
        self.tried_at_us = Some(steady_us);
        true
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
            (Some(_), Some(Seen::Running { offset_us })) => {
                RtcState::Running { offset_us: agreed_us.map(|agreed| offset_us.saturating_sub(agreed)) }
            }
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
