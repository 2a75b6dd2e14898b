//! When a relay is asked what. Decides only: time and answers come in, the next step comes out.
//!
//! Times are nanoseconds of the boot clock, so that a step of the wall clock moves nothing.

/// Pause between two looks at what a relay knows of us, when all is well: four questions an hour.
const LOOK_NS: u64 = 15 * MINUTE_NS;

/// The same while something is wrong.
const LOOK_TROUBLE_NS: u64 = 5 * MINUTE_NS;

/// When a relay that was asked to crawl is looked at: it dials within seconds.
const LOOK_AFTER_CRAWL_NS: u64 = MINUTE_NS;

/// Shortest pause between two requests to crawl because of events or of a relay that does not listen, as the reference.
const CRAWL_NS: u64 = 20 * MINUTE_NS;

/// Longest pause between two requests to crawl: a relay that lost its list of hosts finds a quiet box again.
const CRAWL_QUIET_NS: u64 = 6 * HOUR_NS;

/// Pause after a relay has said that this host is banned: a person has to be written to.
const CRAWL_BANNED_NS: u64 = 24 * HOUR_NS;

/// Pause after a first failure; it doubles up to [`BACKOFF_NS_MAX`].
const BACKOFF_NS: u64 = MINUTE_NS;

/// Longest pause after failures.
const BACKOFF_NS_MAX: u64 = HOUR_NS;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const HOUR_NS: u64 = 60 * MINUTE_NS;

/// What to do with a relay now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask what it knows of us.
    Look,
    /// Ask it to crawl us.
    Crawl,
}

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It listens to us.
    Well,
    /// It does not, and may if it is asked to crawl.
    Deaf,
    /// It does not, and will not by being asked.
    Trouble,
    /// It gave no answer.
    Nothing,
}

/// What became of a request to crawl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It was taken.
    Taken,
    /// The host is banned.
    Banned,
    /// It was refused, or there was no answer.
    Failed,
}

/// The plan for one relay.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    look_ns: u64,
    crawl_ns: u64,
    looks_failed: u32,
    crawls_failed: u32,
    /// When a request to crawl was last taken, and our newest number then.
    crawled: Option<(u64, u64)>,
    deaf: bool,
}

impl Plan {
    /// Both are due at once, the look first: a relay that remembers larger numbers than ours must not be called before
    /// ours have passed them.
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            look_ns: now_ns,
            crawl_ns: now_ns,
            looks_failed: 0,
            crawls_failed: 0,
            crawled: None,
            deaf: false,
        }
    }

    /// The network has come back: relays may have given us up meanwhile.
    pub(super) fn network_is_up(&mut self, now_ns: u64) {
        *self = Self { crawled: None, ..Self::new(now_ns) };
    }

    /// Says what is due. `last_seq` is our newest number.
    pub(super) fn due(&self, now_ns: u64, last_seq: u64) -> Option<Step> {
        if now_ns >= self.look_ns {
            return Some(Step::Look);
        }
        let news = self.crawled.is_some_and(|(at_ns, seq)| {
            (seq != last_seq || self.deaf) && now_ns.saturating_sub(at_ns) >= CRAWL_NS
        });
        (now_ns >= self.crawl_ns || news).then_some(Step::Crawl)
    }

    /// Takes what a look has shown.
    pub(super) fn looked(&mut self, now_ns: u64, seen: Seen) {
        self.deaf = seen == Seen::Deaf;
        self.looks_failed = if seen == Seen::Nothing { self.looks_failed.saturating_add(1) } else { 0 };
        let pause = match seen {
            Seen::Well => LOOK_NS,
            Seen::Deaf | Seen::Trouble => LOOK_TROUBLE_NS,
            Seen::Nothing => backoff(self.looks_failed),
        };
        self.look_ns = now_ns.saturating_add(pause);
    }

    /// Takes what became of a request to crawl.
    pub(super) fn asked(&mut self, now_ns: u64, last_seq: u64, asked: Asked) {
        let pause = match asked {
            Asked::Taken => {
                (self.crawls_failed, self.crawled) = (0, Some((now_ns, last_seq)));
                self.look_ns = self.look_ns.min(now_ns.saturating_add(LOOK_AFTER_CRAWL_NS));
                CRAWL_QUIET_NS
            }
            Asked::Banned => {
                self.crawled = None;
                CRAWL_BANNED_NS
            }
            Asked::Failed => {
                self.crawls_failed = self.crawls_failed.saturating_add(1);
                self.crawled = None;
                backoff(self.crawls_failed)
            }
        };
        self.crawl_ns = now_ns.saturating_add(pause);
    }
}

fn backoff(failures: u32) -> u64 {
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    BACKOFF_NS.saturating_mul(doubled).min(BACKOFF_NS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crawled(now_ns: u64, seq: u64) -> Plan {
        let mut plan = Plan::new(now_ns);
        assert_eq!(plan.due(now_ns, seq), Some(Step::Look), "the look comes first");
        plan.looked(now_ns, Seen::Well);
        assert_eq!(plan.due(now_ns, seq), Some(Step::Crawl));
        plan.asked(now_ns, seq, Asked::Taken);
        assert_eq!(plan.due(now_ns, seq), None);
        plan
    }

    #[test]
    fn asks_at_the_start_then_after_events_but_not_more_often_than_the_reference() {
        let mut plan = crawled(0, 5);
        assert_eq!(plan.due(LOOK_AFTER_CRAWL_NS, 5), Some(Step::Look));
        plan.looked(LOOK_AFTER_CRAWL_NS, Seen::Well);
        let after = LOOK_AFTER_CRAWL_NS + LOOK_NS - 1;
        assert_eq!(plan.due(after, 6), None, "news, but too soon");
        plan.looked(after, Seen::Well);
        assert_eq!(plan.due(CRAWL_NS, 5), None, "no news");
        assert_eq!(plan.due(CRAWL_NS, 6), Some(Step::Crawl));
        plan.look_ns = u64::MAX;
        assert_eq!(plan.due(CRAWL_QUIET_NS, 5), Some(Step::Crawl), "a quiet box shows itself too");
    }

    #[test]
    fn a_relay_that_does_not_listen_is_asked_again() {
        let mut plan = crawled(0, 5);
        plan.looked(CRAWL_NS - 1, Seen::Deaf);
        assert_eq!(plan.due(CRAWL_NS - 1, 5), None);
        assert_eq!(plan.due(CRAWL_NS, 5), Some(Step::Crawl));
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_the_network_ends_the_wait() {
        let mut plan = Plan::new(0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            plan.looked(0, Seen::Nothing);
            plan.asked(0, 1, Asked::Failed);
            assert_eq!(plan.look_ns, plan.crawl_ns);
            pauses.push(plan.crawl_ns / MINUTE_NS);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        plan.network_is_up(7);
        assert_eq!(plan.due(7, 1), Some(Step::Look));
        assert_eq!(backoff(u32::MAX), BACKOFF_NS_MAX);
    }

    #[test]
    fn a_ban_is_not_nagged_about() {
        let mut plan = Plan::new(0);
        plan.looked(0, Seen::Trouble);
        plan.asked(0, 1, Asked::Banned);
        plan.look_ns = u64::MAX;
        assert_eq!(plan.due(CRAWL_BANNED_NS - 1, 99), None);
        assert_eq!(plan.due(CRAWL_BANNED_NS, 99), Some(Step::Crawl));
    }
}
