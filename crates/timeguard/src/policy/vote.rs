//! The vote: which time do most operators' intervals share?
//!
//! Each operator has one vote, however many servers it runs. An honest server's interval always contains the
//! truth, whatever the delays: it is as wide as the round trip allows. The agreed time is the middle of what the
//! largest crowd shares. The bound is wider than that on purpose: among any three that agree at least one is honest as
//! long as no more than two of four lie, so the truth lies in the hull of the three tightest, not in their
//! intersection.

/// Fewest operators that must agree.
///
/// Three: with two, two liars would be a majority as soon as the honest are slow to answer.
pub const AGREEING_MIN: usize = 3;

/// What one operator says: UTC minus steady time lies between these, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) lo: i64,
    pub(crate) hi: i64,
}

impl Interval {
    pub(crate) fn around(offset_us: i64, error_us: u64) -> Self {
        Self {
            lo: offset_us.saturating_sub_unsigned(error_us),
            hi: offset_us.saturating_add_unsigned(error_us),
        }
    }

    fn contains(self, offset_us: i64) -> bool {
        self.lo <= offset_us && offset_us <= self.hi
    }

    fn width(self) -> u64 {
        self.hi.abs_diff(self.lo)
    }

    /// Gives what both contain.
    fn meet(self, other: Self) -> Option<Self> {
        let both = Self { lo: self.lo.max(other.lo), hi: self.hi.min(other.hi) };
        (both.lo <= both.hi).then_some(both)
    }
}

/// The vote of one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    /// Its servers agree on this.
    For(Interval),
    /// Its servers contradict each other: it votes, for nothing.
    Split,
}

impl Vote {
    /// Joins the intervals of one operator's servers; `None` when none of them has an answer.
    pub(crate) fn of_servers(intervals: impl IntoIterator<Item = Interval>) -> Option<Self> {
        intervals.into_iter().fold(None, |vote, next| match vote {
            None => Some(Self::For(next)),
            Some(Self::For(so_far)) => Some(so_far.meet(next).map_or(Self::Split, Self::For)),
            Some(Self::Split) => Some(Self::Split),
        })
    }

    /// Tells whether it is for a time.
    pub(crate) fn is_for(self, offset_us: i64) -> bool {
        matches!(self, Self::For(interval) if interval.contains(offset_us))
    }
}

/// The outcome of a vote that was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ballot {
    /// The agreed UTC minus steady time, microseconds.
    pub(crate) offset_us: i64,
    /// Its largest error, microseconds.
    pub(crate) bound_us: u64,
    /// Operators for it.
    pub(crate) agreeing: usize,
    /// Operators that voted, or may do so in a moment.
    pub(crate) voters: usize,
}

impl Ballot {
    /// Tells whether at least three of four voters agree.
    pub(crate) fn is_three_quarters(&self) -> bool {
        self.agreeing * 4 >= self.voters * 3
    }

    /// Tells whether all agree, and they are at least four.
    pub(crate) fn is_unanimous(&self) -> bool {
        self.agreeing == self.voters && self.voters >= 4
    }
}

/// How the votes stand, won or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Operators in the largest crowd that shares a time.
    pub(crate) agreeing: usize,
    /// Operators that voted, or may do so in a moment.
    pub(crate) voters: usize,
    /// The earliest time that the crowd shares.
    lo: Option<i64>,
}

impl Tally {
    /// Finds the largest crowd.
    ///
    /// `awaited` are operators that were asked for the first time and may still answer: they count as voters, so that the
    /// quickest do not decide before the others have spoken.
    pub(crate) fn of(votes: &[Vote], awaited: usize) -> Self {
        // The largest crowd stands at some interval's low end: there it begins to share. There are a handful of
        // operators, so each end is tried.
        let crowd_at = |lo: i64| votes.iter().filter(|vote| vote.is_for(lo)).count();
        let largest = intervals(votes)
            .map(|at| (crowd_at(at.lo), at.lo))
            .max_by_key(|(crowd, lo)| (*crowd, std::cmp::Reverse(*lo)));
        Self {
            agreeing: largest.map_or(0, |(crowd, _)| crowd),
            voters: votes.len() + awaited,
            lo: largest.map(|(_, lo)| lo),
        }
    }

    /// Gives how many must agree: more than half of the voters, and three at least.
    pub(crate) fn needed(&self) -> usize {
        AGREEING_MIN.max(self.voters / 2 + 1)
    }
}

fn intervals(votes: &[Vote]) -> impl Iterator<Item = Interval> {
    votes.iter().filter_map(|vote| match vote {
        Vote::For(interval) => Some(*interval),
        Vote::Split => None,
    })
}

/// Counts the votes; `None` unless a strict majority of the voters, and at least three, share a time. For `awaited` see
/// [`Tally::of`].
pub(crate) fn count(votes: &[Vote], awaited: usize) -> Option<Ballot> {
    let tally = Tally::of(votes, awaited);
    let (agreeing, voters, lo) = (tally.agreeing, tally.voters, tally.lo?);
    if agreeing < tally.needed() {
        return None;
    }
    let mut crowd: Vec<Interval> = intervals(votes).filter(|interval| interval.contains(lo)).collect();
    // The crowd stops sharing at its smallest high end.
    let hi = crowd.iter().map(|interval| interval.hi).min()?;
    let offset_us = lo.midpoint(hi);
    // More than half of all voters, tightest first: one of them is honest unless the honest are a minority.
    crowd.sort_by_key(|interval| interval.width());
    let bound_us = crowd
        .iter()
        .take(tally.needed())
        .map(|interval| interval.hi.abs_diff(offset_us).max(interval.lo.abs_diff(offset_us)))
        .max()?;
    Some(Ballot { offset_us, bound_us, agreeing, voters })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vote(offset_us: i64, error_us: u64) -> Vote {
        Vote::For(Interval::around(offset_us, error_us))
    }

    #[test]
    fn three_of_four_outvote_a_liar() {
        let ballot = count(&[vote(0, 10), vote(5, 10), vote(600, 10), vote(-5, 10)], 0).unwrap();
        assert_eq!((ballot.agreeing, ballot.voters), (3, 4));
        assert!(ballot.offset_us.abs() <= 5 && ballot.is_three_quarters() && !ballot.is_unanimous());
    }

    #[test]
    fn two_against_two_is_no_majority_and_neither_are_two_of_three() {
        assert_eq!(count(&[vote(0, 10), vote(5, 10), vote(600, 10), vote(605, 10)], 0), None);
        assert_eq!(count(&[vote(0, 10), vote(600, 10), vote(605, 10)], 0), None);
        assert_eq!(count(&[vote(0, 10), vote(0, 10)], 0), None);
        assert_eq!(count(&[], 0), None);
    }

    #[test]
    fn three_of_six_are_not_a_strict_majority() {
        let votes = [vote(0, 1), vote(0, 1), vote(0, 1), vote(900, 1), vote(800, 1), vote(700, 1)];
        assert_eq!(count(&votes, 0), None);
        assert!(count(&votes[..5], 0).is_some());
    }

    #[test]
    fn those_that_may_still_answer_count() {
        let votes = [vote(0, 1), vote(0, 1), vote(0, 1)];
        assert!(count(&votes, 1).unwrap().is_three_quarters());
        assert!(!count(&votes, 2).unwrap().is_three_quarters());
        assert_eq!(count(&votes, 3), None);
        assert!(!count(&votes, 1).unwrap().is_unanimous());
    }

    #[test]
    fn a_split_operator_counts_as_a_voter_for_nothing() {
        let split = Vote::of_servers([Interval::around(0, 1), Interval::around(100, 1)]).unwrap();
        assert_eq!(split, Vote::Split);
        let ballot = count(&[vote(0, 5), vote(0, 5), vote(0, 5), split], 0).unwrap();
        assert_eq!((ballot.agreeing, ballot.voters), (3, 4));
        assert_eq!(count(&[vote(0, 5), vote(0, 5), split], 0), None);
    }

    #[test]
    fn one_operators_servers_are_one_vote() {
        let joined = Vote::of_servers([Interval::around(0, 10), Interval::around(8, 10)]).unwrap();
        assert_eq!(joined, Vote::For(Interval { lo: -2, hi: 10 }));
        assert_eq!(Vote::of_servers([]), None);
    }

    #[test]
    fn a_wide_answer_does_not_widen_the_bound_of_the_tight() {
        let tight = count(&[vote(0, 10), vote(0, 10), vote(0, 10), vote(400, 500)], 0).unwrap();
        assert!(tight.bound_us <= 10 && tight.agreeing == 4);
    }

    proptest! {
        /// Two colluding liars of four choose any intervals: when a ballot is won, the truth (0) is in its bound.
        #[test]
        fn the_truth_is_in_the_bound_with_two_liars_of_four(
            honest in proptest::array::uniform2((-500_i64..500, 500_u64..1_500)),
            liars in proptest::array::uniform2((-5_000_i64..5_000, 0_u64..3_000)),
        ) {
            let votes: Vec<Vote> = honest.iter().chain(&liars).map(|(at, error)| vote(*at, *error)).collect();
            if let Some(ballot) = count(&votes, 0) {
                prop_assert!(ballot.offset_us.unsigned_abs() <= ballot.bound_us);
            }
        }

        /// A liar of four that is far off changes nothing.
        #[test]
        fn three_honest_always_win(
            honest in proptest::array::uniform3((-500_i64..500, 500_u64..1_500)),
            lie in 10_000_i64..1_000_000,
        ) {
            let mut votes: Vec<Vote> = honest.iter().map(|(at, error)| vote(*at, *error)).collect();
            votes.push(vote(lie, 1_000));
            let ballot = count(&votes, 0).unwrap();
            prop_assert_eq!(ballot.agreeing, 3);
            prop_assert!(ballot.offset_us.unsigned_abs() <= ballot.bound_us);
        }
    }
}
