//! How fast the clock chip runs off, learned from what it shows when it is about to be set again.
//!
//! A data sheet's figure covers every chip at every temperature; one chip in one house does much better. What is learned
//! makes the chip's bound after a long time without power or network tighter, never the reading itself more trusted.

use serde::{Deserialize, Serialize};

use super::chip::RtcConfig;

/// Shortest time between setting and looking from which a rate is learned, microseconds. 20 h: at the daily setting, 60 ms
/// of error make less than 1 ppm.
pub(crate) const MEASURE_AFTER_US: u64 = 20 * 3_600 * 1_000_000;

/// How far a setting may miss, microseconds: what `platform-linux` takes for well set, and a reading.
const SET_ERROR_US: u64 = 35_000;

/// Measures that must agree before they are used. Three: days on which nobody else set the chip.
const MEASURES_MIN: u32 = 3;

/// Measures over which the mean runs. Sixteen: it follows a season.
const MEASURES_MEAN: u32 = 16;

/// What was learned about a chip; kept across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcDrift {
    /// How much faster than UTC it runs, nanoseconds per second.
    pub rate_ppb: i64,
    /// Measures that agree on it.
    pub measures: u32,
}

impl RtcDrift {
    /// Takes a measure into what was learned before: the chip was ahead by `ahead_us`, give or take `error_us` (reading
    /// and UTC), `age_us` after it was set.
    ///
    /// What is outside the chip's data sheet is no drift: somebody else set it, and nothing is known. What differs from
    /// the earlier measures begins anew.
    pub(crate) fn learn(
        before: Option<Self>,
        config: RtcConfig,
        ahead_us: i64,
        error_us: u64,
        age_us: u64,
    ) -> Option<Self> {
        if age_us < MEASURE_AFTER_US {
            return before;
        }
        let per_second =
            |us: i128| i64::try_from(us * 1_000_000_000 / i128::from(age_us)).unwrap_or(i64::MAX);
        let rate_ppb = per_second(i128::from(ahead_us));
        let error_ppb = per_second(i128::from(error_us.saturating_add(SET_ERROR_US))).unsigned_abs();
        if error_ppb > config.learned_ppb {
            return before;
        }
        if rate_ppb.unsigned_abs() > config.drift_ppb.saturating_add(error_ppb) {
            return None;
        }
        let first = Self { rate_ppb, measures: 1 };
        let Some(before) = before else { return Some(first) };
        if before.rate_ppb.abs_diff(rate_ppb) > config.learned_ppb {
            return Some(first);
        }
        let measures = before.measures.saturating_add(1).min(MEASURES_MEAN);
        let moved_ppb = rate_ppb.saturating_sub(before.rate_ppb) / i64::from(measures);
        Some(Self { rate_ppb: before.rate_ppb.saturating_add(moved_ppb), measures })
    }

    /// Tells whether enough measures agree.
    pub(crate) fn is_settled(&self) -> bool {
        self.measures >= MEASURES_MIN
    }

    /// Gives how far the chip is ahead by now, microseconds.
    pub(crate) fn ahead_us(&self, age_us: u64) -> i64 {
        let ahead = i128::from(self.rate_ppb) * i128::from(age_us) / 1_000_000_000;
        i64::try_from(ahead).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use platform::board::RtcChip;

    use super::*;

    const DAY_US: u64 = 86_400_000_000;

    /// What a day's measure of a DS3231 makes of what was known: ahead by so many microseconds, UTC known to 20 ms.
    fn day(before: Option<RtcDrift>, ahead_us: i64) -> Option<RtcDrift> {
        RtcDrift::learn(before, RtcConfig::of(RtcChip::Ds3231), ahead_us, 20_000, DAY_US)
    }

    #[test]
    fn days_that_agree_settle_the_rate() {
        let learned = [173_000, 150_000, 190_000].into_iter().fold(None, day).unwrap();
        assert!(learned.is_settled() && (1_800..2_200).contains(&learned.rate_ppb), "{learned:?}");
        assert!(!day(None, 173_000).unwrap().is_settled());
        // 2 ppm are 5.2 s in 30 days.
        let month_us = learned.ahead_us(30 * DAY_US);
        assert!((4_700_000..5_700_000).contains(&month_us), "{month_us}");
    }

    #[test]
    fn what_no_data_sheet_allows_is_somebody_elses_setting() {
        let known = [173_000, 173_000, 173_000].into_iter().fold(None, day);
        assert_eq!(day(known, 600_000), None);
        assert_eq!(day(known, -3_600_000_000), None);
    }

    #[test]
    fn a_chip_that_changed_its_mind_is_learned_anew() {
        let known = [173_000, 173_000, 173_000].into_iter().fold(None, day);
        let changed = day(known, -200_000).unwrap();
        assert!(!changed.is_settled() && changed.rate_ppb < 0);
    }

    #[test]
    fn short_and_rough_measures_teach_nothing() {
        let config = RtcConfig::of(RtcChip::Ds3231);
        assert_eq!(RtcDrift::learn(None, config, 1_000, 0, MEASURE_AFTER_US - 1), None);
        assert_eq!(RtcDrift::learn(None, config, 1_000, 500_000, DAY_US), None);
        assert!(RtcDrift::learn(None, RtcConfig::of(RtcChip::RpiRtc), 1_000, 500_000, DAY_US).is_some());
    }

    #[test]
    fn the_mean_follows_slowly_and_its_count_ends() {
        let mut known = None;
        for _ in 0..100 {
            known = day(known, 86_400);
        }
        assert_eq!(known, Some(RtcDrift { rate_ppb: 1_000, measures: MEASURES_MEAN }));
        assert_eq!(day(known, 172_800).unwrap().rate_ppb, 1_062);
    }
}
