//! A steady time line under the kernel's clocks, and estimates of UTC on it.
//!
//! CLOCK_BOOTTIME never steps, but our own slews bend it. Steady time is CLOCK_BOOTTIME with those taken out, so
//! that readings from before, during and after a slew compare.

use platform::time::drift_us;

/// How fast the kernel slews, parts per billion.
pub const SLEW_PPB: u64 = 500_000;

/// How fast an undisciplined oscillator may run off, parts per billion.
///
/// 100 ppm: a Pi's crystal stays under 50 with temperature and age, a virtual machine's calibration under 100. Were it
/// smaller than the truth, the published bound would be wrong; larger, and holdover (5 s / 100 ppm = 13 h) is short.
pub const OSCILLATOR_PPB: u64 = 100_000;

/// CLOCK_BOOTTIME with our own slews taken out.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// What finished slews have added to CLOCK_BOOTTIME, microseconds.
    settled_us: i64,
    slew: Option<Slew>,
}

#[derive(Clone, Copy, Debug)]
struct Slew {
    from_ns: u64,
    delta_us: i64,
}

impl Timeline {
    /// Gives steady time, microseconds.
    pub(crate) fn steady_us(&self, boottime_ns: u64) -> i64 {
        to_i64(boottime_ns / 1_000).saturating_sub(self.slewed_us(boottime_ns))
    }

    /// Notes that a slew begins, which replaces the one under way.
    pub(crate) fn begin_slew(&mut self, boottime_ns: u64, delta_us: i64) {
        self.settled_us = self.slewed_us(boottime_ns);
        self.slew = Some(Slew { from_ns: boottime_ns, delta_us });
    }

    /// Tells whether a slew is under way.
    pub(crate) fn is_slewing(&self, boottime_ns: u64) -> bool {
        self.slew.is_some_and(|slew| slew.done_us(boottime_ns) != slew.delta_us)
    }

    fn slewed_us(&self, boottime_ns: u64) -> i64 {
        let running_us = self.slew.map_or(0, |slew| slew.done_us(boottime_ns));
        self.settled_us.saturating_add(running_us)
    }
}

impl Slew {
    fn done_us(self, boottime_ns: u64) -> i64 {
        let most_us = to_i64(drift_us(boottime_ns.saturating_sub(self.from_ns), SLEW_PPB));
        self.delta_us.clamp(-most_us, most_us)
    }
}

/// UTC minus steady time, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Steady time at which `bound_us` held, microseconds.
    pub(crate) at_us: i64,
    /// UTC minus steady time, microseconds.
    pub(crate) offset_us: i64,
    /// Largest error at `at_us`, microseconds.
    pub(crate) bound_us: u64,
}

impl Estimate {
    /// Gives UTC at a steady time, microseconds since 1970.
    pub(crate) fn unix_us(&self, steady_us: i64) -> i64 {
        steady_us.saturating_add(self.offset_us)
    }

    /// Gives the error bound at a steady time, microseconds: it grows with an undisciplined oscillator.
    pub(crate) fn bound_at(&self, steady_us: i64) -> u64 {
        let aged_us = steady_us.abs_diff(self.at_us);
        self.bound_us.saturating_add(drift_us(aged_us.saturating_mul(1_000), OSCILLATOR_PPB))
    }
}

/// Narrows; what does not fit becomes the largest (the year 294,000).
pub(crate) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_slew_does_not_move_steady_time() {
        let mut line = Timeline::default();
        assert_eq!(line.steady_us(100 * SECOND_NS), 100_000_000);
        line.begin_slew(100 * SECOND_NS, 50_000);
        // 100 s of CLOCK_BOOTTIME that runs 500 ppm fast are 99.95 s.
        assert!(line.is_slewing(199 * SECOND_NS));
        assert_eq!(line.steady_us(200 * SECOND_NS), 199_950_000);
        assert!(!line.is_slewing(200 * SECOND_NS));
        assert_eq!(line.steady_us(300 * SECOND_NS), 299_950_000);
        line.begin_slew(300 * SECOND_NS, -10_000);
        line.begin_slew(310 * SECOND_NS, 0);
        assert_eq!(line.steady_us(400 * SECOND_NS), 399_955_000);
    }

    #[test]
    fn a_bound_grows_by_the_oscillator() {
        let estimate = Estimate { at_us: 0, offset_us: 7, bound_us: 10 };
        assert_eq!(estimate.bound_at(1_000_000), 110);
        assert_eq!(estimate.unix_us(3), 10);
    }
}
