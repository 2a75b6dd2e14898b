//! A time server that is late, silent or lying on command.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Random;

/// How a simulated server behaves. The default is an honest server 20 ms away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimNtpFault {
    /// Its time minus true time, microseconds: zero is honest.
    pub lie_us: i64,
    /// How fast its lie grows, nanoseconds per second.
    pub lie_rate_ppb: i64,
    /// Shortest time of a packet to the server, microseconds.
    pub out_us: u64,
    /// Shortest time of a packet back, microseconds.
    pub back_us: u64,
    /// Largest delay that chance adds to each way, microseconds.
    pub jitter_us: u64,
    /// Questions of a hundred that get no answer.
    pub loss_percent: u64,
    /// What it says about its own distance to a reference (root delay / 2 + root dispersion), microseconds.
    pub root_distance_us: u64,
    /// Its leap indicator: 0 none, 1 a second is inserted, 2 one is left out, 3 not synchronised.
    pub leap: u8,
    /// What it sends instead of time: `DENY`, `RSTR` or `RATE`.
    pub kiss: Option<[u8; 4]>,
}

impl Default for SimNtpFault {
    fn default() -> Self {
        Self {
            lie_us: 0,
            lie_rate_ppb: 0,
            out_us: 10_000,
            back_us: 10_000,
            jitter_us: 2_000,
            loss_percent: 0,
            root_distance_us: 1_000,
            leap: 0,
            kiss: None,
        }
    }
}

/// What comes back from a simulated server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimNtpReply {
    /// Nothing, ever.
    Silence,
    /// A kiss-o'-death.
    Kiss {
        /// Its four letters.
        code: [u8; 4],
        /// When it arrives after the question.
        after: Duration,
    },
    /// The time.
    Time {
        /// UTC that the server read when the question arrived (and at once answered), microseconds.
        server_us: i64,
        /// When the answer arrives after the question: the round trip.
        after: Duration,
        /// What the server says about its distance to a reference, microseconds.
        root_distance_us: u64,
        /// Its leap indicator.
        leap: u8,
    },
}

/// One simulated server; clones are the same server.
#[derive(Clone, Debug)]
pub struct SimNtpServer {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    fault: SimNtpFault,
    random: Random,
    /// True UTC of the first question since the lie began, microseconds: what `lie_rate_ppb` counts from.
    since_us: Option<i64>,
}

impl SimNtpServer {
    /// Makes a server whose chance is fixed by a seed.
    #[must_use]
    pub fn new(fault: SimNtpFault, seed: u64) -> Self {
        let inner = Inner { fault, random: Random::new(seed), since_us: None };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Changes its behaviour.
    pub fn set_fault(&self, fault: SimNtpFault) {
        let mut inner = self.lock();
        inner.fault = fault;
        inner.since_us = None;
    }

    /// Gives its behaviour.
    #[must_use]
    pub fn fault(&self) -> SimNtpFault {
        self.lock().fault.clone()
    }

    /// Asks it at a true UTC (microseconds).
    #[must_use]
    pub fn ask(&self, true_us: i64) -> SimNtpReply {
        let mut inner = self.lock();
        let fault = inner.fault.clone();
        let out_us = fault.out_us.saturating_add(inner.random.up_to(fault.jitter_us));
        let back_us = fault.back_us.saturating_add(inner.random.up_to(fault.jitter_us));
        if inner.random.percent(fault.loss_percent) {
            return SimNtpReply::Silence;
        }
        let after = Duration::from_micros(out_us.saturating_add(back_us));
        if let Some(code) = fault.kiss {
            return SimNtpReply::Kiss { code, after };
        }
        let since_us = *inner.since_us.get_or_insert(true_us);
        let grown =
            i128::from(true_us.saturating_sub(since_us)) * i128::from(fault.lie_rate_ppb) / 1_000_000_000;
        let lie_us = fault.lie_us.saturating_add(i64::try_from(grown).unwrap_or(i64::MAX));
        let arrives_us = true_us.saturating_add_unsigned(out_us);
        SimNtpReply::Time {
            server_us: arrives_us.saturating_add(lie_us),
            after,
            root_distance_us: fault.root_distance_us,
            leap: fault.leap,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
