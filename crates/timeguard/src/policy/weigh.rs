//! The rules: may what the servers agree on replace what is believed?

use control::status::{SourceState, TimeState};
use platform::time::TRUST_BOUND_US;

use super::timeline::{Estimate, to_i64};
use super::vote::{AGREEING_MIN, Ballot};
use super::{Guard, Moment, Origin, Since};

/// Within this much of what is believed a plain majority suffices, microseconds: 5 min, a relay's own tolerance.
pub(super) const NEAR_US: u64 = 300_000_000;

/// A chip may widen "near" by its own bound up to this, microseconds: a day, a decade of a bad crystal.
const NEAR_MAX_US: u64 = 86_400_000_000;

/// Further above the floor than this, servers alone do not suffice, microseconds: 30 days.
pub const FAR_OVER_FLOOR_US: i64 = 30 * 86_400_000_000;

/// How far under the floor is still believed, microseconds: what a trusted time could have been wrong by.
const UNDER_FLOOR_US: i64 = 5_000_000;

/// How long three of four must agree to turn a clock back by more than 5 min, nanoseconds.
pub(super) const BACK_AFTER_NS: u64 = 30_000_000_000;

/// How long four of four must agree to turn it forward against a chip or an earlier majority, nanoseconds: 15 min.
pub(super) const FORWARD_AFTER_NS: u64 = 900_000_000_000;

/// How far an agreement may wander and still count as the same, microseconds.
const SAME_US: u64 = 2_000_000;

/// How far the owner's confirmation may be from the candidate, microseconds: the minutes that reading and pressing
/// take.
pub const OWNER_SLACK_US: u64 = 600_000_000;

/// What the rules say about a won vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It becomes the time.
    Accept,
    /// Not on this evidence; what is believed stays, if it may.
    Wait(Doubt),
    /// It is certainly wrong.
    Refuted(Doubt),
}

/// Why the time is not trusted, or not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Nothing,
    /// No server has answered.
    NoAnswers,
    /// Fewer operators than three answer.
    TooFew {
        operators: usize,
    },
    /// They answer and do not agree.
    NoMajority,
    /// They agree on a time before the floor.
    UnderFloor,
    /// They agree on a time far ahead, and three of four are not for it.
    NeedsThreeOfFour,
    /// They agree on a time further ahead than servers alone may say.
    NeedsOtherEvidence,
    /// They contradict the chip.
    AgainstChip {
        apart_us: i64,
    },
    /// They contradict what they said before.
    AgainstBefore {
        apart_us: i64,
    },
    /// Certificates say that the servers are wrong.
    AgainstCertificates,
    /// Somebody else set the clock.
    ForeignHand {
        off_us: i64,
    },
    /// They agree, but so roughly that it is not called synced.
    Vague,
}

impl Guard {
    /// Weighs a won vote against what is believed.
    pub(super) fn weigh(&self, ballot: &Ballot, now: Moment) -> Ruling {
        let steady_us = self.steady_us(now);
        let unix_us = steady_us.saturating_add(ballot.offset_us);
        let latest_us = unix_us.saturating_add_unsigned(ballot.bound_us).saturating_add(UNDER_FLOOR_US);
        if latest_us < self.floor_us {
            return Ruling::Refuted(Doubt::UnderFloor);
        }
        match &self.estimate {
            None => self.weigh_against_floor(ballot, unix_us, now),
            Some((origin, estimate)) => self.weigh_against(*origin, estimate, ballot, now),
        }
    }

    /// Nothing but the floor is known.
    fn weigh_against_floor(&self, ballot: &Ballot, unix_us: i64, now: Moment) -> Ruling {
        let over_us = unix_us.saturating_sub(self.floor_us);
        if over_us <= to_i64(NEAR_US) {
            return Ruling::Accept;
        }
        if self.owner_accepts(unix_us) {
            return Ruling::Accept;
        }
        if !ballot.is_three_quarters() {
            return Ruling::Wait(Doubt::NeedsThreeOfFour);
        }
        match self.certificates.allow(unix_us, now) {
            Some(false) => Ruling::Refuted(Doubt::AgainstCertificates),
            Some(true) => Ruling::Accept,
            None if over_us <= FAR_OVER_FLOOR_US => Ruling::Accept,
            None => Ruling::Wait(Doubt::NeedsOtherEvidence),
        }
    }

    /// A chip or an earlier majority has given a time.
    fn weigh_against(&self, origin: Origin, estimate: &Estimate, ballot: &Ballot, now: Moment) -> Ruling {
        let steady_us = self.steady_us(now);
        let apart_us = ballot.offset_us.saturating_sub(estimate.offset_us);
        let near_us = NEAR_US.max(estimate.bound_at(steady_us).min(NEAR_MAX_US));
        let far_forward = apart_us > to_i64(NEAR_US);
        if apart_us.unsigned_abs() <= near_us && (!far_forward || ballot.is_three_quarters()) {
            return Ruling::Accept;
        }
        let unix_us = steady_us.saturating_add(ballot.offset_us);
        if self.owner_accepts(unix_us) {
            return Ruling::Accept;
        }
        let doubt = match origin {
            Origin::Chip => Doubt::AgainstChip { apart_us },
            Origin::Majority => Doubt::AgainstBefore { apart_us },
        };
        let allowed = self.certificates.allow(unix_us, now);
        let believed_allowed = self.certificates.allow(estimate.unix_us(steady_us), now);
        if allowed == Some(false) {
            return Ruling::Refuted(Doubt::AgainstCertificates);
        }
        // Certificates that rule out what is believed, and not what three of four say, decide at once.
        if believed_allowed == Some(false) && ballot.is_three_quarters() {
            return Ruling::Accept;
        }
        if origin == Origin::Chip && apart_us < 0 && held(self.three_quarters_since, BACK_AFTER_NS, now) {
            return Ruling::Accept;
        }
        let over_us = unix_us.saturating_sub(self.floor_us);
        let far = over_us > FAR_OVER_FLOOR_US && allowed != Some(true);
        if held(self.unanimous_since, FORWARD_AFTER_NS, now) && !far {
            return Ruling::Accept;
        }
        Ruling::Wait(doubt)
    }

    fn owner_accepts(&self, unix_us: i64) -> bool {
        self.accepted_us.is_some_and(|accepted_us| unix_us.abs_diff(accepted_us) <= OWNER_SLACK_US)
    }

    /// Notes since when three of four, and four of four, have agreed on the same time.
    pub(super) fn track(&mut self, now: Moment) {
        let (three_quarters, unanimous) = match &self.ballot {
            Some(ballot) => (
                ballot.is_three_quarters().then_some(ballot.offset_us),
                ballot.is_unanimous().then_some(ballot.offset_us),
            ),
            None => (None, None),
        };
        self.three_quarters_since = continued(self.three_quarters_since, three_quarters, now);
        self.unanimous_since = continued(self.unanimous_since, unanimous, now);
    }

    /// Says why there is no majority.
    pub(super) fn doubt_about_votes(&self, steady_us: i64) -> Doubt {
        let (votes, awaited) = self.votes(steady_us);
        match votes.len() {
            0 => Doubt::NoAnswers,
            // The first answers never come at once: nothing is wrong yet.
            few if few < AGREEING_MIN && few + awaited >= AGREEING_MIN => Doubt::NoAnswers,
            operators if operators < AGREEING_MIN => Doubt::TooFew { operators },
            _ => Doubt::NoMajority,
        }
    }

    /// Gives the time that the owner may confirm, UTC microseconds.
    pub(super) fn candidate_us(&self, steady_us: i64) -> Option<u64> {
        let asks = matches!(
            self.doubt,
            Doubt::NeedsThreeOfFour
                | Doubt::NeedsOtherEvidence
                | Doubt::AgainstChip { .. }
                | Doubt::AgainstBefore { .. }
        );
        let ballot = self.ballot.filter(|_| asks)?;
        u64::try_from(steady_us.saturating_add(ballot.offset_us)).ok()
    }

    /// Says for the owner why the time is not trusted, and what to do.
    pub(super) fn why_untrusted(&self, now: Moment) -> String {
        let vague_ms = self.estimate.map(|(_, estimate)| estimate.bound_at(self.steady_us(now)) / 1_000);
        match (self.doubt, vague_ms) {
            (Doubt::NoAnswers | Doubt::TooFew { .. }, Some(bound_ms))
                if self.state == TimeState::Rtc && bound_ms <= TRUST_BOUND_US / 1_000 =>
            {
                "The clock chip is compared with time servers for some seconds.".to_owned()
            }
            (Doubt::NoAnswers, _) if self.state == TimeState::Unknown => {
                if self.sources.iter().all(|source| source.state(0, None) != SourceState::Silent) {
                    "Waiting for time servers.".to_owned()
                } else {
                    "No time server answers: check the network.".to_owned()
                }
            }
            (Doubt::TooFew { operators }, _) if self.state == TimeState::Unknown => {
                format!(
                    "Too few time servers answer ({operators}, and {AGREEING_MIN} must agree): check the network."
                )
            }
            (Doubt::NoMajority, _) => {
                "The time servers contradict each other: check the list of servers.".to_owned()
            }
            (Doubt::UnderFloor, _) => {
                "The time servers give a time that has passed already: check the list of servers.".to_owned()
            }
            (Doubt::NeedsThreeOfFour | Doubt::NeedsOtherEvidence, _) => {
                "The time servers give a time far ahead of the last known: if the date on the screen is right, \
                 hold the button."
                    .to_owned()
            }
            (Doubt::AgainstChip { apart_us }, _) => format!(
                "Clock chip and time servers are {} apart: if the date on the screen is right, hold the button.",
                span_text(apart_us)
            ),
            (Doubt::AgainstBefore { apart_us }, _) => format!(
                "The time servers suddenly say {}: if the date on the screen is right, hold the button.",
                shift_text(apart_us)
            ),
            (Doubt::AgainstCertificates, _) => {
                "Certificates on the internet contradict the time servers: check the list of servers.".to_owned()
            }
            (Doubt::ForeignHand { off_us }, _) => format!(
                "Something else set the clock {}; it is checked again with the time servers.",
                shift_text(off_us)
            ),
            (_, Some(bound_ms)) => {
                format!("The clock may be wrong by {bound_ms} ms: connect the box to the network.")
            }
            (_, None) => "The time is not known: connect the box to the network.".to_owned(),
        }
    }
}

fn held(since: Option<Since>, long_ns: u64, now: Moment) -> bool {
    since.is_some_and(|since| now.boottime_ns.saturating_sub(since.boottime_ns) >= long_ns)
}

fn continued(since: Option<Since>, offset_us: Option<i64>, now: Moment) -> Option<Since> {
    let offset_us = offset_us?;
    match since {
        Some(since) if since.offset_us.abs_diff(offset_us) <= SAME_US => Some(since),
        Some(_) | None => Some(Since { boottime_ns: now.boottime_ns, offset_us }),
    }
}

/// Writes a span in its largest fitting unit, such as `12 min`.
fn span_text(span_us: i64) -> String {
    let seconds = span_us.unsigned_abs() / 1_000_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn shift_text(shift_us: i64) -> String {
    format!("{} {}", span_text(shift_us), if shift_us < 0 { "back" } else { "ahead" })
}
