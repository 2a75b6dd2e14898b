//! What the machine says about itself: warmth and supply.

use serde::{Deserialize, Serialize};

/// The firmware's word about supply and heat on a Raspberry Pi (documentation of `vcgencmd get_throttled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled(u32);

impl Throttled {
    /// Takes the firmware's word.
    #[must_use]
    pub fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// Reads it as the kernel writes it: hexadecimal, with or without `0x`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok().map(Self)
    }

    /// The voltage is too low now (bit 0).
    #[must_use]
    pub fn undervoltage(self) -> bool {
        self.0 & 1 != 0
    }

    /// The voltage was too low since the start (bit 16).
    #[must_use]
    pub fn was_undervoltage(self) -> bool {
        self.0 & (1 << 16) != 0
    }

    /// The processor is slowed down now by heat: frequency capped, throttled, or at the soft limit (bits 1, 2 and 3).
    /// Capping and throttling come from a low voltage too, and then say nothing about heat.
    #[must_use]
    pub fn slowed_by_heat(self) -> bool {
        self.0 & 0b1000 != 0 || (self.0 & 0b0110 != 0 && !self.undervoltage())
    }
}

/// What was read; what the board does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineReading {
    /// Temperature of the processor, thousandths of a degree Celsius.
    pub temperature_mc: Option<i32>,
    /// The supply voltage is too low now.
    pub undervoltage: Option<bool>,
    /// It was too low at some time since the start.
    pub was_undervoltage: Option<bool>,
    /// The processor is slowed down because of heat.
    pub slowed_by_heat: Option<bool>,
}

/// Reads the machine's own gauges.
pub trait Machine: Send + Sync + std::fmt::Debug {
    /// Reads what there is; it takes milliseconds.
    fn read(&self) -> MachineReading;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmwares_word_is_read_bit_by_bit() {
        let word = Throttled::parse("0x50005\n").unwrap();
        assert!(word.undervoltage() && word.was_undervoltage() && !word.slowed_by_heat());
        let hot = Throttled::parse("e0008").unwrap();
        assert!(hot.slowed_by_heat() && !hot.undervoltage() && !hot.was_undervoltage());
        assert!(Throttled::from_word(0b0100).slowed_by_heat());
        assert_eq!(Throttled::parse("0"), Some(Throttled::default()));
        assert_eq!(Throttled::parse("error"), None);
    }
}
