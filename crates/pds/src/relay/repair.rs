//! Repos whose last commit was signed far in the future: may they be signed anew now?
//!
//! A relay drops commits whose revision lies more than five minutes ahead of its clock, and takes no revision that is
//! not greater than the last one that it took. So a repo heals by a commit of now, when no relay has taken a later one.
//! Decides only.

use atproto::tid::Tid;

/// Age of lead beyond which no relay can have taken a revision, microseconds: twice what relays tolerate, so that a
/// relay's clock may be minutes wrong.
const NEVER_TAKEN_US: u64 = 10 * 60 * 1_000_000;

/// What one relay said about the repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The newest revision that it has.
    Rev(Tid),
    /// It has none.
    Nothing,
    /// It did not say.
    Silent,
}

/// What to do with the repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Sign it anew.
    Heal,
    /// A relay has a revision that a commit of now would not follow: its time must come first.
    WaitForTime,
    /// A relay that may have taken the revision does not answer.
    WaitForAnswer,
}

/// Decides about a repo whose revision is `rev`; `now` is the revision that a commit would get.
pub(super) fn decide(rev: Tid, now: Tid, told: &[Told]) -> Decision {
    if told.iter().any(|told| matches!(told, Told::Rev(theirs) if *theirs >= now)) {
        return Decision::WaitForTime;
    }
    let never_taken = rev.micros().saturating_sub(now.micros()) > NEVER_TAKEN_US;
    let all_answered = !told.is_empty() && !told.contains(&Told::Silent);
    let any_answered = told.is_empty() || told.iter().any(|told| *told != Told::Silent);
    if all_answered || (never_taken && any_answered) { Decision::Heal } else { Decision::WaitForAnswer }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: u64 = 60_000_000;
    const NOW_US: u64 = 1_795_392_000_000_000;

    fn at(minutes: u64) -> Tid {
        Tid::from_micros(NOW_US + minutes * MINUTE_US, 1)
    }

    fn before() -> Told {
        Told::Rev(Tid::from_micros(NOW_US - MINUTE_US, 1))
    }

    #[test]
    fn heals_when_every_relay_has_older_ones_only() {
        assert_eq!(decide(at(3), at(0), &[before(), Told::Nothing]), Decision::Heal);
        assert_eq!(decide(at(500_000), at(0), &[before()]), Decision::Heal);
    }

    #[test]
    fn waits_for_the_time_of_a_revision_that_a_relay_took() {
        assert_eq!(decide(at(3), at(0), &[Told::Rev(at(3)), before()]), Decision::WaitForTime);
        assert_eq!(decide(at(500_000), at(0), &[Told::Rev(at(4))]), Decision::WaitForTime);
        assert_eq!(decide(at(500_000), at(5), &[Told::Rev(at(4))]), Decision::Heal);
    }

    #[test]
    fn a_silent_relay_holds_back_only_what_it_could_have_taken() {
        assert_eq!(decide(at(3), at(0), &[before(), Told::Silent]), Decision::WaitForAnswer);
        assert_eq!(decide(at(11), at(0), &[before(), Told::Silent]), Decision::Heal);
        assert_eq!(decide(at(11), at(0), &[Told::Silent]), Decision::WaitForAnswer, "nobody answers at all");
    }

    #[test]
    fn without_relays_the_tolerance_of_all_relays_decides() {
        assert_eq!(decide(at(3), at(0), &[]), Decision::WaitForAnswer);
        assert_eq!(decide(at(11), at(0), &[]), Decision::Heal);
    }
}
