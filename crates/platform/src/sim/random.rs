//! Repeatable chance: `splitmix64`, enough for delays and faults, useless for secrets.

/// A stream of numbers that its seed fixes.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts the stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Draws 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws from `0..=most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(choices) => self.bits() % choices,
            None => self.bits(),
        }
    }

    /// Draws from `-most..=most`; `most` may not exceed `i64::MAX / 2`, beyond which it is cut.
    pub fn around_zero(&mut self, most: u64) -> i64 {
        let most = most.min(u64::MAX / 4);
        let up = i64::try_from(self.up_to(2 * most)).unwrap_or(i64::MAX);
        up.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX))
    }

    /// Draws true this often in a hundred.
    pub fn percent(&mut self, of_hundred: u64) -> bool {
        self.up_to(99) < of_hundred
    }
}
