//! Years of life left, from what is written each day and what the disk can take.
//!
//! Pure. Where nobody tells how much a disk can take, it says so: a number without a source is no help to an owner.

use serde::{Deserialize, Serialize};

use super::DiskKind;
use super::health::Health;

/// Days that the average looks back on, at most.
const DAYS_KEPT: usize = 30;

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Running time before an average is told, seconds: an hour is less than one round of backups and checkpoints.
const TELL_AFTER_S: u64 = 6 * 3_600;

/// Wear from which a disk's own counter tells its endurance, per cent: it counts in whole per cent, so that at 3 the
/// figure is right within a third.
const WEAR_PERCENT_MIN: u8 = 3;

/// Full writes of an SSD that tells no wear yet.
///
/// 200: the least that data sheets of consumer SSDs promise (Intel 660p 512 GB: 100 TBW); most promise 300 to 600.
const SSD_FULL_WRITES_MIN: u64 = 200;

/// Longest life that is told, years: beyond it other parts fail first.
pub const YEARS_MAX: u32 = 20;

/// Bytes written in whole days of running time; saved once a day.
///
/// Days of running and not of the calendar: it must count on a box whose clock is not trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteLedger {
    /// Full days, the oldest first, at most 30: bytes of each.
    days: Vec<u64>,
    /// The day that is being counted: seconds and bytes.
    today_s: u64,
    today_bytes: u64,
    /// What the kernel's counter and the uptime showed last; not saved, since both begin anew with each boot.
    #[serde(skip)]
    seen: Option<(u64, u64)>,
}

impl WriteLedger {
    /// Takes a look at the kernel's counter of written bytes. Returns true when a day became full: save it now.
    ///
    /// The first look after a start only sets the mark, so that a restart counts nothing twice.
    ///
    /// A counter that went back belongs to a disk that was plugged anew; what it shows was written since then.
    pub fn note(&mut self, written_bytes: u64, uptime_s: u64) -> bool {
        let (before_bytes, before_s) =
            self.seen.replace((written_bytes, uptime_s)).unwrap_or((written_bytes, uptime_s));
        self.today_bytes += written_bytes.checked_sub(before_bytes).unwrap_or(written_bytes);
        self.today_s += uptime_s.saturating_sub(before_s);
        if self.today_s < DAY_S {
            return false;
        }
        // A look after several days (a suspended machine) counts as one long day, spread evenly.
        let bytes = u128::from(self.today_bytes) * u128::from(DAY_S) / u128::from(self.today_s);
        self.days.push(u64::try_from(bytes).unwrap_or(u64::MAX));
        let surplus = self.days.len().saturating_sub(DAYS_KEPT);
        self.days.drain(..surplus);
        (self.today_s, self.today_bytes) = (0, 0);
        true
    }

    /// Gives the average of a day, bytes; `None` before there is enough to tell.
    #[must_use]
    pub fn bytes_per_day(&self) -> Option<u64> {
        let full_days_s = u64::try_from(self.days.len()).unwrap_or(0) * DAY_S;
        let seconds = full_days_s + self.today_s;
        if seconds < TELL_AFTER_S {
            return None;
        }
        let bytes = self.days.iter().map(|day| u128::from(*day)).sum::<u128>() + u128::from(self.today_bytes);
        u64::try_from(bytes * u128::from(DAY_S) / u128::from(seconds)).ok()
    }
}

/// Who says how much a disk can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnduranceSource {
    /// The disk: its wear counter and what was written to it.
    DiskCounter,
    /// Nobody about this disk: the least that makers of such disks promise.
    LeastPromised,
}

/// How long a disk lives on as it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum LifeLeft {
    /// Too little was seen yet.
    #[default]
    TooEarly,
    /// Nobody tells what such a disk can take.
    NotTold,
    /// An estimate.
    Years {
        /// Years, at most [`YEARS_MAX`], which means "or more".
        years: u32,
        /// Who says what the disk can take.
        source: EnduranceSource,
    },
}

/// Estimates the years of life left.
#[must_use]
pub fn life_left(kind: DiskKind, size_bytes: u64, health: &Health, bytes_per_day: Option<u64>) -> LifeLeft {
    let Some(per_day) = bytes_per_day else { return LifeLeft::TooEarly };
    let used = health.wear_percent.unwrap_or(0);
    let by_counter = match (health.wear_percent, health.written_bytes) {
        (Some(wear), Some(written)) if wear >= WEAR_PERCENT_MIN && written > 0 => {
            Some(u128::from(written) * 100 / u128::from(wear))
        }
        _ => None,
    };
    let (endurance, source) = match (by_counter, kind) {
        (Some(endurance), _) => (endurance, EnduranceSource::DiskCounter),
        (None, DiskKind::Nvme | DiskKind::UsbSsd | DiskKind::Sata) => {
            (u128::from(size_bytes) * u128::from(SSD_FULL_WRITES_MIN), EnduranceSource::LeastPromised)
        }
        // Makers of cards, sticks and eMMC promise no number of writes.
        _ => return LifeLeft::NotTold,
    };
    let left = endurance * u128::from(100_u8.saturating_sub(used)) / 100;
    let years = left.checked_div(u128::from(per_day) * 365).unwrap_or(u128::MAX);
    LifeLeft::Years { years: u32::try_from(years).unwrap_or(YEARS_MAX).min(YEARS_MAX), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn days_are_counted_in_running_time_over_restarts() {
        let mut ledger = WriteLedger::default();
        assert!(!ledger.note(5 * GB, 100), "what the first look finds may have been counted before");
        assert!(!ledger.note(11 * GB, 100 + DAY_S / 2));
        assert_eq!(ledger.bytes_per_day(), Some(12 * GB));
        let mut after: WriteLedger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
        assert!(!after.note(0, 10));
        assert!(after.note(2 * GB, 10 + DAY_S / 2));
        assert_eq!(after.bytes_per_day(), Some(8 * GB));
    }

    #[test]
    fn a_disk_that_was_plugged_anew_counts_from_zero() {
        let mut ledger = WriteLedger::default();
        ledger.note(0, 0);
        ledger.note(10 * GB, DAY_S / 4);
        ledger.note(GB, DAY_S / 2);
        assert_eq!(ledger.bytes_per_day(), Some(22 * GB));
    }

    #[test]
    fn nothing_is_told_in_the_first_hours_and_old_days_are_forgotten() {
        let mut ledger = WriteLedger::default();
        ledger.note(0, 0);
        ledger.note(GB, 3_600);
        assert_eq!(ledger.bytes_per_day(), None);
        for day in 1..=40 {
            ledger.note(GB, day * DAY_S + 3_600);
        }
        assert_eq!(ledger.bytes_per_day(), Some(0), "30 quiet days");
        assert!(ledger.days.len() <= DAYS_KEPT);
    }

    #[test]
    fn the_disks_own_counter_tells_its_endurance() {
        let health = Health { wear_percent: Some(10), written_bytes: Some(10_000 * GB), ..Health::default() };
        let life = life_left(DiskKind::Nvme, 250 * GB, &health, Some(25 * GB));
        assert_eq!(life, LifeLeft::Years { years: 9, source: EnduranceSource::DiskCounter });
    }

    #[test]
    fn without_a_counter_the_least_promise_counts_and_a_card_has_none() {
        let none = Health::default();
        let life = |kind, per_day| life_left(kind, 250 * GB, &none, Some(per_day));
        let least = |years| LifeLeft::Years { years, source: EnduranceSource::LeastPromised };
        assert_eq!(life(DiskKind::UsbSsd, 50 * GB), least(2));
        assert_eq!(life(DiskKind::UsbSsd, GB / 1000), least(YEARS_MAX));
        assert_eq!(life(DiskKind::UsbSsd, 0), least(YEARS_MAX));
        assert_eq!(life(DiskKind::Sd, GB), LifeLeft::NotTold);
        assert_eq!(life_left(DiskKind::Nvme, GB, &none, None), LifeLeft::TooEarly);
    }

    #[test]
    fn a_disk_beyond_its_rated_life_has_none_left() {
        let health = Health { wear_percent: Some(130), written_bytes: Some(GB), ..Health::default() };
        let life = life_left(DiskKind::Nvme, 250 * GB, &health, Some(GB));
        assert_eq!(life, LifeLeft::Years { years: 0, source: EnduranceSource::DiskCounter });
    }
}
