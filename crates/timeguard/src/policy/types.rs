//! What goes into the policy and what comes out.

use platform::time::{BootId, Verdict};
use serde::{Deserialize, Serialize};

use super::{Leap, RtcConfig, RtcDrift};

/// The clocks at the moment of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boottime_ns: u64,
    /// CLOCK_REALTIME, microseconds.
    pub realtime_us: i64,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Name or address.
    pub name: String,
    /// Who runs it: all servers of one operator have one vote, and so have all that DHCP gave ([`GIVEN_OPERATOR`]).
    pub operator: String,
}

/// The operator of all servers that DHCP gave: whoever runs the network has one vote.
pub const GIVEN_OPERATOR: &str = "dhcp";

/// What the guard keeps across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// A time that has certainly passed, UTC microseconds.
    pub floor_us: u64,
    /// When the chip was last set by the guard, UTC microseconds.
    pub rtc_set_us: Option<u64>,
    /// The boot in which that was.
    pub rtc_set_boot: Option<BootId>,
    /// How fast the chip runs off, as learned.
    pub rtc_drift: Option<RtcDrift>,
}

/// What the guard is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers; four or more of different operators.
    pub servers: Vec<Server>,
    /// When this program was built, UTC microseconds.
    pub build_us: u64,
    /// What was kept from before.
    pub saved: Saved,
    /// The chip; `None` when there is none.
    pub rtc: Option<RtcConfig>,
    /// False outside the appliance: the clock is somebody else's to set.
    pub may_set_clock: bool,
    /// Seconds between questions to one server once it is known; at least 16 (RFC 4330 section 10 has 15).
    pub poll_s: u64,
}

/// One answer of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// CLOCK_BOOTTIME in the middle of the exchange, nanoseconds.
    pub boottime_ns: u64,
    /// The server's UTC at that moment, microseconds (middle of its receive and transmit times).
    pub unix_us: i64,
    /// How far that may be off: half the round trip plus the server's root distance, microseconds.
    pub error_us: u64,
    /// Its leap warning.
    pub leap: Leap,
}

/// What a kiss-o'-death asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kiss {
    /// DENY or RSTR: never come back.
    Leave,
    /// RATE: come more rarely.
    Slower,
}

/// UTC in which the certificates of two independent hosts are valid at once, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateWindow {
    /// The later of their notBefore.
    pub not_before_us: i64,
    /// The earlier of their notAfter.
    pub not_after_us: i64,
}

/// What the guard learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A second passed.
    Tick,
    /// A server (by its number) answered.
    Sample(usize, Sample),
    /// A server did not answer in time, or wrongly.
    Silent(usize),
    /// A server sent a kiss-o'-death.
    Kiss(usize, Kiss),
    /// The chip was read; `None` when it failed.
    Chip(Option<platform::RtcReading>),
    /// The chip was set to this UTC (microseconds); `None` when it failed.
    ChipSet(Option<i64>),
    /// Certificates were fetched; `None` when two independent hosts could not be.
    Certificates(Option<CertificateWindow>),
    /// The owner confirmed the time that the screen asked about, UTC microseconds.
    OwnerAccepts(u64),
    /// The network came up or changed.
    NetworkUp,
    /// The system refused to set the clock.
    StepFailed,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell everybody the time.
    Publish(Verdict),
    /// Tell everybody that there is no trusted time, and why.
    Refuse(String),
    /// Set CLOCK_REALTIME by this much at once, microseconds.
    Step(i64),
    /// Slew the clock by this much, microseconds; 0 ends a slew.
    Slew(i64),
    /// Ask a server (by its number), and answer with `Sample`, `Kiss` or `Silent`.
    Query(usize),
    /// Read the chip, and answer with `Chip`.
    ReadChip,
    /// Set the chip from the verdict's time, on a second's edge, and answer with `ChipSet`.
    SetChip,
    /// Fetch certificates of two independent hosts, and answer with `Certificates`.
    FetchCertificates,
    /// Keep this across restarts.
    Save(Saved),
}
