//! The faults and presses that a person or a test types on standard input, as values.
//!
//! Parsing only: who carries a command out is `appliance_run`'s business.

use std::str::FromStr;

/// One line of standard input, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A foreign hand moves the computer's idea of the clock by this many seconds.
    ClockStep(i64),
    /// The clock is set to 1970, as on a box without clock chip.
    Clock1970,
    /// No time server answers any more.
    NtpOff,
    /// All time servers answer, and honestly.
    NtpOn,
    /// The time server with this number (from 1) lies.
    NtpLie(usize),
    /// The clock chip has lost its time.
    RtcDead,
    /// The clock chip has a new battery.
    RtcOk,
    /// The data disk is pulled.
    SsdPull,
    /// The data disk is plugged back.
    SsdPlug,
    /// The data disk has no room left.
    DiskFull,
    /// The data disk has room again.
    DiskOk,
    /// The button is pressed shortly.
    ButtonShort,
    /// The button is held.
    ButtonLong,
    /// The process ends at once, with nothing flushed.
    PowerCut,
    /// The list of commands is printed.
    Help,
    /// The process ends in order, as by SIGTERM.
    Quit,
}

/// A line that is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The words are unknown.
    #[error("unknown command {0:?}; type help for the list")]
    Unknown(String),
    /// The seconds of `clock` are no number within [`CLOCK_STEP_S_MAX`].
    #[error("clock takes +SECONDS or -SECONDS (at most 100 years) or 1970, not {0:?}")]
    Seconds(String),
    /// The number of `ntp lie` names no server.
    #[error("ntp lie takes the number of a server, from 1 to {SERVERS}, not {0:?}")]
    Server(String),
}

/// The time servers of the simulated world.
pub const SERVERS: usize = 4;

/// The furthest that the clock can be moved, in seconds: a hundred years, so that sums of steps stay far from the ends
/// of the integers that count microseconds.
pub const CLOCK_STEP_S_MAX: i64 = 100 * 366 * 24 * 3600;

/// What `help` prints and `--help` repeats.
pub const HELP: &str = "\
clock +600 | clock -600   a foreign hand moves the clock by so many seconds
clock 1970                the clock starts over, as on a box without clock chip
ntp off | ntp on          no time server answers | all answer, honestly
ntp lie 1                 time server 1 (of 4) lies
rtc dead | rtc ok         the clock chip's battery is empty | is replaced
ssd pull | ssd plug       the data disk is pulled | plugged back
disk full | disk ok       the data disk has no room | has room again
button short | button long
power cut                 the process ends at once; nothing is flushed
quit                      the process ends in order (also SIGTERM, Ctrl-C)";

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, CommandError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["clock", "1970"] => Self::Clock1970,
            ["clock", step] => Self::ClockStep(seconds(step)?),
            ["ntp", "off"] => Self::NtpOff,
            ["ntp", "on"] => Self::NtpOn,
            ["ntp", "lie", number] => Self::NtpLie(server(number)?),
            ["rtc", "dead"] => Self::RtcDead,
            ["rtc", "ok"] => Self::RtcOk,
            ["ssd", "pull"] => Self::SsdPull,
            ["ssd", "plug"] => Self::SsdPlug,
            ["disk", "full"] => Self::DiskFull,
            ["disk", "ok"] => Self::DiskOk,
            ["button", "short"] => Self::ButtonShort,
            ["button", "long"] => Self::ButtonLong,
            ["power", "cut"] => Self::PowerCut,
            ["help" | "?"] => Self::Help,
            ["quit" | "exit"] => Self::Quit,
            _ => return Err(CommandError::Unknown(line.trim().chars().take(60).collect())),
        })
    }
}

/// Reads `+600` or `-600`; a bare number is refused, since a time of day could be meant.
fn seconds(text: &str) -> Result<i64, CommandError> {
    let refused = || CommandError::Seconds(text.to_owned());
    if !text.starts_with(['+', '-']) {
        return Err(refused());
    }
    let step: i64 = text.parse().map_err(|_| refused())?;
    if step.unsigned_abs() > CLOCK_STEP_S_MAX.unsigned_abs() { Err(refused()) } else { Ok(step) }
}

fn server(text: &str) -> Result<usize, CommandError> {
    match text.parse() {
        Ok(number) if (1..=SERVERS).contains(&number) => Ok(number),
        _ => Err(CommandError::Server(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_command_is_understood() {
        for part in HELP.lines().flat_map(|line| line.split("  ").next().unwrap_or_default().split('|')) {
            let line = part.trim();
            assert!(line.parse::<Command>().is_ok(), "{line:?}");
        }
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!("clock +600".parse(), Ok(Command::ClockStep(600)));
        assert_eq!("clock -1".parse(), Ok(Command::ClockStep(-1)));
        assert_eq!("ntp lie 4".parse(), Ok(Command::NtpLie(4)));
        for wrong in ["clock 600", "clock +99999999999", "clock now"] {
            assert!(matches!(wrong.parse::<Command>(), Err(CommandError::Seconds(_))), "{wrong}");
        }
        for wrong in ["ntp lie 0", "ntp lie 5", "ntp lie x"] {
            assert!(matches!(wrong.parse::<Command>(), Err(CommandError::Server(_))), "{wrong}");
        }
        assert!(matches!("make coffee".parse::<Command>(), Err(CommandError::Unknown(_))));
    }
}
