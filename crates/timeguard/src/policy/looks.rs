//! When to look at certificates, and what they last showed.

use super::{CertificateWindow, Moment};

/// Nanoseconds after which certificates that were had are fetched anew while they are needed: half an hour, half of what
/// they count for. Each look is a connection to every host of the list.
const AGAIN_NS: u64 = 1_800_000_000_000;

/// Wait after the first look in vain, nanoseconds; it doubles up to [`RETRY_MAX_NS`]. 2 s: with the second evidence, trust is
/// to come within 10 s.
const RETRY_NS: u64 = 2_000_000_000;

/// Longest wait between looks in vain, nanoseconds: 10 min, since a network without a way out stays so.
const RETRY_MAX_NS: u64 = 600_000_000_000;

/// Age at which what they showed no longer counts, nanoseconds: an hour.
const LIFE_NS: u64 = 3_600_000_000_000;

/// Looks at certificates.
#[derive(Debug, Default)]
pub(super) struct CertificateLooks {
    seen: Option<(u64, CertificateWindow)>,
    asked_ns: Option<u64>,
    /// Looks in vain since the last that was not.
    failed: u32,
}

impl CertificateLooks {
    /// Takes what came of a look.
    pub(super) fn came(&mut self, window: Option<CertificateWindow>, now: Moment) {
        match window {
            Some(window) => {
                self.seen = Some((now.boottime_ns, window));
                self.failed = 0;
            }
            None => self.failed = self.failed.saturating_add(1),
        }
    }

    /// Allows a look at once: the network is another one.
    pub(super) fn hurry(&mut self) {
        self.asked_ns = None;
        self.failed = 0;
    }

    /// Tells whether to look now, and notes that it is done.
    pub(super) fn is_due(&mut self, now: Moment) -> bool {
        let wait_ns = match self.failed.checked_sub(1) {
            None => AGAIN_NS,
            Some(doublings) => RETRY_NS.saturating_mul(1 << doublings.min(10)).min(RETRY_MAX_NS),
        };
        let due = self.asked_ns.is_none_or(|asked_ns| now.boottime_ns.saturating_sub(asked_ns) >= wait_ns);
        if due {
            self.asked_ns = Some(now.boottime_ns);
        }
        due
    }

    /// Tells whether certificates are valid at a time; `None` when there are none to ask.
    pub(super) fn allow(&self, unix_us: i64, now: Moment) -> Option<bool> {
        let (fetched_ns, window) = self.seen?;
        let fresh = now.boottime_ns.saturating_sub(fetched_ns) <= LIFE_NS;
        fresh.then_some(window.not_before_us <= unix_us && unix_us <= window.not_after_us)
    }
}
