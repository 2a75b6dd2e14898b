//! The battery-backed clock chip.

use serde::{Deserialize, Serialize};

use crate::DeviceError;

/// One reading of the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcReading {
    /// The chip's UTC, microseconds since 1970. Garbage is possible: the policy judges it.
    pub unix_us: i64,
    /// CLOCK_BOOTTIME at which `unix_us` was true, nanoseconds.
    pub boottime_ns: u64,
    /// How far the reading itself may be off (read away from a second edge: 1 s), microseconds.
    pub uncertainty_us: u64,
    /// True when the chip says that its oscillator stopped since it was set (DS3231 register 0x0F bit 7,
    /// PCF8523 OS bit): the battery died and the time means nothing.
    pub stopped: bool,
    /// Somebody had the chip before us in this boot and may have cleared that flag; `None` when nobody had.
    pub driver_first: Option<DriverFirst>,
    /// How its battery is.
    pub battery: Battery,
}

/// What became of the stop flag when a kernel driver had the chip first: older drivers of the DS3231 clear it when they
/// find the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverFirst {
    /// The driver found that the chip had stopped, and said so in the kernel's log.
    FoundStopped,
    /// Nobody can tell: the kernel's log does not reach back to the start of the machine, or may not be read.
    Unknown,
}

/// The battery of a clock chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Battery {
    /// The chip cannot tell (DS3231: an empty one shows as a stopped clock).
    #[default]
    Unknown,
    /// It will keep time without power.
    Good,
    /// It is nearly empty.
    Low,
    /// There is none, or it is empty: the chip forgets the time without power.
    Missing,
}

/// A clock chip that has one owner, the time guard.
pub trait Rtc: Send + std::fmt::Debug {
    /// Reads the chip.
    ///
    /// # Errors
    /// When the bus or the chip does not answer; the guard goes on without it.
    fn read(&mut self) -> Result<RtcReading, DeviceError>;

    /// Sets the chip to this UTC and clears its stopped flag.
    ///
    /// # Errors
    /// As [`Rtc::read`].
    fn set(&mut self, unix_us: i64) -> Result<(), DeviceError>;
}
