//! The words with which somebody makes the time go wrong.

use std::str::FromStr;

use super::SERVERS;

/// One fault of the simulated world, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFault {
    /// `clock +600`, `clock -30`: a foreign program sets the box's clock off by so many seconds.
    ClockJump {
        /// Seconds forward, or backward when negative.
        seconds: i64,
    },
    /// `clock 1970`: the clock begins at 1970 and the guard starts anew, as after a power cut.
    Clock1970,
    /// `ntp off`: no time server answers.
    NtpOff,
    /// `ntp on`: all answer, and none lies.
    NtpOn,
    /// `ntp lie 1`: so many of the four servers are ten minutes ahead, together; the others are honest.
    NtpLie {
        /// How many, 0 to 4.
        liars: usize,
    },
    /// `rtc dead`: the clock chip does not answer.
    RtcDead,
    /// `rtc alive`: it answers again.
    RtcAlive,
}

/// Says that a line is no fault of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected: clock +SECONDS, clock -SECONDS, clock 1970, ntp off, ntp on, ntp lie 0..4, rtc dead or rtc alive"
)]
pub struct TimeFaultError;

impl FromStr for TimeFault {
    type Err = TimeFaultError;

    fn from_str(line: &str) -> Result<Self, TimeFaultError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["clock", "1970"] => Ok(Self::Clock1970),
            ["clock", jump] if jump.starts_with(['+', '-']) => {
                jump.parse().map(|seconds| Self::ClockJump { seconds }).map_err(|_| TimeFaultError)
            }
            ["ntp", "off"] => Ok(Self::NtpOff),
            ["ntp", "on"] => Ok(Self::NtpOn),
            ["ntp", "lie", liars] => match liars.parse() {
                Ok(liars) if liars <= SERVERS => Ok(Self::NtpLie { liars }),
                Ok(_) | Err(_) => Err(TimeFaultError),
            },
            ["rtc", "dead"] => Ok(Self::RtcDead),
            ["rtc", "alive"] => Ok(Self::RtcAlive),
            _ => Err(TimeFaultError),
        }
    }
}
