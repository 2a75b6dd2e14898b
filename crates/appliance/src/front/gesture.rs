//! What the edges of the button mean: a short press, a hold that goes on, a hold that ended.
//!
//! Pure: edges carry the time at which they happened, so that a slow reader sees the same gestures.

use super::Hand;

/// Shorter changes are the contact bouncing, milliseconds (data sheets of tactile switches give 5 to 10).
pub const BOUNCE_MS: u64 = 20;

/// A press of this length or more is a hold, milliseconds.
pub const HOLD_MS: u64 = 1_000;

/// Remembers whether the button is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gestures {
    down_ms: Option<u64>,
    /// Held since before the box ran (safe mode): this hold means nothing else.
    spent: bool,
}

impl Gestures {
    /// Starts with a button that is up, or held since before.
    #[must_use]
    pub fn new(held_at_boot: bool) -> Self {
        Self { down_ms: held_at_boot.then_some(0), spent: held_at_boot }
    }

    /// Takes a change of the button at `at_ms`.
    pub fn edge(&mut self, down: bool, at_ms: u64) -> Hand {
        if down {
            // A second edge down without one up was bounce.
            if self.down_ms.is_none() {
                *self = Self { down_ms: Some(at_ms), spent: false };
            }
            return Hand::Nothing;
        }
        let Some(down_ms) = self.down_ms.take() else { return Hand::Nothing };
        let held_ms = at_ms.saturating_sub(down_ms);
        match held_ms {
            _ if std::mem::take(&mut self.spent) => Hand::Nothing,
            held_ms if held_ms < BOUNCE_MS => {
                // The contact bounced as it went down: it may be down still.
                Hand::Nothing
            }
            held_ms if held_ms < HOLD_MS => Hand::Short,
            held_ms => Hand::Released(held_ms),
        }
    }

    /// What the hand does at `now_ms`, between two edges.
    #[must_use]
    pub fn now(&self, now_ms: u64) -> Hand {
        match self.down_ms {
            Some(down_ms) if !self.spent && now_ms.saturating_sub(down_ms) >= HOLD_MS => {
                Hand::Holding(now_ms.saturating_sub(down_ms))
            }
            _ => Hand::Nothing,
        }
    }
}
