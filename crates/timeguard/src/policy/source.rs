//! One time server: what it said lately, and when to ask it again.

use std::collections::VecDeque;

use control::status::SourceState;
use platform::time::drift_us;

use super::timeline::OSCILLATOR_PPB;
use super::vote::Interval;
use super::{Kiss, Leap, Moment, Sample, Server};

/// Answers that are remembered per server; the tightest counts. At 64 s apart, eight are as old as drift allows.
const READINGS_MAX: usize = 8;

/// Questions in a row at the start, 2 s apart: a short round trip is among them, and no server minds four.
const BURST: u32 = 4;

/// Nanoseconds between the questions of a burst. 2 s: many servers drop what follows a question sooner (ntpd's
/// `discard minimum`).
const BURST_GAP_NS: u64 = 2 * SECOND_NS;

/// Lost answers in a row after which a server has no vote.
const MISSES_MAX: u32 = 3;

/// Wait after the first lost answer, nanoseconds; it doubles with each further one. 1 s: a box whose servers start a
/// moment after it is still trusted in 3 s.
const RETRY_MIN_NS: u64 = SECOND_NS;

/// Longest wait after lost answers, nanoseconds. It must stay short: the network may come back at any moment.
const RETRY_MAX_NS: u64 = 64 * SECOND_NS;

/// Age at which an answer no longer votes, microseconds: 10 min, some nine polls.
const READING_LIFE_US: u64 = 600_000_000;

/// Widest answer that may vote (half its interval), microseconds. 2 s: wider ones overlap everything.
const ERROR_MAX_US: u64 = 2_000_000;

/// An answer that has not come after this is lost, nanoseconds, should the driver forget to say so.
const ANSWER_MAX_NS: u64 = 10 * SECOND_NS;

/// Longest poll that a server can ask for by RATE, seconds.
const POLL_MAX_S: u64 = 1_024;

const SECOND_NS: u64 = 1_000_000_000;

/// One answer on the steady time line.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at_us: i64,
    offset_us: i64,
    error_us: u64,
    leap: Leap,
}

impl Reading {
    fn error_at(&self, steady_us: i64) -> u64 {
        let aged_ns = steady_us.abs_diff(self.at_us).saturating_mul(1_000);
        self.error_us.saturating_add(drift_us(aged_ns, OSCILLATOR_PPB))
    }

    fn interval_at(&self, steady_us: i64) -> Interval {
        Interval::around(self.offset_us, self.error_at(steady_us))
    }
}

/// A server as the policy sees it.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its number, by which questions and answers name it.
    pub(crate) id: usize,
    pub(crate) server: Server,
    readings: VecDeque<Reading>,
    misses: u32,
    refused: bool,
    /// It asked for fewer questions: it gets no bursts any more.
    slowed: bool,
    answered: bool,
    burst_left: u32,
    poll_s: u64,
    next_ns: u64,
    /// When the question under way was asked.
    asked_ns: Option<u64>,
    /// When it was last asked afresh.
    hurried_ns: Option<u64>,
}

impl Source {
    pub(crate) fn new(id: usize, server: Server, poll_s: u64) -> Self {
        Self {
            id,
            server,
            readings: VecDeque::new(),
            misses: 0,
            refused: false,
            slowed: false,
            answered: false,
            burst_left: BURST,
            poll_s,
            next_ns: 0,
            asked_ns: None,
            hurried_ns: None,
        }
    }

    /// Tells whether to ask now, and notes that it is asked.
    pub(crate) fn is_due(&mut self, boottime_ns: u64) -> bool {
        if self.asked_ns.is_some_and(|asked_ns| boottime_ns.saturating_sub(asked_ns) > ANSWER_MAX_NS) {
            self.missed(boottime_ns);
        }
        let due = !self.refused && self.asked_ns.is_none() && boottime_ns >= self.next_ns;
        if due {
            self.asked_ns = Some(boottime_ns);
        }
        due
    }

    /// Takes an answer. What is too wide or says itself that it is not synchronised counts as none.
    pub(crate) fn answered(&mut self, sample: &Sample, steady_us: i64, now: Moment) {
        if sample.leap == Leap::Unsynchronised || sample.error_us > ERROR_MAX_US {
            self.missed(now.boottime_ns);
            return;
        }
        let reading = Reading {
            at_us: steady_us,
            offset_us: sample.unix_us.saturating_sub(steady_us),
            error_us: sample.error_us,
            leap: sample.leap,
        };
        // A server that contradicts itself has changed its mind: only what it says now counts.
        let news = reading.interval_at(steady_us);
        self.readings.retain(|old| {
            let old = old.interval_at(steady_us);
            old.lo <= news.hi && news.lo <= old.hi
        });
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
        self.asked_ns = None;
        self.misses = 0;
        self.answered = true;
        let wait_ns = if self.burst_left > 0 { BURST_GAP_NS } else { self.poll_s.saturating_mul(SECOND_NS) };
        self.burst_left = self.burst_left.saturating_sub(1);
        self.next_ns = now.boottime_ns.saturating_add(wait_ns);
    }

    /// Notes a lost answer; the next question waits longer each time.
    pub(crate) fn missed(&mut self, boottime_ns: u64) {
        self.asked_ns = None;
        self.misses = self.misses.saturating_add(1);
        let doublings = self.misses.saturating_sub(1).min(10);
        let wait_ns = RETRY_MIN_NS.saturating_mul(1 << doublings).min(RETRY_MAX_NS);
        self.next_ns = boottime_ns.saturating_add(wait_ns);
        if self.misses >= MISSES_MAX {
            self.readings.clear();
        }
    }

    /// Obeys a kiss-o'-death (RFC 5905 section 7.4).
    pub(crate) fn kissed(&mut self, kiss: Kiss, boottime_ns: u64) {
        self.asked_ns = None;
        self.burst_left = 0;
        match kiss {
            Kiss::Leave => {
                self.refused = true;
                self.readings.clear();
            }
            Kiss::Slower => {
                self.slowed = true;
                self.poll_s = self.poll_s.max(32).saturating_mul(2).min(POLL_MAX_S);
                self.next_ns = boottime_ns.saturating_add(self.poll_s.saturating_mul(SECOND_NS));
            }
        }
    }

    /// Asks afresh at once, since the network changed. The question under way, which the old network may have swallowed,
    /// is not waited for.
    ///
    /// A server that told us to leave stays left, and one that asked for fewer questions gets none before its time. When
    /// the network's coming is told twice, the second question keeps its distance from the first.
    pub(crate) fn hurry(&mut self, boottime_ns: u64) {
        self.misses = 0;
        if self.slowed {
            return;
        }
        self.asked_ns = None;
        self.burst_left = BURST;
        self.next_ns = match self.hurried_ns {
            // It is to be asked already.
            Some(hurried_ns) if hurried_ns > boottime_ns => hurried_ns,
            Some(hurried_ns) => boottime_ns.max(hurried_ns.saturating_add(BURST_GAP_NS)),
            None => boottime_ns,
        };
        self.hurried_ns = Some(self.next_ns);
    }

    /// Forgets what it said, and asks afresh.
    pub(crate) fn forget(&mut self, boottime_ns: u64) {
        self.readings.clear();
        self.hurry(boottime_ns);
    }

    /// Gives the tightest interval that still counts.
    pub(crate) fn interval(&self, steady_us: i64) -> Option<Interval> {
        self.tightest(steady_us).map(|reading| reading.interval_at(steady_us))
    }

    /// Tells whether it has no vote yet and may have one in a moment.
    pub(crate) fn is_awaited(&self) -> bool {
        self.readings.is_empty() && self.misses == 0 && !self.refused && !self.slowed
    }

    /// Gives the leap warning of its newest answer.
    pub(crate) fn leap(&self) -> Leap {
        self.readings.back().map_or(Leap::None, |reading| reading.leap)
    }

    /// Gives its offset (UTC minus steady time) and error for a page.
    pub(crate) fn view(&self, steady_us: i64) -> Option<(i64, u64)> {
        self.tightest(steady_us).map(|reading| (reading.offset_us, reading.error_at(steady_us)))
    }

    /// Says how it stands to an agreed offset.
    pub(crate) fn state(&self, steady_us: i64, agreed_us: Option<i64>) -> SourceState {
        if self.refused {
            return SourceState::Refuses;
        }
        match (self.interval(steady_us), agreed_us) {
            (Some(interval), Some(agreed)) if interval.lo <= agreed && agreed <= interval.hi => {
                SourceState::Agrees
            }
            (Some(_), Some(_)) => SourceState::Disagrees,
            (Some(_), None) => SourceState::Unasked,
            (None, _) if self.answered || self.misses > 0 => SourceState::Silent,
            (None, _) => SourceState::Unasked,
        }
    }

    fn tightest(&self, steady_us: i64) -> Option<&Reading> {
        self.readings
            .iter()
            .filter(|reading| steady_us.abs_diff(reading.at_us) <= READING_LIFE_US)
            .min_by_key(|reading| reading.error_at(steady_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source::new(0, Server { name: "a.test".to_owned(), operator: "a".to_owned() }, 64)
    }

    fn at(second: u64) -> Moment {
        Moment { boottime_ns: second * SECOND_NS, realtime_us: 0 }
    }

    fn sample(second: i64, off_us: i64, error_us: u64) -> Sample {
        Sample { boottime_ns: 0, unix_us: second * 1_000_000 + off_us, error_us, leap: Leap::None }
    }

    fn answer(source: &mut Source, second: u64, off_us: i64, error_us: u64) {
        let steady_us = i64::try_from(second).unwrap() * 1_000_000;
        let sample = sample(i64::try_from(second).unwrap(), off_us, error_us);
        source.answered(&sample, steady_us, at(second));
    }

    #[test]
    fn a_burst_is_followed_by_the_poll() {
        let mut source = source();
        let asked: Vec<u64> = (0..200)
            .filter(|second| {
                let due = source.is_due(second * SECOND_NS);
                if due {
                    answer(&mut source, *second, 0, 10);
                }
                due
            })
            .collect();
        assert_eq!(asked, [0, 2, 4, 6, 8, 72, 136]);
    }

    #[test]
    fn a_silent_server_is_asked_ever_more_rarely_and_loses_its_vote() {
        let mut source = source();
        answer(&mut source, 0, 0, 10);
        let mut asked = Vec::new();
        for second in 1..200 {
            if source.is_due(second * SECOND_NS) {
                asked.push(second);
                source.missed(second * SECOND_NS);
                let steady_us = i64::try_from(second).unwrap() * 1_000_000;
                assert_eq!(source.interval(steady_us).is_none(), asked.len() >= 3);
            }
        }
        assert_eq!(asked, [2, 3, 5, 9, 17, 33, 65, 129, 193]);
        assert_eq!(source.state(0, Some(0)), SourceState::Silent);
    }

    #[test]
    fn a_forgotten_question_is_a_lost_one() {
        let mut source = source();
        assert!(source.is_due(0));
        assert!(!source.is_due(5 * SECOND_NS));
        assert!(!source.is_due(11 * SECOND_NS), "it waits after the loss");
        assert!(source.is_due(12 * SECOND_NS));
    }

    #[test]
    fn a_question_that_the_old_network_swallowed_does_not_hold_up_the_new() {
        let mut source = source();
        assert!(source.is_due(0));
        source.hurry(SECOND_NS);
        assert!(source.is_due(SECOND_NS));
    }

    #[test]
    fn a_network_that_is_announced_twice_is_asked_once_in_two_seconds() {
        let mut source = source();
        source.hurry(10 * SECOND_NS);
        assert!(source.is_due(10 * SECOND_NS));
        source.hurry(11 * SECOND_NS);
        assert!(!source.is_due(11 * SECOND_NS));
        source.hurry(11 * SECOND_NS + 1);
        assert!(source.is_due(12 * SECOND_NS), "and the first is not waited for");
    }

    #[test]
    fn a_server_that_asked_for_fewer_questions_gets_none_for_a_new_network() {
        let mut source = source();
        assert!(source.is_due(0));
        source.kissed(Kiss::Slower, 0);
        source.hurry(5 * SECOND_NS);
        assert!(!source.is_awaited());
        assert!(!source.is_due(127 * SECOND_NS));
        assert!(source.is_due(128 * SECOND_NS));
    }

    #[test]
    fn the_tightest_answer_counts_until_drift_makes_it_wide() {
        let mut source = source();
        answer(&mut source, 0, 0, 1_000);
        answer(&mut source, 2, 300, 5_000);
        assert_eq!(source.interval(2_000_000), Some(Interval { lo: -1_200, hi: 1_200 }));
        answer(&mut source, 60, 300, 5_000);
        assert_eq!(source.interval(60_000_000), Some(Interval { lo: -4_700, hi: 5_300 }));
        assert_eq!(source.interval(700_000_000), None, "old answers do not vote");
    }

    #[test]
    fn a_server_that_contradicts_itself_is_taken_at_its_last_word() {
        let mut source = source();
        answer(&mut source, 0, 0, 10);
        // Wider than what it said before, and yet what counts.
        answer(&mut source, 2, 60_000_000, 5_000);
        assert_eq!(source.interval(2_000_000), Some(Interval { lo: 59_995_000, hi: 60_005_000 }));
    }

    #[test]
    fn a_kiss_of_death_is_obeyed() {
        let mut source = source();
        answer(&mut source, 0, 0, 10);
        source.kissed(Kiss::Slower, 2 * SECOND_NS);
        assert!(!source.is_due(129 * SECOND_NS));
        assert!(source.is_due(130 * SECOND_NS));
        source.kissed(Kiss::Leave, 130 * SECOND_NS);
        source.hurry(131 * SECOND_NS);
        assert!(!source.is_due(100_000 * SECOND_NS));
        assert_eq!(source.interval(130_000_000), None);
        assert_eq!(source.state(0, None), SourceState::Refuses);
    }

    #[test]
    fn what_is_unsynchronised_or_too_wide_does_not_vote() {
        let mut source = source();
        let unsynchronised = Sample { leap: Leap::Unsynchronised, ..sample(0, 0, 10) };
        source.answered(&unsynchronised, 0, at(0));
        answer(&mut source, 4, 0, ERROR_MAX_US + 1);
        assert_eq!(source.interval(4_000_000), None);
    }
}
