//! The guard as pages show it.

use control::TimeStatus;
use control::status::{SourceStatus, VoteStatus};

use super::drift::RtcDrift;
use super::vote::Tally;
use super::{Guard, Moment};

impl Guard {
    /// Describes the guard at a moment.
    #[must_use]
    pub fn status(&self, now: Moment) -> TimeStatus {
        let steady_us = self.steady_us(now);
        let believed = self.estimate.map(|(_, estimate)| estimate);
        let agreed_us = believed.map(|estimate| estimate.offset_us);
        let realtime_us = now.realtime_us.saturating_sub(steady_us);
        let sources = self.sources.iter().map(|source| {
            let view = source.view(steady_us);
            SourceStatus {
                name: source.server.name.clone(),
                operator: source.server.operator.clone(),
                answers: source.state(steady_us, self.ballot.map(|ballot| ballot.offset_us)),
                offset_us: view
                    .map(|(offset_us, _)| offset_us.saturating_sub(agreed_us.unwrap_or(realtime_us))),
                error_us: view.map(|(_, error_us)| error_us),
            }
        });
        let trusted = self.trusted_estimate(now).is_some();
        // Outside the appliance nobody here may set CLOCK_REALTIME, and readers refuse while it is far off.
        let foreign_us = self.foreign_us(now);
        let why_untrusted = match (trusted, foreign_us) {
            (true, 0) => None,
            (true, off_us) => Some(format!(
                "The system clock is off by {} s: let the system's own time service set it.",
                off_us / 1_000_000
            )),
            (false, _) => Some(self.why_untrusted(now)),
        };
        TimeStatus {
            state: self.state,
            trusted: why_untrusted.is_none(),
            unix_us: believed.and_then(|estimate| u64::try_from(estimate.unix_us(steady_us)).ok()),
            error_bound_us: believed.map(|estimate| estimate.bound_at(steady_us)),
            why_untrusted,
            sources: sources.collect(),
            vote: self.vote_status(steady_us),
            rtc: self.chip.state(agreed_us),
            rtc_battery: self.chip.battery(),
            rtc_drift_ppb: self.chip.drift().filter(RtcDrift::is_settled).map(|drift| drift.rate_ppb),
            floor_us: u64::try_from(self.floor_us).unwrap_or_default(),
            asks_owner_us: self.candidate_us(steady_us),
        }
    }

    /// Tells how the votes stand; `None` while nobody has voted.
    fn vote_status(&self, steady_us: i64) -> Option<VoteStatus> {
        let (votes, awaited) = self.votes(steady_us);
        let tally = Tally::of(&votes, awaited);
        let count = |operators: usize| u64::try_from(operators).unwrap_or(u64::MAX);
        (!votes.is_empty()).then(|| VoteStatus {
            agreeing: count(tally.agreeing),
            voters: count(tally.voters),
            needed: count(tally.needed()),
        })
    }
}
