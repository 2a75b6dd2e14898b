//! Leap seconds: believed when most of those that agree announce one, at the end of a UTC month.

/// What a server announces (RFC 5905 section 7.3, leap indicator).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leap {
    /// Nothing.
    #[default]
    None,
    /// The month ends a second later.
    Insert,
    /// The month ends a second earlier.
    Delete,
    /// The server has no time itself: its answer does not count.
    Unsynchronised,
}

impl Leap {
    /// Reads the two bits of a packet.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::None,
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::Unsynchronised,
        }
    }
}

const SECOND_US: i64 = 1_000_000;

/// How long before a planned leap the bound takes the second in, microseconds: 40 s, since a verdict may be used for 30 s
/// and is renewed every 5.
const MARGIN_US: i64 = 40 * SECOND_US;

/// A leap that is to come.
#[derive(Debug, Default)]
pub(crate) struct LeapPlan {
    planned: Option<(Leap, i64)>,
}

impl LeapPlan {
    /// Takes the announcements of those that agree, at a UTC in microseconds.
    pub(crate) fn hear(&mut self, announced: impl Iterator<Item = Leap>, unix_us: i64) {
        // Around the leap the announcements end one by one: the plan made before stands until it has passed.
        if self.margin_us(unix_us) > 0 {
            return;
        }
        let (mut all, mut inserts, mut deletes) = (0_usize, 0_usize, 0_usize);
        for leap in announced {
            all += 1;
            inserts += usize::from(leap == Leap::Insert);
            deletes += usize::from(leap == Leap::Delete);
        }
        let leap = if inserts * 2 > all {
            Leap::Insert
        } else if deletes * 2 > all {
            Leap::Delete
        } else {
            self.planned = None;
            return;
        };
        self.planned = Some((leap, month_end_us(unix_us)));
    }

    /// Gives what a verdict's bound must allow for a planned leap, microseconds.
    pub(crate) fn margin_us(&self, unix_us: i64) -> u64 {
        let near = self.planned.is_some_and(|(_, at_us)| unix_us >= at_us.saturating_sub(MARGIN_US));
        if near { SECOND_US.unsigned_abs() } else { 0 }
    }

    /// Gives what UTC minus steady time changes by when a planned leap has just passed, microseconds, once.
    pub(crate) fn passes(&mut self, unix_us: i64) -> Option<i64> {
        let (leap, at_us) = self.planned?;
        // A second that is left out ends the month a second early.
        let (due_us, shift_us) = match leap {
            Leap::Insert => (at_us, -SECOND_US),
            Leap::Delete => (at_us - SECOND_US, SECOND_US),
            Leap::None | Leap::Unsynchronised => return None,
        };
        if unix_us < due_us {
            return None;
        }
        self.planned = None;
        Some(shift_us)
    }
}

/// Gives the end of the UTC month that a time lies in, microseconds since 1970; before 1970 that of January 1970.
fn month_end_us(unix_us: i64) -> i64 {
    const DAY_US: i64 = 86_400_000_000;
    let first = unix_us.max(0) / DAY_US + 1;
    // A month has at most 31 days, so one of the next 31 midnights begins another.
    let end = (first..first + 31).find(|day| {
        let us = u64::try_from(day.saturating_mul(DAY_US)).unwrap_or_default();
        platform::time::format_rfc3339_millis(us).get(8..10) == Some("01")
    });
    end.unwrap_or(first).saturating_mul(DAY_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-12-31T23:59:59Z.
    const LAST_SECOND_US: i64 = 1_798_761_599_000_000;

    #[test]
    fn a_month_ends_at_the_first_midnight_of_the_next() {
        assert_eq!(month_end_us(LAST_SECOND_US), LAST_SECOND_US + 1_000_000);
        assert_eq!(month_end_us(LAST_SECOND_US - 30 * 86_400_000_000), LAST_SECOND_US + 1_000_000);
        assert_eq!(month_end_us(-5), 31 * 86_400_000_000);
    }

    #[test]
    fn a_majority_plans_a_leap_and_it_passes_once() {
        let mut plan = LeapPlan::default();
        plan.hear([Leap::Insert, Leap::Insert, Leap::None].into_iter(), LAST_SECOND_US);
        assert_eq!(plan.margin_us(LAST_SECOND_US - 60_000_000), 0);
        assert_eq!(plan.margin_us(LAST_SECOND_US - 35_000_000), 1_000_000);
        assert_eq!(plan.passes(LAST_SECOND_US + 999_999), None);
        assert_eq!(plan.passes(LAST_SECOND_US + 1_000_000), Some(-1_000_000));
        assert_eq!(plan.passes(LAST_SECOND_US + 1_000_001), None);
        plan.hear([Leap::Delete, Leap::Delete].into_iter(), LAST_SECOND_US);
        assert_eq!(plan.passes(LAST_SECOND_US), Some(1_000_000));
    }

    #[test]
    fn a_minority_plans_nothing_and_a_withdrawn_leap_is_forgotten() {
        let mut plan = LeapPlan::default();
        plan.hear([Leap::Insert, Leap::None].into_iter(), LAST_SECOND_US);
        assert_eq!(plan.passes(LAST_SECOND_US + 2_000_000), None);
        plan.hear([Leap::Insert].into_iter(), LAST_SECOND_US);
        plan.hear([Leap::None].into_iter(), LAST_SECOND_US);
        assert_eq!(plan.passes(LAST_SECOND_US - 1), None, "it stands in its last seconds");
        assert_eq!(plan.passes(LAST_SECOND_US + 2_000_000), Some(-1_000_000));
        plan.hear([Leap::Insert].into_iter(), LAST_SECOND_US - 3_600_000_000);
        plan.hear([Leap::None].into_iter(), LAST_SECOND_US - 1_800_000_000);
        assert_eq!(plan.passes(LAST_SECOND_US + 2_000_000), None);
    }

    #[test]
    fn bits_are_read_as_the_rfc_has_them() {
        let all = [0, 1, 2, 3].map(Leap::from_bits);
        assert_eq!(all, [Leap::None, Leap::Insert, Leap::Delete, Leap::Unsynchronised]);
    }
}
