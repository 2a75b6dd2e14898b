//! The policy: evidence in, actions out. It does no I/O, reads no clock and owns no task.
//!
//! The states and what each evidence does in each of them stand in `docs/time-guard.md`; `policy/tests.rs` has a
//! case per cell. Forward is the irreversible direction: a rev signed too far ahead stays in the repository, one too
//! far behind is repaired by waiting. So forward steps need more evidence than backward ones.

mod chip;
mod drift;
mod given;
mod leap;
mod looks;
mod source;
mod timeline;
mod types;
mod view;
mod vote;
mod weigh;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;

use control::status::TimeState;
use platform::time::{BootId, TRUST_BOUND_US, VERDICT_LIFE_NS, Verdict};

pub use chip::RtcConfig;
use chip::{Chip, ChipEvidence, ChipNeed};
pub use drift::RtcDrift;
pub use leap::Leap;
use leap::LeapPlan;
use looks::CertificateLooks;
use source::Source;
use timeline::{Estimate, Timeline, to_i64};
pub use timeline::{OSCILLATOR_PPB, SLEW_PPB};
pub use types::{
    Action, CertificateWindow, Config, GIVEN_OPERATOR, Input, Kiss, Moment, Sample, Saved, Server,
};
pub use vote::AGREEING_MIN;
use vote::{Ballot, Vote};
use weigh::{Doubt, Ruling};
pub use weigh::{FAR_OVER_FLOOR_US, OWNER_SLACK_US};

/// Largest bound of an agreement that is called synced, microseconds.
pub const SYNCED_BOUND_US: u64 = 1_000_000;

/// What is off by this much is stepped; less is slewed, microseconds.
///
/// 0.5 s: the kernel slews at 500 ppm, so that more would take over 17 min.
pub const STEP_MIN_US: u64 = 500_000;

/// What is off by less is left alone, microseconds: chasing noise would bend the clock without end.
pub const SLEW_MIN_US: u64 = 10_000;

/// How far CLOCK_REALTIME may be from the estimate before somebody else must have set it, microseconds. As readers
/// have it.
const FOREIGN_MIN_US: u64 = platform::time::REALTIME_SLACK_US;

/// Nanoseconds between verdicts when nothing changes: a sixth of their life.
const PUBLISH_NS: u64 = 5_000_000_000;

/// Microseconds of trusted time between saves of the floor: 6 h. Each costs the disk 20 KB with the journal.
const SAVE_US: i64 = 6 * 3_600_000_000;

/// Microseconds between looks at the chip while it is needed: 10 min.
const CHIP_READ_NS: u64 = 600_000_000_000;

/// How long the chip alone is not trusted after the start, nanoseconds: 3 s, in which servers that are reachable can
/// contradict it before anything is signed with a chip that somebody has set wrongly.
const CHIP_HOLD_NS: u64 = 3_000_000_000;

/// How long servers wait for the chip's first word, nanoseconds. 2 s: reading on a second's edge takes 1 s, and a chip
/// that does not answer must leave time for trust within 3 s.
const CHIP_WAIT_NS: u64 = 2_000_000_000;

/// Where the estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// From the chip alone.
    Chip,
    /// From a majority of servers in this boot.
    Majority,
}

/// Since when something has held without a break.
#[derive(Clone, Copy, Debug)]
struct Since {
    boottime_ns: u64,
    offset_us: i64,
}

/// The guard.
#[derive(Debug)]
pub struct Guard {
    boot_id: BootId,
    config: Config,
    started_ns: u64,
    state: TimeState,
    timeline: Timeline,
    estimate: Option<(Origin, Estimate)>,
    sources: Vec<Source>,
    /// The number that the next server gets; none is used twice, so that a late answer is not taken for another's.
    next_server: usize,
    chip: Chip,
    leap: LeapPlan,
    floor_us: i64,
    /// The last vote, for the pages.
    ballot: Option<Ballot>,
    doubt: Doubt,
    /// Somebody else set CLOCK_REALTIME, and nobody has said yet who is right.
    foreign_hand: bool,
    three_quarters_since: Option<Since>,
    unanimous_since: Option<Since>,
    certificates: CertificateLooks,
    accepted_us: Option<i64>,
    chip_asked_ns: Option<u64>,
    saved_us: Option<i64>,
    generation: u64,
    published: Option<(u64, Estimate)>,
    refused: Option<String>,
}

impl Guard {
    /// Starts in `Unknown`: nothing is trusted before evidence has come.
    #[must_use]
    pub fn new(config: Config, boot_id: BootId, now: Moment) -> Self {
        let poll_s = config.poll_s.max(16);
        let source = |(id, server): (usize, &Server)| Source::new(id, server.clone(), poll_s);
        let sources: Vec<Source> = config.servers.iter().enumerate().map(source).collect();
        let floor_us = to_i64(config.saved.floor_us.max(config.build_us));
        let chip = Chip::new(config.rtc, config.build_us, &config.saved, boot_id);
        Self {
            boot_id,
            config,
            started_ns: now.boottime_ns,
            state: TimeState::Unknown,
            timeline: Timeline::default(),
            estimate: None,
            next_server: sources.len(),
            sources,
            chip,
            leap: LeapPlan::default(),
            floor_us,
            ballot: None,
            doubt: Doubt::NoAnswers,
            foreign_hand: false,
            three_quarters_since: None,
            unanimous_since: None,
            certificates: CertificateLooks::default(),
            accepted_us: None,
            chip_asked_ns: None,
            saved_us: None,
            generation: 0,
            published: None,
            refused: None,
        }
    }

    /// Gives the state.
    #[must_use]
    pub fn state(&self) -> TimeState {
        self.state
    }

    /// Takes one piece of evidence and says what to do.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.notice_foreign_hand(now, &mut actions);
        match input {
            Input::Tick => self.pass_leap(now),
            Input::Sample(id, sample) => {
                let steady_us = self.timeline.steady_us(sample.boottime_ns);
                if let Some(source) = self.source(id) {
                    source.answered(&sample, steady_us, now);
                }
            }
            Input::Silent(id) => {
                if let Some(source) = self.source(id) {
                    source.missed(now.boottime_ns);
                }
            }
            Input::Kiss(id, kiss) => {
                if let Some(source) = self.source(id) {
                    source.kissed(kiss, now.boottime_ns);
                }
            }
            Input::Chip(reading) => self.chip_was_read(reading, now),
            Input::ChipSet(set_us) => self.chip_was_set(set_us, now, &mut actions),
            Input::Certificates(window) => self.certificates.came(window, now),
            Input::OwnerAccepts(unix_us) => self.accepted_us = Some(to_i64(unix_us)),
            Input::NetworkUp => {
                for source in &mut self.sources {
                    source.hurry(now.boottime_ns);
                }
                self.certificates.hurry();
            }
            Input::StepFailed => self.config.may_set_clock = false,
        }
        self.decide(now, &mut actions);
        self.ask(now, &mut actions);
        self.discipline(now, &mut actions);
        self.speak(now, &mut actions);
        // After the verdict: the chip is set by it.
        self.keep(now, &mut actions);
        actions
    }

    /// Moves the estimate over a leap second that a majority announced.
    fn pass_leap(&mut self, now: Moment) {
        let steady_us = self.steady_us(now);
        if let Some((_, estimate)) = &mut self.estimate
            && let Some(shift_us) = self.leap.passes(estimate.unix_us(steady_us))
        {
            // Whether the servers leapt as they had announced is not known yet: the bound takes the second in.
            estimate.bound_us = estimate.bound_at(steady_us).saturating_add(shift_us.unsigned_abs());
            estimate.offset_us = estimate.offset_us.saturating_add(shift_us);
            estimate.at_us = steady_us;
            self.forget_answers(now);
        }
    }

    /// Stops trusting when somebody else has set CLOCK_REALTIME, and asks all who may know.
    fn notice_foreign_hand(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let off_us = self.foreign_us(now);
        if off_us == 0 || !self.config.may_set_clock {
            return;
        }
        self.state = TimeState::Suspect;
        self.doubt = Doubt::ForeignHand { off_us };
        self.foreign_hand = true;
        self.forget_answers(now);
        // The chip is asked too: it may say who is right when no server answers.
        if self.chip.is_present() {
            self.chip_asked_ns = Some(now.boottime_ns);
            actions.push(Action::ReadChip);
        }
    }

    /// Gives how far CLOCK_REALTIME is from the trusted estimate when that is too far; 0 otherwise.
    fn foreign_us(&self, now: Moment) -> i64 {
        let Some((_, estimate)) = &self.estimate else { return 0 };
        if self.state == TimeState::Suspect || self.published.is_none() {
            return 0;
        }
        let steady_us = self.steady_us(now);
        let off_us = now.realtime_us.saturating_sub(estimate.unix_us(steady_us));
        let most_us = estimate.bound_at(steady_us).max(FOREIGN_MIN_US);
        if off_us.unsigned_abs() > most_us { off_us } else { 0 }
    }

    fn forget_answers(&mut self, now: Moment) {
        for source in &mut self.sources {
            source.forget(now.boottime_ns);
        }
        self.unanimous_since = None;
        self.three_quarters_since = None;
    }

    fn chip_was_read(&mut self, reading: Option<platform::RtcReading>, now: Moment) {
        let steady_us = self.steady_us(now);
        let read_at_us = reading.map_or(steady_us, |reading| self.timeline.steady_us(reading.boottime_ns));
        let ChipEvidence::Sane(says) = self.chip.judge(reading, read_at_us, self.floor_us) else { return };
        match (self.state, &self.estimate) {
            (TimeState::Unknown, None) => {
                self.estimate = Some((Origin::Chip, says));
                self.state = TimeState::Rtc;
            }
            // A chip that jumps while it is leant on was set by a foreign hand: the extrapolation stays.
            (TimeState::Rtc, Some((_, estimate))) if says.overlaps(estimate, steady_us) => {
                self.estimate = Some((Origin::Chip, says));
            }
            // A foreign hand set the clock, and the chip says that our extrapolation is right.
            (TimeState::Suspect, Some((origin, estimate))) if self.foreign_hand => {
                if says.overlaps(estimate, steady_us) {
                    self.foreign_hand = false;
                    self.state = match origin {
                        Origin::Chip => TimeState::Rtc,
                        Origin::Majority => TimeState::Holdover,
                    };
                }
            }
            // The chip drifts slower than the processor's crystal: a long holdover leans on it.
            (TimeState::Holdover, Some((Origin::Majority, estimate)))
                if says.overlaps(estimate, steady_us)
                    && says.bound_at(steady_us) < estimate.bound_at(steady_us) =>
            {
                self.estimate = Some((Origin::Majority, says));
            }
            (
                TimeState::Unknown
                | TimeState::Rtc
                | TimeState::Synced
                | TimeState::Suspect
                | TimeState::Holdover,
                _,
            ) => {}
        }
    }

    fn chip_was_set(&mut self, set_us: Option<i64>, now: Moment, actions: &mut Vec<Action>) {
        self.chip.was_set(set_us);
        if let Some(set_us) = set_us {
            self.config.saved.rtc_set_us = u64::try_from(set_us).ok();
            self.config.saved.rtc_set_boot = Some(self.boot_id);
            self.config.saved.rtc_drift = self.chip.drift();
            // The floor goes with it: one write the fewer.
            self.raise_floor(now);
            actions.push(Action::Save(self.config.saved));
        }
    }

    /// Takes the trusted time as the floor. Only a majority may raise it: a chip that is ahead would shut the honest out for
    /// ever.
    fn raise_floor(&mut self, now: Moment) {
        let Some(estimate) = self.trusted_estimate(now).filter(|_| self.state == TimeState::Synced) else {
            return;
        };
        let steady_us = self.steady_us(now);
        let unix_us = estimate.unix_us(steady_us);
        self.saved_us = Some(unix_us);
        self.floor_us = unix_us.saturating_sub_unsigned(estimate.bound_at(steady_us)).max(self.floor_us);
        self.config.saved.floor_us = u64::try_from(self.floor_us).unwrap_or_default();
    }

    /// Counts the votes and acts on them.
    fn decide(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let waited_ns = now.boottime_ns.saturating_sub(self.started_ns);
        if self.chip.is_awaited() && waited_ns < CHIP_WAIT_NS {
            return;
        }
        let steady_us = self.steady_us(now);
        let (votes, awaited) = self.votes(steady_us);
        self.ballot = vote::count(&votes, awaited);
        self.track(now);
        let Some(ballot) = self.ballot else {
            if self.state == TimeState::Synced {
                self.state = TimeState::Holdover;
            }
            if self.state != TimeState::Suspect {
                self.doubt = self.doubt_about_votes(steady_us);
            }
            return;
        };
        match self.weigh(&ballot, now) {
            Ruling::Accept => self.accept(&ballot, steady_us),
            Ruling::Wait(doubt) => {
                self.state = match self.state {
                    TimeState::Rtc | TimeState::Suspect => TimeState::Suspect,
                    TimeState::Synced | TimeState::Holdover => TimeState::Holdover,
                    TimeState::Unknown => TimeState::Unknown,
                };
                self.doubt = doubt;
                if self.certificates.is_due(now) {
                    actions.push(Action::FetchCertificates);
                }
            }
            Ruling::Refuted(doubt) => {
                self.state = match self.state {
                    TimeState::Suspect if self.foreign_hand => TimeState::Suspect,
                    TimeState::Rtc | TimeState::Suspect => TimeState::Rtc,
                    TimeState::Synced | TimeState::Holdover => TimeState::Holdover,
                    TimeState::Unknown => TimeState::Unknown,
                };
                self.doubt = doubt;
            }
        }
    }

    /// Gives the votes of the operators that have an answer, and how many others may have one in a moment.
    fn votes(&self, steady_us: i64) -> (Vec<Vote>, usize) {
        let mut operators: Vec<&str> = Vec::new();
        for source in &self.sources {
            if !operators.contains(&source.server.operator.as_str()) {
                operators.push(&source.server.operator);
            }
        }
        let (mut votes, mut awaited) = (Vec::new(), 0);
        for operator in operators {
            let servers = || self.sources.iter().filter(|source| source.server.operator == operator);
            match Vote::of_servers(servers().filter_map(|source| source.interval(steady_us))) {
                Some(vote) => votes.push(vote),
                None => awaited += usize::from(servers().any(Source::is_awaited)),
            }
        }
        (votes, awaited)
    }

    /// Takes the agreed time.
    fn accept(&mut self, ballot: &Ballot, steady_us: i64) {
        let fresh = Estimate { at_us: steady_us, offset_us: ballot.offset_us, bound_us: ballot.bound_us };
        // An older estimate with a tighter bound stays while the new one does not contradict it: the time that is
        // told then does not wander with each answer.
        let keeps = self.estimate.is_some_and(|(origin, old)| {
            let old_bound_us = old.bound_at(steady_us);
            let apart_us = old.offset_us.abs_diff(fresh.offset_us);
            origin == Origin::Majority && old_bound_us <= fresh.bound_us && apart_us <= fresh.bound_us
        });
        if !keeps {
            self.estimate = Some((Origin::Majority, fresh));
        }
        let bound_us = self.estimate.map_or(u64::MAX, |(_, estimate)| estimate.bound_at(steady_us));
        self.state = if bound_us <= SYNCED_BOUND_US { TimeState::Synced } else { TimeState::Holdover };
        self.doubt = if self.state == TimeState::Synced { Doubt::Nothing } else { Doubt::Vague };
        self.accepted_us = None;
        self.foreign_hand = false;
        self.plan_leap(ballot, steady_us);
    }

    fn plan_leap(&mut self, ballot: &Ballot, steady_us: i64) {
        let agreeing = self.sources.iter().filter(|source| {
            source.interval(steady_us).is_some_and(|interval| Vote::For(interval).is_for(ballot.offset_us))
        });
        self.leap.hear(agreeing.map(Source::leap), steady_us.saturating_add(ballot.offset_us));
    }

    /// Asks whom it is time to ask.
    fn ask(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for source in &mut self.sources {
            if source.is_due(now.boottime_ns) {
                actions.push(Action::Query(source.id));
            }
        }
        let needed = matches!(self.state, TimeState::Rtc | TimeState::Holdover);
        let due = match self.chip_asked_ns {
            None => true,
            Some(asked_ns) => needed && now.boottime_ns.saturating_sub(asked_ns) >= CHIP_READ_NS,
        };
        if self.chip.is_present() && due {
            self.chip_asked_ns = Some(now.boottime_ns);
            actions.push(Action::ReadChip);
        }
    }

    /// Brings the kernel's clock to the estimate.
    fn discipline(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(estimate) = self.trusted_estimate(now) else { return };
        let steady_us = self.steady_us(now);
        let unix_us = estimate.unix_us(steady_us);
        let off_us = now.realtime_us.saturating_sub(unix_us);
        if self.config.may_set_clock && off_us.unsigned_abs() >= STEP_MIN_US {
            if self.timeline.is_slewing(now.boottime_ns) {
                self.timeline.begin_slew(now.boottime_ns, 0);
                actions.push(Action::Slew(0));
            }
            actions.push(Action::Step(off_us.saturating_neg()));
        } else if self.config.may_set_clock
            && off_us.unsigned_abs() > SLEW_MIN_US
            && !self.timeline.is_slewing(now.boottime_ns)
        {
            self.timeline.begin_slew(now.boottime_ns, off_us.saturating_neg());
            actions.push(Action::Slew(off_us.saturating_neg()));
        }
    }

    /// Keeps floor and chip, both by a majority alone.
    fn keep(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(estimate) = self.trusted_estimate(now).filter(|_| self.state == TimeState::Synced) else {
            return;
        };
        let steady_us = self.steady_us(now);
        let unix_us = estimate.unix_us(steady_us);
        match self.chip.needs(&estimate, steady_us) {
            ChipNeed::Nothing => {}
            ChipNeed::Reading => {
                self.chip_asked_ns = Some(now.boottime_ns);
                actions.push(Action::ReadChip);
            }
            ChipNeed::Setting => actions.push(Action::SetChip),
        }
        if self.saved_us.is_none_or(|saved_us| unix_us.saturating_sub(saved_us) >= SAVE_US) {
            self.raise_floor(now);
            actions.push(Action::Save(self.config.saved));
        }
    }

    /// Publishes or refuses when something changed, or when it is time to renew.
    fn speak(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(estimate) = self.trusted_estimate(now) else {
            let why = self.why_untrusted(now);
            if self.refused.as_ref() != Some(&why) {
                actions.push(Action::Refuse(why.clone()));
            }
            self.refused = Some(why);
            self.published = None;
            return;
        };
        let renew = self.published.is_none_or(|(at_ns, last)| {
            last != estimate || now.boottime_ns.saturating_sub(at_ns) >= PUBLISH_NS
        });
        let slews = actions.iter().any(|action| matches!(action, Action::Slew(_)));
        if !renew && !slews {
            return;
        }
        let steady_us = self.steady_us(now);
        let Ok(unix_us_at_boottime) = u64::try_from(estimate.unix_us(steady_us)) else { return };
        self.generation += 1;
        self.published = Some((now.boottime_ns, estimate));
        self.refused = None;
        let leap_us = self.leap.margin_us(estimate.unix_us(steady_us));
        let slewing = self.timeline.is_slewing(now.boottime_ns);
        actions.push(Action::Publish(Verdict {
            boot_id: self.boot_id,
            boottime_ns: now.boottime_ns,
            unix_us_at_boottime,
            error_bound_us: estimate.bound_at(steady_us).saturating_add(leap_us),
            rate_ppb: OSCILLATOR_PPB + if slewing { SLEW_PPB } else { 0 },
            generation: self.generation,
            valid_until_boottime_ns: now.boottime_ns.saturating_add(VERDICT_LIFE_NS),
        }));
    }

    /// Gives the estimate when it may be signed with.
    fn trusted_estimate(&self, now: Moment) -> Option<Estimate> {
        let (_, estimate) = self.estimate?;
        let trusted_state = match self.state {
            TimeState::Synced | TimeState::Holdover => true,
            TimeState::Rtc => now.boottime_ns.saturating_sub(self.started_ns) >= CHIP_HOLD_NS,
            TimeState::Unknown | TimeState::Suspect => false,
        };
        (trusted_state && estimate.bound_at(self.steady_us(now)) <= TRUST_BOUND_US).then_some(estimate)
    }

    fn steady_us(&self, now: Moment) -> i64 {
        self.timeline.steady_us(now.boottime_ns)
    }
}
