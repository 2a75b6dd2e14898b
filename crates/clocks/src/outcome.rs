//! What came of a scenario: when a program said that it knows the time, and how wrong it was.

use timeguard::trial::SECOND_US;

/// What a program says about its time at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// How far its time is off in truth, microseconds.
    pub error_us: i64,
    /// How far it says that it may be off, microseconds.
    pub bound_us: u64,
}

/// What came of one scenario with one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When it first claimed to know the time, microseconds after its start.
    pub first_us: Option<i64>,
    /// What it claimed at the end; `None` when it said then that it does not know.
    pub last: Option<Claim>,
    /// The largest error while it claimed to know, microseconds.
    pub worst_us: u64,
    /// It was further off than it said.
    pub beyond_bound: bool,
    /// CLOCK_REALTIME minus true UTC at the first moment and at the last, microseconds.
    clock_us: Option<(i64, i64)>,
}

/// How far a clock must have been moved for its error to be the program's doing, microseconds.
const MOVED_US: u64 = SECOND_US.unsigned_abs();

impl Outcome {
    /// Takes one moment, microseconds after the start, at which CLOCK_REALTIME is so far off.
    pub fn see(&mut self, at_us: i64, clock_off_us: i64, claim: Option<Claim>) {
        self.clock_us = Some((self.clock_us.map_or(clock_off_us, |(first_us, _)| first_us), clock_off_us));
        self.last = claim;
        let Some(claim) = claim else { return };
        self.first_us.get_or_insert(at_us);
        let error_us = claim.error_us.unsigned_abs();
        self.worst_us = self.worst_us.max(error_us);
        self.beyond_bound |= error_us > claim.bound_us;
    }

    /// Gives how far off the program leaves a clock that it moved, claimed or not, microseconds.
    #[must_use]
    pub fn left_us(&self) -> Option<u64> {
        let (first_us, last_us) = self.clock_us?;
        (first_us.abs_diff(last_us) > MOVED_US).then_some(last_us.unsigned_abs())
    }
}

/// Limits of wrongness that the table has, microseconds: a second, a minute, a year.
pub const WRONG_US: [u64; 3] =
    [SECOND_US.unsigned_abs(), 60 * SECOND_US.unsigned_abs(), 365 * 86_400 * SECOND_US.unsigned_abs()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_and_then_given_up_was_wrong_all_the_same() {
        let mut outcome = Outcome::default();
        outcome.see(1, 9_000_000, None);
        outcome.see(2, -3_000_000, Some(Claim { error_us: -3_000_000, bound_us: 5_000_000 }));
        assert!(!outcome.beyond_bound);
        outcome.see(3, 2_000_000, Some(Claim { error_us: 2_000_000, bound_us: 1_999_999 }));
        outcome.see(4, 2_000_001, None);
        assert!(outcome.last.is_none() && outcome.beyond_bound);
        assert_eq!(
            (outcome.first_us, outcome.worst_us, outcome.left_us()),
            (Some(2), 3_000_000, Some(2_000_001))
        );
    }

    #[test]
    fn a_clock_that_was_not_moved_is_not_the_programs_doing() {
        let mut outcome = Outcome::default();
        outcome.see(1, 9_000_000, None);
        outcome.see(2, 9_000_300, None);
        assert_eq!(outcome.left_us(), None);
    }
}
