//! Rate limits: fixed windows that begin with the first use, as the reference counts them.
//!
//! Every limit is a named constant below. Counters live in memory only, in a bounded table; time is the machine's
//! monotonic clock, so that limits hold while the wall clock is not trusted.

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use platform::time::Clock;

use crate::error::XrpcError;

pub(crate) mod places;
#[cfg(test)]
mod tests;

pub use places::PlaceLimits;

/// One rule: so many points in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Keeps the counters of different rules apart.
    id: u8,
    /// Points in one window.
    pub points: u32,
    /// Length of the window, seconds.
    pub window_s: u32,
}

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3600;
const DAY_S: u32 = 86_400;

/// All calls of one client address but getRepo.
pub const GLOBAL: Rule = Rule { id: 0, points: 3000, window_s: 5 * MINUTE_S };
/// getRepo calls of one client address: mirrors fetch many repos in a row.
pub const GET_REPO: Rule = Rule { id: 1, points: 6000, window_s: 5 * MINUTE_S };
/// Record writes of one account in an hour: 1,666 creates.
pub const WRITES_HOUR: Rule = Rule { id: 2, points: 5000, window_s: HOUR_S };
/// Record writes of one account in a day: 11,666 creates.
pub const WRITES_DAY: Rule = Rule { id: 3, points: 35_000, window_s: DAY_S };
/// Sign-ins to one account from one address, short window.
pub const CREATE_SESSION_SHORT: Rule = Rule { id: 4, points: 30, window_s: 5 * MINUTE_S };
/// Sign-ins to one account from one address, a day.
pub const CREATE_SESSION_DAY: Rule = Rule { id: 5, points: 300, window_s: DAY_S };
/// New accounts from one address.
pub const CREATE_ACCOUNT: Rule = Rule { id: 6, points: 100, window_s: 5 * MINUTE_S };
/// Blob uploads of one account.
pub const UPLOAD_BLOB: Rule = Rule { id: 7, points: 1000, window_s: DAY_S };

/// Handle changes of one account, short window.
pub const UPDATE_HANDLE_SHORT: Rule = Rule { id: 8, points: 10, window_s: 5 * MINUTE_S };
/// Handle changes of one account, a day: each is an operation in the PLC directory, which takes 30 a day.
pub const UPDATE_HANDLE_DAY: Rule = Rule { id: 9, points: 50, window_s: DAY_S };
/// Mails of `requestEmailConfirmation` to one account.
pub const REQUEST_EMAIL_CONFIRMATION: [Rule; 2] = mails(10);
/// Mails of `requestEmailUpdate` to one account.
pub const REQUEST_EMAIL_UPDATE: [Rule; 2] = mails(12);
/// Mails of `requestAccountDelete` to one account.
pub const REQUEST_ACCOUNT_DELETE: [Rule; 2] = mails(14);
/// Mails of `requestPlcOperationSignature` to one account.
pub const REQUEST_PLC_OPERATION_SIGNATURE: [Rule; 2] = mails(16);
/// Mails of `requestPasswordReset` that one client address asks for: nobody is signed in then.
pub const REQUEST_PASSWORD_RESET: [Rule; 2] =
    [Rule { id: 18, points: 15, window_s: HOUR_S }, Rule { id: 19, points: 50, window_s: DAY_S }];
/// Mails of `requestPasswordReset` to one account, whoever asks: each voids the code before it.
pub const MAILED_RESETS: [Rule; 2] = mails(70);
/// Codes of `resetPassword` that one client address may try.
pub const RESET_PASSWORD: Rule = Rule { id: 20, points: 50, window_s: 5 * MINUTE_S };
/// Passwords and codes of `deleteAccount` that one client address may try.
pub const DELETE_ACCOUNT: Rule = Rule { id: 21, points: 50, window_s: 5 * MINUTE_S };
/// Both windows of `updateHandle`, for [`Limiter::take_each`].
pub const UPDATE_HANDLE: [Rule; 2] = [UPDATE_HANDLE_SHORT, UPDATE_HANDLE_DAY];
/// Wrong operator's passwords from one address: a person mistypes a few; at this pace a guesser needs years for the
/// weakest password that anyone should set.
pub const ADMIN_FAILURES: Rule = Rule { id: 40, points: 20, window_s: 5 * MINUTE_S };
/// Signing keys that one client address may reserve: a migration needs one, and each is a file.
pub const RESERVE_SIGNING_KEY: Rule = Rule { id: 60, points: 10, window_s: HOUR_S };

/// Every rule, to see that none shares another's counters.
#[cfg(test)]
const ALL: [Rule; 26] = [
    MAILED_RESETS[0],
    MAILED_RESETS[1],
    RESERVE_SIGNING_KEY,
    GLOBAL,
    GET_REPO,
    WRITES_HOUR,
    WRITES_DAY,
    CREATE_SESSION_SHORT,
    CREATE_SESSION_DAY,
    CREATE_ACCOUNT,
    UPLOAD_BLOB,
    UPDATE_HANDLE_SHORT,
    UPDATE_HANDLE_DAY,
    REQUEST_EMAIL_CONFIRMATION[0],
    REQUEST_EMAIL_CONFIRMATION[1],
    REQUEST_EMAIL_UPDATE[0],
    REQUEST_EMAIL_UPDATE[1],
    REQUEST_ACCOUNT_DELETE[0],
    REQUEST_ACCOUNT_DELETE[1],
    REQUEST_PLC_OPERATION_SIGNATURE[0],
    REQUEST_PLC_OPERATION_SIGNATURE[1],
    REQUEST_PASSWORD_RESET[0],
    REQUEST_PASSWORD_RESET[1],
    RESET_PASSWORD,
    DELETE_ACCOUNT,
    ADMIN_FAILURES,
];

/// What one account may have sent to itself: the reference's 5 an hour and 15 a day, counted for each method.
const fn mails(id: u8) -> [Rule; 2] {
    [Rule { id, points: 5, window_s: HOUR_S }, Rule { id: id + 1, points: 15, window_s: DAY_S }]
}

/// What one write costs against [`WRITES_HOUR`] and [`WRITES_DAY`].
pub const CREATE_POINTS: u32 = 3;
/// See [`CREATE_POINTS`].
pub const UPDATE_POINTS: u32 = 2;
/// See [`CREATE_POINTS`].
pub const DELETE_POINTS: u32 = 1;

/// Counters kept at once. 64 bytes each: 2 MiB at most. When full, ended windows are swept out; if none has ended,
/// newcomers share one counter rather than go free.
const COUNTERS_MAX: usize = 32_768;

/// Parts of the table, each with its own lock.
const SHARDS: usize = 8;

/// How the limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Off only in tests and on a closed network.
    pub enabled: bool,
    /// Multiplies every rule's points: a benchmark raises both servers' thresholds equally.
    pub multiplier: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { enabled: true, multiplier: 1 }
    }
}

impl RateLimits {
    /// All limits, with their points multiplied.
    #[must_use]
    pub fn times(multiplier: u32) -> Self {
        Self { enabled: true, multiplier }
    }
}

/// Where a caller stands with one rule after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Points of the window.
    pub limit: u32,
    /// Points left.
    pub remaining: u32,
    /// Seconds until the window ends.
    pub reset_s: u32,
    /// Length of the window, seconds.
    pub window_s: u32,
}

#[derive(Clone, Copy)]
struct Counter {
    used: u32,
    ends_at_s: u64,
}

tokio::task_local! {
    /// Set while a call is served that carries the owner's key: nothing is counted then.
    pub(crate) static FREE: ();
}

/// The counters of one server.
pub struct Limiter {
    settings: RateLimits,
    clock: Clock,
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Counter>>; SHARDS],
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Limiter {
    /// Starts with empty counters.
    #[must_use]
    pub fn new(settings: RateLimits, clock: Clock) -> Self {
        Self {
            settings,
            clock,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Takes `points` from the window that `key` has under `rule`.
    ///
    /// # Errors
    /// 429 `RateLimitExceeded` with `Retry-After` when the window has not that many left. The points then count too:
    /// hammering does not help.
    pub fn take(&self, rule: Rule, key: &str, points: u32) -> Result<Option<Standing>, XrpcError> {
        self.take_hashed(rule, self.hasher.hash_one((rule.id, key)), points)
    }

    /// Takes one point from each of several windows of `key`; gives the standing with the fewest points left, for the
    /// answer's headers.
    ///
    /// # Errors
    /// As [`Limiter::take`], of the first window that has none left; the windows after it are not touched.
    pub fn take_each(&self, rules: &[Rule], key: &str) -> Result<Option<Standing>, XrpcError> {
        narrowest(rules.iter().map(|rule| self.take(*rule, key, 1)))
    }

    /// [`Limiter::take_each`] for a client address.
    ///
    /// # Errors
    /// As [`Limiter::take_each`].
    pub fn take_each_ip(&self, rules: &[Rule], ip: IpAddr) -> Result<Option<Standing>, XrpcError> {
        narrowest(rules.iter().map(|rule| self.take_ip(*rule, ip)))
    }

    /// [`Limiter::take`] for one point of a client address. IPv6 counts by /64: that is what one home has.
    ///
    /// # Errors
    /// As [`Limiter::take`].
    pub fn take_ip(&self, rule: Rule, ip: IpAddr) -> Result<Option<Standing>, XrpcError> {
        self.take_hashed(rule, self.hasher.hash_one((rule.id, network_of(ip))), 1)
    }

    /// Tells whether a client address has points left under `rule`, and takes none.
    ///
    /// # Errors
    /// 429 `RateLimitExceeded` when the window is used up.
    pub fn check_ip(&self, rule: Rule, ip: IpAddr) -> Result<(), XrpcError> {
        let standing = self.take_hashed(rule, self.hasher.hash_one((rule.id, network_of(ip))), 0)?;
        match standing {
            Some(standing) if standing.remaining == 0 => Err(XrpcError::rate_limited(standing)),
            _ => Ok(()),
        }
    }

    fn take_hashed(&self, rule: Rule, hash: u64, points: u32) -> Result<Option<Standing>, XrpcError> {
        if !self.settings.enabled || FREE.try_with(|()| ()).is_ok() {
            return Ok(None);
        }
        let limit = rule.points.saturating_mul(self.settings.multiplier);
        let now_s = self.clock.boottime_ns() / 1_000_000_000;
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(shard) else { return Ok(None) };
        let mut counters = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= COUNTERS_MAX / SHARDS && !counters.contains_key(&hash) {
            counters.retain(|_, c| c.ends_at_s > now_s);
        }
        // Key 0 is the counter that newcomers share while the table is full.
        let slot = if counters.len() >= COUNTERS_MAX / SHARDS && !counters.contains_key(&hash) {
            u64::from(rule.id)
        } else {
            hash
        };
        let fresh = Counter { used: 0, ends_at_s: now_s.saturating_add(u64::from(rule.window_s)) };
        let counter = counters.entry(slot).or_insert(fresh);
        if counter.ends_at_s <= now_s {
            *counter = fresh;
        }
        counter.used = counter.used.saturating_add(points);
        let standing = Standing {
            limit,
            remaining: limit.saturating_sub(counter.used),
            reset_s: u32::try_from(counter.ends_at_s.saturating_sub(now_s)).unwrap_or(rule.window_s),
            window_s: rule.window_s,
        };
        note(standing);
        if counter.used > limit { Err(XrpcError::rate_limited(standing)) } else { Ok(Some(standing)) }
    }
}

tokio::task_local! {
    /// Where the caller of the running call stands with the rule that leaves the least.
    static TIGHTEST: Cell<Option<Standing>>;
}

/// Runs a call and tells its tightest standing: whichever rule leaves the fewest points, as the reference tells it.
pub(crate) async fn noted<F: Future>(call: F) -> (F::Output, Option<Standing>) {
    TIGHTEST
        .scope(Cell::new(None), async move {
            let output = call.await;
            (output, TIGHTEST.try_with(Cell::get).ok().flatten())
        })
        .await
}

fn note(standing: Standing) {
    // Outside a call nobody asks.
    let _told = TIGHTEST.try_with(|tightest| {
        if tightest.get().is_none_or(|known| standing.remaining < known.remaining) {
            tightest.set(Some(standing));
        }
    });
}

fn narrowest(
    taken: impl Iterator<Item = Result<Option<Standing>, XrpcError>>,
) -> Result<Option<Standing>, XrpcError> {
    let mut narrowest: Option<Standing> = None;
    for standing in taken {
        let standing = standing?;
        narrowest = match (narrowest, standing) {
            (Some(a), Some(b)) if b.remaining < a.remaining => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        };
    }
    Ok(narrowest)
}

/// The network that one household or one server has: an IPv4 address, an IPv6 /64.
fn network_of(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        // Global IPv6 never begins with 32 zero bits, so the two kinds cannot meet.
        IpAddr::V6(v6) => u64::try_from(u128::from(v6) >> 64).unwrap_or(u64::MAX),
    }
}

/// Names of the headers, as the IETF draft and the reference spell them.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Writes the standing into an answer's headers. `unix_s` is the trusted time; without it the reset, which the
/// reference gives as a Unix time, is left out.
pub fn write_headers(headers: &mut HeaderMap, standing: Standing, unix_s: Option<u64>) {
    headers.insert(LIMIT, HeaderValue::from(standing.limit));
    headers.insert(REMAINING, HeaderValue::from(standing.remaining));
    if let Some(now) = unix_s {
        headers.insert(RESET, HeaderValue::from(now.saturating_add(u64::from(standing.reset_s))));
    }
    if let Ok(policy) = HeaderValue::from_maybe_shared(bytes::Bytes::from(format!(
        "{};w={}",
        standing.limit, standing.window_s
    ))) {
        headers.insert(POLICY, policy);
    }
}
