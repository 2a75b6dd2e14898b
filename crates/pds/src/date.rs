//! The `Date` header of answers, from trusted time only: a server without a clock sends none (RFC 9110 section 6.6.1).

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use axum::http::HeaderValue;
use platform::time::TrustedTime;

/// The header of the current second; many answers share it.
#[derive(Debug)]
pub(crate) struct DateHeader(Mutex<(u64, HeaderValue)>);

impl Default for DateHeader {
    fn default() -> Self {
        Self(Mutex::new((0, text(0))))
    }
}

impl DateHeader {
    /// Gives the header of this second.
    pub(crate) fn at(&self, now: TrustedTime) -> HeaderValue {
        let second = now.unix_seconds();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != second {
            *last = (second, text(second));
        }
        last.1.clone()
    }
}

fn text(unix_s: u64) -> HeaderValue {
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(unix_s)).unwrap_or(UNIX_EPOCH);
    HeaderValue::from_str(&httpdate::fmt_http_date(moment)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use platform::sim::trusted_clock;

    use super::*;

    #[test]
    fn header_is_that_of_the_second() {
        let header = DateHeader::default();
        let (clock, sim) = trusted_clock(1_795_401_296_789_000);
        assert_eq!(header.at(clock.now().unwrap()), "Mon, 23 Nov 2026 02:34:56 GMT");
        sim.advance(Duration::from_secs(1));
        assert_eq!(header.at(clock.now().unwrap()), "Mon, 23 Nov 2026 02:34:57 GMT");
    }
}
