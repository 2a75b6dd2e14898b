//! The faults and presses that a person or a test types on standard input, as values.
//!
//! Parsing only: who carries a command out is `run`'s business.

use std::str::FromStr;

use timeguard::sim::{TimeFault, TimeFaultError};

/// One line of standard input, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Something about the clock, the time servers or the clock chip.
    Time(TimeFault),
    /// The data disk is pulled.
    SsdPull,
    /// The data disk is plugged back.
    SsdPlug,
    /// The data disk has no room left.
    DiskFull,
    /// The data disk has room again.
    DiskOk,
    /// The network is gone.
    NetworkDown,
    /// The network is back.
    NetworkUp,
    /// Repos that were signed in the future are healed, whatever the relays say.
    RepairRepos,
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
    /// The words begin as a fault of the time and go on otherwise.
    #[error("{0}")]
    Time(#[from] TimeFaultError),
    /// The clock would be moved out of the range of its own counters.
    #[error("the clock can be moved by at most {CLOCK_STEP_S_MAX} s (100 years)")]
    TooFar,
}

/// The furthest that the clock can be moved, in seconds: a hundred years, so that sums of steps stay far from the ends
/// of the integers that count microseconds.
pub const CLOCK_STEP_S_MAX: u64 = 100 * 366 * 24 * 3600;

/// What `help` prints and `--help` repeats.
pub const HELP: &str = "\
clock +600 | clock -600   a foreign hand moves the clock by so many seconds
clock 1970                the clock starts over, as on a box without clock chip
ntp off | ntp on          no time server answers | all answer, honestly
ntp lie 1                 1 of the 4 time servers lies by ten minutes
rtc dead | rtc alive      the clock chip does not answer | answers again
ssd pull | ssd plug       the data disk is pulled | plugged back
disk full | disk ok       the data disk has no room | has room again
network down              the network is gone
network up                it is back
repair repos              repos signed in the future are healed, whatever the relays say
button short | button long
power cut                 the process ends at once; nothing is flushed
quit                      the process ends in order (also SIGTERM, Ctrl-C)";

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, CommandError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["clock" | "ntp" | "rtc", ..] => Self::Time(time(line)?),
            ["ssd", "pull"] => Self::SsdPull,
            ["ssd", "plug"] => Self::SsdPlug,
            ["disk", "full"] => Self::DiskFull,
            ["disk", "ok"] => Self::DiskOk,
            ["network", "down"] => Self::NetworkDown,
            ["network", "up"] => Self::NetworkUp,
            ["repair", "repos"] => Self::RepairRepos,
            ["button", "short"] => Self::ButtonShort,
            ["button", "long"] => Self::ButtonLong,
            ["power", "cut"] => Self::PowerCut,
            ["help" | "?"] => Self::Help,
            ["quit" | "exit"] => Self::Quit,
            _ => return Err(CommandError::Unknown(line.trim().chars().take(60).collect())),
        })
    }
}

fn time(line: &str) -> Result<TimeFault, CommandError> {
    match line.parse()? {
        TimeFault::ClockJump { seconds } if seconds.unsigned_abs() > CLOCK_STEP_S_MAX => {
            Err(CommandError::TooFar)
        }
        fault => Ok(fault),
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
        assert_eq!("clock +600".parse(), Ok(Command::Time(TimeFault::ClockJump { seconds: 600 })));
        assert_eq!("clock +99999999999".parse::<Command>(), Err(CommandError::TooFar));
        for wrong in ["clock 600", "clock now", "ntp lie 5", "ntp lie x", "rtc"] {
            assert!(matches!(wrong.parse::<Command>(), Err(CommandError::Time(_))), "{wrong}");
        }
        assert!(matches!("make coffee".parse::<Command>(), Err(CommandError::Unknown(_))));
    }
}
