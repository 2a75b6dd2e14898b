//! One-time codes on the simulated box: the PDS offers one, the button shows it, the screen draws it.
//!
//! Both sides are in one process here; on the real box the offer crosses a socket. The code is kept in memory only, and
//! leaves it as pixels.

use std::sync::{Mutex, MutexGuard, PoisonError};

use appliance::screen::{CodeDesk, CodePage};
use platform::{CodeOffer, CodeScreen, DeviceError};
use tokio::time::Instant;

/// The desk, shared between the PDS, the button and the screen.
#[derive(Debug)]
pub struct Codes {
    desk: Mutex<CodeDesk>,
    started: Instant,
}

impl Default for Codes {
    fn default() -> Self {
        Self { desk: Mutex::default(), started: Instant::now() }
    }
}

impl Codes {
    /// The button was pressed; false when that concerns no code.
    pub fn press(&self) -> bool {
        let now_ms = self.now_ms();
        self.desk().press(now_ms)
    }

    /// What the screen shows of a code, if anything.
    pub fn page(&self) -> Option<CodePage> {
        let now_ms = self.now_ms();
        self.desk().page(now_ms)
    }

    fn desk(&self) -> MutexGuard<'_, CodeDesk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl CodeScreen for Codes {
    fn offer(&self, offer: CodeOffer) -> Result<(), DeviceError> {
        let now_ms = self.now_ms();
        self.desk().offer(offer, now_ms);
        Ok(())
    }
}
