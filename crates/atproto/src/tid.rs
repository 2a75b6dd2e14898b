//! Timestamp identifiers: names of records and revisions that sort by time.
//!
//! A new one is made from a [`TrustedTime`] only, or as the successor of another; nothing here reads a clock.

use platform::time::TrustedTime;

use crate::syntax::{SyntaxError, text_traits};

/// Names a moment to the microsecond, such as `3jzfcijpj2z2a`: 13 characters that sort as the moments do.
///
/// 53 bits of microseconds since 1970 and 10 bits of clock number, in base32 with the alphabet `2-7a-z`.
/// Source: atproto specification "TID".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid([u8; TID_CHARS]);

/// Length of the text.
const TID_CHARS: usize = 13;
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
const CLOCK_ID_BITS: u32 = 10;
/// Latest moment that fits, in microseconds: 53 bits, in the year 2255.
const MICROS_MAX: u64 = (1 << 53) - 1;
const CLOCK_ID_MAX: u64 = (1 << CLOCK_ID_BITS) - 1;

impl Tid {
    /// Checks the text: 13 characters of the alphabet, the first not beyond `j`.
    ///
    /// That is the specification's rule: it keeps the number within 64 bits, although one bit more should be zero.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let bad = |why| SyntaxError::new("TID", why);
        let bytes: [u8; TID_CHARS] = text.as_bytes().try_into().map_err(|_| bad("not 13 characters long"))?;
        if !bytes.iter().all(|b| matches!(b, b'2'..=b'7' | b'a'..=b'z')) {
            return Err(bad("has a character other than 2-7 and a-z"));
        }
        if bytes.first().is_some_and(|first| *first > b'j') {
            return Err(bad("begins with a character beyond \"j\""));
        }
        Ok(Self(bytes))
    }

    /// Makes the identifier of a moment.
    ///
    /// `clock_id` tells apart writers that share a moment; only its lowest 10 bits count. Moments after the
    /// year 2255 are taken for the last one that fits.
    pub fn from_micros(unix_us: u64, clock_id: u16) -> Self {
        let clock_id = u64::from(clock_id) & CLOCK_ID_MAX;
        Self::from_number(unix_us.min(MICROS_MAX) << CLOCK_ID_BITS | clock_id)
    }

    /// Makes the identifier of now.
    pub fn at(now: TrustedTime, clock_id: u16) -> Self {
        Self::from_micros(now.unix_micros(), clock_id)
    }

    /// Gives the smallest later moment, one microsecond after `self`, with the same clock number.
    ///
    /// None at the end of the range in the year 2255.
    #[must_use]
    pub fn next_after(self) -> Option<Self> {
        let micros = self.micros();
        (micros < MICROS_MAX).then(|| Self::from_micros(micros + 1, self.clock_id()))
    }

    /// Gives the moment, in microseconds since 1970.
    pub fn micros(self) -> u64 {
        self.number() >> CLOCK_ID_BITS
    }

    /// Gives the clock number, 0 to 1023.
    pub fn clock_id(self) -> u16 {
        u16::try_from(self.number() & CLOCK_ID_MAX).unwrap_or_default()
    }

    /// Gives the text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn from_number(number: u64) -> Self {
        let mut text = [0; TID_CHARS];
        let mut rest = number;
        for place in text.iter_mut().rev() {
            let digit = usize::try_from(rest & 31).unwrap_or_default();
            *place = ALPHABET.get(digit).copied().unwrap_or_default();
            rest >>= 5;
        }
        Self(text)
    }

    fn number(self) -> u64 {
        let digit = |b: u8| if b >= b'a' { b - b'a' + 6 } else { b - b'2' };
        self.0.iter().fold(0, |number, b| number << 5 | u64::from(digit(*b)))
    }
}

impl TryFrom<String> for Tid {
    type Error = SyntaxError;

    fn try_from(text: String) -> Result<Self, SyntaxError> {
        Self::parse(&text)
    }
}

text_traits!(Tid);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_published_moments() {
        assert_eq!(Tid::from_micros(0, 0).as_str(), "2222222222222");
        assert_eq!(Tid::from_micros(MICROS_MAX, 1023).as_str(), "bzzzzzzzzzzzz");
        assert_eq!(Tid::parse("3jzfcijpj2z2a").unwrap().micros(), 1_688_137_381_887_007);
    }

    #[test]
    fn ends_in_the_year_2255() {
        assert_eq!(Tid::from_micros(MICROS_MAX, 5).next_after(), None);
        assert_eq!(Tid::from_micros(u64::MAX, 5), Tid::from_micros(MICROS_MAX, 5));
    }

    #[test]
    fn takes_trusted_time() {
        let (clock, _) = platform::sim::trusted_clock(1_795_401_296_789_123);
        let tid = Tid::at(clock.now().unwrap(), 7);
        assert_eq!((tid.micros(), tid.clock_id()), (1_795_401_296_789_123, 7));
    }

    proptest! {
        #[test]
        fn round_trips(micros in 0..=MICROS_MAX, clock_id in 0u16..1024) {
            let tid = Tid::from_micros(micros, clock_id);
            prop_assert_eq!(Tid::parse(tid.as_str()).unwrap(), tid);
            prop_assert_eq!((tid.micros(), tid.clock_id()), (micros, clock_id));
        }

        #[test]
        fn sorts_as_text_and_as_moment(a in 0..MICROS_MAX, b in 0..MICROS_MAX, clock_id in 0u16..1024) {
            let (a, b) = (Tid::from_micros(a, clock_id), Tid::from_micros(b, clock_id));
            prop_assert_eq!(a.cmp(&b), a.micros().cmp(&b.micros()));
            prop_assert_eq!(a.cmp(&b), a.as_str().cmp(b.as_str()));
            prop_assert!(a.next_after().unwrap() > a);
        }
    }
}
