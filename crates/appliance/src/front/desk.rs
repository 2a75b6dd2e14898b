//! Where others lay down what waits for the button: one-time codes, and deeds that need the owner.
//!
//! Shared between the screen's task and whoever takes requests. Codes are kept in memory only, and leave it as pixels.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use control::Status;
use control::request::{Deed, Proof};
use platform::{CodeOffer, CodeScreen, DeviceError};

use super::policy::{Front, Hand, Step};
use super::presence::{Means, NotProven, Presence};
use crate::screen::CodeDesk;

/// The desk, shared between the PDS, the panel, the button and the screen.
#[derive(Debug)]
pub struct Desk {
    inner: Mutex<Inner>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    codes: CodeDesk,
    presence: Presence,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(Means::default())
    }
}

impl Desk {
    /// Starts empty, on a box with these means.
    #[must_use]
    pub fn new(means: Means) -> Self {
        let inner = Inner { codes: CodeDesk::default(), presence: Presence::new(means) };
        Self { inner: Mutex::new(inner), started: Instant::now() }
    }

    /// Takes what works now of screen and button.
    pub fn set_means(&self, screen: bool, button: bool) {
        self.lock().presence.set_means(screen, button);
    }

    /// Tells whether the box can show a code to whoever stands before it.
    #[must_use]
    pub fn shows_codes(&self) -> bool {
        self.lock().presence.shows_codes()
    }

    /// Milliseconds since the desk was made: the clock of everything at the front.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets the front take one step.
    pub fn step(&self, front: &mut Front, hand: Hand, status: &Status) -> Step {
        let now_ms = self.now_ms();
        let mut inner = self.lock();
        let Inner { codes, presence } = &mut *inner;
        front.step(hand, now_ms, status, codes, presence)
    }

    /// Somebody asks for a deed; gives the ways to prove that the owner wants it.
    ///
    /// # Errors
    /// As [`Presence::ask`].
    pub fn ask(&self, deed: Deed, code: String) -> Result<Vec<Proof>, NotProven> {
        let now_ms = self.now_ms();
        self.lock().presence.ask(deed, code, now_ms)
    }

    /// Somebody gives a code or the secret; on success the deed is to be done.
    ///
    /// # Errors
    /// As [`Presence::prove`].
    pub fn prove(&self, deed: &Deed, given: &str) -> Result<Proof, NotProven> {
        let now_ms = self.now_ms();
        self.lock().presence.prove(deed, given, now_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CodeScreen for Desk {
    fn offer(&self, offer: CodeOffer) -> Result<(), DeviceError> {
        let now_ms = self.now_ms();
        self.lock().codes.offer(offer, now_ms);
        Ok(())
    }
}
