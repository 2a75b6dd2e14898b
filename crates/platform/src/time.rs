//! Time that may be signed with: the verdict of the time guard and the clock that obeys it.
//!
//! A reader computes UTC from CLOCK_BOOTTIME plus the offset in the guard's verdict. It refuses when the verdict
//! has expired, is of another boot, is too vague, or when CLOCK_REALTIME says something else. Whoever signs or
//! checks a token takes a [`TrustedTime`], and only [`Clock::now`] makes one.

mod boot_id;
mod rfc3339;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

pub use boot_id::{BootId, BootIdError};
pub use rfc3339::format_rfc3339_millis;
use serde::{Deserialize, Serialize};

/// Error bound beyond which no time is trusted, microseconds.
///
/// 5 s: service-auth tokens live 60 s and some verifiers allow no leeway at all; a relay refuses a rev more than
/// 5 min ahead. Both stay far away, while a clock chip alone still suffices for weeks.
pub const TRUST_BOUND_US: u64 = 5_000_000;

/// How long a verdict lives without renewal, nanoseconds.
///
/// 30 s: the guard renews every few seconds, so that this many lost renewals mean that it is dead or stuck.
pub const VERDICT_LIFE_NS: u64 = 30_000_000_000;

/// How far CLOCK_REALTIME may always be from the verdict, even when the bound is smaller, microseconds.
///
/// 1 s: the guard slews what is under 0.5 s, which takes up to 17 min; a closer check would refuse meanwhile.
/// Signatures do not use CLOCK_REALTIME: the check finds a foreign process that sets the clock.
pub const REALTIME_SLACK_US: u64 = 1_000_000;

/// Seconds after which a client that was refused should ask again: about two renewals of the guard.
pub const RETRY_AFTER_S: u32 = 10;

/// Time that may be signed with: UTC and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustedTime {
    unix_us: u64,
    bound_us: u64,
}

impl TrustedTime {
    /// Gives UTC, microseconds since 1970.
    #[must_use]
    pub fn unix_micros(self) -> u64 {
        self.unix_us
    }

    /// Gives UTC, whole milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(self) -> u64 {
        self.unix_us / 1_000
    }

    /// Gives UTC, whole seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.unix_us / 1_000_000
    }

    /// Gives the largest error that the guard vouches for, microseconds; never above [`TRUST_BOUND_US`].
    #[must_use]
    pub fn error_bound_us(self) -> u64 {
        self.bound_us
    }

    /// Writes UTC as `2026-11-23T02:34:56.789Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        format_rfc3339_millis(self.unix_us)
    }
}

/// What the time guard says about the clock, good for at most 30 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The boot that it was made in; CLOCK_BOOTTIME of another boot means nothing.
    pub boot_id: BootId,
    /// CLOCK_BOOTTIME of the statement, nanoseconds.
    pub boottime_ns: u64,
    /// UTC at `boottime_ns`, microseconds since 1970.
    pub unix_us_at_boottime: u64,
    /// Largest error of `unix_us_at_boottime`, microseconds.
    pub error_bound_us: u64,
    /// How fast the bound grows afterwards, nanoseconds per second (parts per billion).
    pub rate_ppb: u64,
    /// Counts the verdicts of one guard, upwards; shows a stuck writer.
    pub generation: u64,
    /// CLOCK_BOOTTIME after which nobody may use it, nanoseconds.
    pub valid_until_boottime_ns: u64,
}

impl Verdict {
    /// Gives UTC at a moment of the same boot, microseconds; `None` for a moment before the statement.
    #[must_use]
    pub fn unix_us_at(&self, boottime_ns: u64) -> Option<u64> {
        let elapsed_ns = boottime_ns.checked_sub(self.boottime_ns)?;
        self.unix_us_at_boottime.checked_add(elapsed_ns / 1_000)
    }

    /// Gives the error bound at a moment of the same boot, rounded up, microseconds.
    #[must_use]
    pub fn bound_us_at(&self, boottime_ns: u64) -> u64 {
        let elapsed_ns = boottime_ns.saturating_sub(self.boottime_ns);
        self.error_bound_us.saturating_add(drift_us(elapsed_ns, self.rate_ppb))
    }
}

/// Gives how far a clock may run off in a span at a rate, rounded up, microseconds.
#[must_use]
pub fn drift_us(elapsed_ns: u64, rate_ppb: u64) -> u64 {
    /// Nanoseconds times parts per billion, per microsecond.
    const SCALE: u128 = 1_000_000_000_000;
    let drift = (u128::from(elapsed_ns) * u128::from(rate_ppb)).div_ceil(SCALE);
    u64::try_from(drift).unwrap_or(u64::MAX)
}

/// Why no time is trusted. The text tells an owner what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// The guard has not spoken yet.
    #[error("the clock has not been checked yet; connect the box to the network and wait a minute")]
    NoVerdict,
    /// The guard has been silent for too long.
    #[error("the time guard has been silent for {silent_s} s; it is restarted, wait a minute")]
    Expired {
        /// Seconds since its last word.
        silent_s: u64,
    },
    /// The time is known too roughly.
    #[error("the clock may be wrong by {bound_ms} ms; connect the box to the network so that it can check")]
    BoundTooWide {
        /// The error bound, milliseconds.
        bound_ms: u64,
    },
    /// Somebody set the clock behind the guard's back.
    #[error("the system clock is {} s away from the checked time; something else sets it: stop that program", .off_ms / 1_000)]
    RealtimeDisagrees {
        /// CLOCK_REALTIME minus the verdict, milliseconds.
        off_ms: i64,
    },
    /// The verdict is from before a restart.
    #[error("the clock has not been checked since the restart; wait a minute")]
    OtherBoot,
    /// The guard says that it does not know.
    #[error("{state}")]
    Refused {
        /// The guard's own words.
        state: String,
    },
}

/// Says that nothing may be signed now, and when to ask again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ClockUntrusted {
    /// The reason, in words for an owner.
    pub why: Untrusted,
    /// For the `Retry-After` header, seconds.
    pub retry_after_s: u32,
}

impl From<Untrusted> for ClockUntrusted {
    fn from(why: Untrusted) -> Self {
        Self { why, retry_after_s: RETRY_AFTER_S }
    }
}

/// The kernel's clocks.
pub trait BootClock: Send + Sync + std::fmt::Debug {
    /// Gives CLOCK_BOOTTIME: nanoseconds since boot, sleep included, never set back.
    fn boottime_ns(&self) -> u64;
    /// Gives CLOCK_REALTIME, microseconds since 1970. Anybody may have set it: no basis for a signature.
    fn realtime_us(&self) -> i64;
    /// Names this boot.
    fn boot_id(&self) -> BootId;
}

/// Sets the kernel's clock; only the time guard holds one.
pub trait ClockControl: Send + Sync + std::fmt::Debug {
    /// Sets CLOCK_REALTIME by this much at once, microseconds.
    ///
    /// # Errors
    /// When the system refuses.
    fn step(&self, delta_us: i64) -> Result<(), crate::DeviceError>;

    /// Lets the clock run a little fast or slow until it has moved by this much, microseconds (under 0.5 s).
    /// Replaces a slew that is under way.
    ///
    /// # Errors
    /// When the system refuses.
    fn slew(&self, delta_us: i64) -> Result<(), crate::DeviceError>;

    /// Tells the system how far CLOCK_REALTIME may be off, microseconds; `None`: nobody knows. For other programs that
    /// ask the system, not for our own.
    ///
    /// # Errors
    /// When the system refuses.
    fn vouch(&self, bound_us: Option<u64>) -> Result<(), crate::DeviceError>;
}

/// Where the guard's last verdict is read from.
pub trait VerdictSource: Send + Sync + std::fmt::Debug {
    /// Gives the last verdict, checked for form only.
    fn verdict(&self) -> Option<Verdict>;
    /// Says in the guard's words why there is none.
    fn refusal(&self) -> Option<String>;
}

/// Holds the verdict of a guard in the same process.
#[derive(Debug, Default)]
pub struct VerdictCell {
    inner: Mutex<(Option<Verdict>, Option<String>)>,
}

impl VerdictCell {
    /// Replaces the verdict.
    pub fn publish(&self, verdict: Verdict) {
        *self.lock() = (Some(verdict), None);
    }

    /// Withdraws the verdict, and says why.
    pub fn refuse(&self, why: String) {
        *self.lock() = (None, Some(why));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Verdict>, Option<String>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VerdictSource for VerdictCell {
    fn verdict(&self) -> Option<Verdict> {
        self.lock().0
    }

    fn refusal(&self) -> Option<String> {
        self.lock().1.clone()
    }
}

/// Answers "what time is it" only when the guard vouches for the answer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock {
    boot: Arc<dyn BootClock>,
    source: Arc<dyn VerdictSource>,
}

impl Clock {
    /// Joins the kernel's clocks and the place of the verdict.
    #[must_use]
    pub fn new(boot: Arc<dyn BootClock>, source: Arc<dyn VerdictSource>) -> Self {
        Self { boot, source }
    }

    /// Gives the time to sign with.
    ///
    /// # Errors
    /// [`ClockUntrusted`] whenever any condition of the verdict fails; answer 503 with its `retry_after_s`.
    pub fn now(&self) -> Result<TrustedTime, ClockUntrusted> {
        let Some(verdict) = self.source.verdict() else {
            let why = match self.source.refusal() {
                Some(state) => Untrusted::Refused { state },
                None => Untrusted::NoVerdict,
            };
            return Err(why.into());
        };
        let boottime_ns = self.boot.boottime_ns();
        let realtime_us = self.boot.realtime_us();
        judge(&verdict, self.boot.boot_id(), boottime_ns, realtime_us).map_err(ClockUntrusted::from)
    }

    /// Gives CLOCK_BOOTTIME, nanoseconds: for spans and time-outs, which need no trust.
    #[must_use]
    pub fn boottime_ns(&self) -> u64 {
        self.boot.boottime_ns()
    }

    /// Gives CLOCK_REALTIME, microseconds: for log lines and screens only, since anybody may have set it.
    #[must_use]
    pub fn untrusted_realtime_us(&self) -> i64 {
        self.boot.realtime_us()
    }
}

/// Decides whether a verdict may be used at a moment. Pure.
fn judge(
    verdict: &Verdict,
    boot_id: BootId,
    boottime_ns: u64,
    realtime_us: i64,
) -> Result<TrustedTime, Untrusted> {
    if verdict.boot_id != boot_id {
        return Err(Untrusted::OtherBoot);
    }
    // A statement about the future of the same boot cannot have been made: its writer is confused.
    let Some(elapsed_ns) = boottime_ns.checked_sub(verdict.boottime_ns) else {
        return Err(Untrusted::NoVerdict);
    };
    // The life is checked against both, so that a writer cannot grant itself more than the rule.
    if elapsed_ns > VERDICT_LIFE_NS || boottime_ns > verdict.valid_until_boottime_ns {
        return Err(Untrusted::Expired { silent_s: elapsed_ns / 1_000_000_000 });
    }
    let bound_us = verdict.bound_us_at(boottime_ns);
    if bound_us > TRUST_BOUND_US {
        return Err(Untrusted::BoundTooWide { bound_ms: bound_us / 1_000 });
    }
    let unix_us = verdict.unix_us_at(boottime_ns).ok_or(Untrusted::NoVerdict)?;
    let off_us = i128::from(realtime_us) - i128::from(unix_us);
    if off_us.unsigned_abs() > u128::from(bound_us.max(REALTIME_SLACK_US)) {
        let off_ms = i64::try_from(off_us / 1_000).unwrap_or(if off_us < 0 { i64::MIN } else { i64::MAX });
        return Err(Untrusted::RealtimeDisagrees { off_ms });
    }
    Ok(TrustedTime { unix_us, bound_us })
}
